//! Every other format: what can be built is encoded and read back, and what was canonical is
//! encoded as it stood.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wire::Id;
use wire::bencode::{Limits, Value};
use wire::bitfield::Bitfield;
use wire::compact::{self, Family};
use wire::ext::{ExtHandshake, MetadataMessage, Pex, PexPeer};
use wire::magnet::Magnet;
use wire::metainfo::{Info, Metainfo, build_info};
use wire::peer::{BlockRef, Frame, Framer, Handshake, Message, Reserved};

fn any_addr() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ]
}

fn any_block() -> impl Strategy<Value = BlockRef> {
    any::<(u32, u32, u32)>().prop_map(|(piece, begin, len)| BlockRef { piece, begin, len })
}

/// A message that owns its bytes.
#[derive(Clone, Debug)]
enum Owned {
    Plain(Message<'static>),
    Bitfield(Vec<u8>),
    Extended(u8, Vec<u8>),
    /// A `piece` message.
    Block(BlockRef, Vec<u8>),
}

fn any_message() -> impl Strategy<Value = Owned> {
    let plain = prop_oneof![
        Just(Message::KeepAlive),
        Just(Message::Choke),
        Just(Message::Unchoke),
        Just(Message::Interested),
        Just(Message::NotInterested),
        Just(Message::HaveAll),
        Just(Message::HaveNone),
        any::<u32>().prop_map(Message::Have),
        any::<u32>().prop_map(Message::Suggest),
        any::<u32>().prop_map(Message::AllowedFast),
        any::<u16>().prop_map(Message::Port),
        any_block().prop_map(Message::Request),
        any_block().prop_map(Message::Cancel),
        any_block().prop_map(Message::Reject),
        (21..=u8::MAX).prop_map(Message::Unknown),
    ];
    let block = (any::<u32>(), any::<u32>(), vec(any::<u8>(), 1..60));
    prop_oneof![
        8 => plain.prop_map(Owned::Plain),
        1 => vec(any::<u8>(), 0..40).prop_map(Owned::Bitfield),
        1 => (any::<u8>(), vec(any::<u8>(), 0..60)).prop_map(|(id, body)| Owned::Extended(id, body)),
        2 => block.prop_map(|(piece, begin, bytes)| {
            Owned::Block(BlockRef { piece, begin, len: bytes.len() as u32 }, bytes)
        }),
    ]
}

impl Owned {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Owned::Plain(message) => message.encode(out),
            Owned::Bitfield(bits) => Message::Bitfield(bits).encode(out),
            Owned::Extended(id, body) => Message::Extended(*id, body).encode(out),
            Owned::Block(block, bytes) => {
                out.extend_from_slice(&block.piece_header());
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// All that a framer finds in `bytes`, cut at `cuts`, encoded again; what it says to the end.
fn reframe(bytes: &[u8], cuts: &BTreeSet<usize>) -> (Vec<u8>, bool) {
    let mut framer = Framer::new();
    let mut out = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        framer.feed(&bytes[start..end]);
        start = end;
        loop {
            let mut payload = vec![0; framer.payload_left()];
            let len = framer.take_payload(&mut payload);
            out.extend_from_slice(&payload[..len]);
            match framer.next_frame() {
                Err(_) => return (out, false),
                Ok(None) => break,
                Ok(Some(Frame::Handshake(handshake))) => handshake.encode(&mut out),
                Ok(Some(Frame::Piece(block))) => out.extend_from_slice(&block.piece_header()),
                Ok(Some(Frame::Message(body))) => match Message::parse(body) {
                    Ok(message) => message.encode(&mut out),
                    Err(_) => return (out, false),
                },
            }
        }
    }
    (out, true)
}

/// A name that no rule of paths changes.
fn plain_name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,11}(\\.[a-z]{1,3})?"
}

/// The info dict as serde_bencode reads and writes it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TheirInfo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<Vec<TheirFile>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    name: String,
    #[serde(rename = "piece length")]
    piece_length: u32,
    pieces: ByteBuf,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TheirFile {
    length: u64,
    path: Vec<String>,
}

proptest! {
    #[test]
    fn addresses_and_nodes_read_back(list in vec((any::<[u8; 20]>(), any_addr()), 0..20)) {
        for family in [Family::V4, Family::V6] {
            let of_family: Vec<_> =
                list.iter().filter(|(_, a)| Family::of(a) == family).map(|(id, a)| (Id(*id), *a)).collect();
            let (mut addrs, mut nodes) = (Vec::new(), Vec::new());
            for (id, addr) in &of_family {
                compact::put_addr(&mut addrs, addr);
                compact::put_node(&mut nodes, id, addr);
            }
            let back: Vec<_> = compact::addrs(&addrs, family).unwrap().collect();
            prop_assert_eq!(back, of_family.iter().map(|(_, a)| *a).collect::<Vec<_>>());
            let back: Vec<_> = compact::nodes(&nodes, family).unwrap().collect();
            prop_assert_eq!(back, of_family);
        }
    }

    #[test]
    fn lists_of_a_length_that_fits_no_whole_number_are_refused(bytes in vec(any::<u8>(), 0..120)) {
        for family in [Family::V4, Family::V6] {
            let whole = bytes.len().is_multiple_of(family.addr_len());
            prop_assert_eq!(compact::addrs(&bytes, family).is_some(), whole);
            let whole = bytes.len().is_multiple_of(family.node_len());
            prop_assert_eq!(compact::nodes(&bytes, family).is_some(), whole);
        }
    }

    #[test]
    fn ids_read_back(bytes: [u8; 20], other: [u8; 20]) {
        let (id, other) = (Id(bytes), Id(other));
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(id.distance(&other).distance(&other), id);
        let prefix = id.common_prefix(&other);
        prop_assert!((0..prefix).all(|bit| id.bit(bit) == other.bit(bit)));
        prop_assert!(prefix == 160 || id.bit(prefix) != other.bit(prefix));
    }

    #[test]
    fn bitfields_read_back(len in 0u32..200, pieces in btree_set(0u32..200, 0..60)) {
        let mut bits = Bitfield::new(len);
        pieces.iter().for_each(|&piece| bits.set(piece));
        let expected: Vec<u32> = pieces.into_iter().filter(|&piece| piece < len).collect();
        prop_assert_eq!(bits.ones().collect::<Vec<_>>(), expected);
        prop_assert_eq!(Bitfield::from_wire(bits.as_bytes(), len), Some(bits.clone()));
        prop_assert_eq!(bits.zeros().count() + bits.ones().count(), len as usize);
        // Of no other number of bytes, and with no bit beyond the last piece.
        prop_assert_eq!(Bitfield::from_wire(&[bits.as_bytes(), &[0]].concat(), len), None);
        for spare in len..len.next_multiple_of(8) {
            let mut bytes = bits.as_bytes().to_vec();
            bytes[spare as usize / 8] |= 0x80 >> (spare % 8);
            prop_assert_eq!(Bitfield::from_wire(&bytes, len), None);
        }
    }

    #[test]
    fn a_stream_of_messages_reads_back_in_any_fragments(
        (reserved, hash, peer_id) in any::<([u8; 8], [u8; 20], [u8; 20])>(),
        messages in vec(any_message(), 0..20),
        cuts in vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut bytes = Vec::new();
        let handshake = Handshake { reserved: Reserved(reserved), info_hash: Id(hash), peer_id };
        handshake.encode(&mut bytes);
        messages.iter().for_each(|message| message.encode(&mut bytes));
        let cuts = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        prop_assert_eq!(reframe(&bytes, &cuts), (bytes, true));
    }

    #[test]
    fn damaged_streams_say_the_same_in_any_fragments(
        messages in vec(any_message(), 0..10),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cuts in vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut bytes = Vec::new();
        let handshake = Handshake { reserved: Reserved::OURS, info_hash: Id::ZERO, peer_id: [7; 20] };
        handshake.encode(&mut bytes);
        messages.iter().for_each(|message| message.encode(&mut bytes));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let cuts = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        prop_assert_eq!(reframe(&bytes, &cuts), reframe(&bytes, &BTreeSet::new()));
    }

    #[test]
    fn extension_handshakes_read_back(
        ids in any::<[u8; 3]>(),
        metadata_size in option::of(0..=i64::MAX as u64),
        reqq: Option<u32>,
        client in option::of("[ -~]{0,100}"),
        listen_port in option::of(1..=u16::MAX),
        your_ip in option::of(any::<IpAddr>()),
        upload_only: bool,
    ) {
        let [metadata_id, pex_id, dont_have_id] = ids.map(Some);
        let handshake = ExtHandshake {
            metadata_id, pex_id, dont_have_id, metadata_size, reqq, client, listen_port, your_ip,
            upload_only,
        };
        let mut bytes = Vec::new();
        handshake.encode(&mut bytes);
        prop_assert!(Value::parse(&bytes, Limits::EXTENSION).unwrap().is_canonical());
        prop_assert_eq!(ExtHandshake::parse(&bytes), Ok(handshake));
    }

    #[test]
    fn metadata_messages_read_back(
        kind in 0..3, piece: u32, total in option::of(0..=i64::MAX as usize), data in vec(any::<u8>(), 0..60),
    ) {
        let message = match kind {
            0 => MetadataMessage::Request { piece },
            1 => MetadataMessage::Data { piece, total_size: total, data: &data },
            _ => MetadataMessage::Reject { piece },
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        prop_assert_eq!(MetadataMessage::parse(&bytes), Ok(message));
    }

    #[test]
    fn peer_exchanges_read_back(
        added in vec((any_addr(), any::<u8>()), 0..100),
        dropped in vec(any_addr(), 0..100),
    ) {
        let added = added.into_iter().map(|(addr, flags)| PexPeer { addr, flags });
        let (v4, v6): (Vec<_>, Vec<_>) = added.partition(|peer| peer.addr.is_ipv4());
        let (gone4, gone6): (Vec<_>, Vec<_>) = dropped.into_iter().partition(SocketAddr::is_ipv4);
        // The wire has each family in a list of its own.
        let pex = Pex { added: [v4, v6].concat(), dropped: [gone4, gone6].concat() };
        let mut bytes = Vec::new();
        pex.encode(&mut bytes);
        prop_assert!(Value::parse(&bytes, Limits::EXTENSION).unwrap().is_canonical());
        prop_assert_eq!(Pex::parse(&bytes), Ok(pex));
    }

    #[test]
    fn extension_messages_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = ExtHandshake::parse(&bytes);
        let _ = Pex::parse(&bytes);
        if let Ok(MetadataMessage::Data { data, .. }) = MetadataMessage::parse(&bytes) {
            prop_assert!(data.len() < bytes.len());
        }
    }

    #[test]
    fn torrents_read_back_and_serde_bencode_agrees(
        name in plain_name(),
        files in vec((vec(plain_name(), 1..4), 0u64..100_000), 0..8),
        single in 1u64..1_000_000,
        length_log in 14u32..20,
        nodes in vec(("[a-z]{1,10}\\.example", 1..=u16::MAX), 0..5),
        hash: [u8; 20],
    ) {
        // Empty: a torrent of one file. Distinct last elements, so that no file is renamed.
        let files: Vec<(Vec<String>, u64)> = match files.is_empty() {
            true => vec![(vec![], single)],
            false => files
                .into_iter()
                .enumerate()
                .map(|(n, (path, len))| {
                    let folders = path[1..].iter().map(|folder| format!("{folder}.d"));
                    (folders.chain([format!("{n}-{}", path[0])]).collect(), len + u64::from(n == 0))
                })
                .collect(),
        };
        let total: u64 = files.iter().map(|(_, len)| len).sum();
        let piece_length = 1u32 << length_log;
        let hashes = vec![hash; total.div_ceil(u64::from(piece_length)) as usize];
        let raw = build_info(&name, &files, piece_length, &hashes);
        prop_assert!(Value::parse(&raw, Limits::METAINFO).unwrap().is_canonical());

        let bytes = Metainfo::encode(&raw, &nodes);
        let read = Metainfo::parse(&bytes).unwrap();
        prop_assert_eq!(Metainfo::encode(&read.info.raw, &read.nodes), bytes);
        let info = read.info;
        prop_assert_eq!((&*info.raw, info.total_len, &*info.piece_hashes), (&*raw, total, &*hashes));
        let single = files[0].0.is_empty();
        for (file, (path, len)) in info.files.iter().zip(&files) {
            let expected: Vec<_> = [&name].into_iter().chain(path).collect();
            prop_assert_eq!((file.path.iter().collect::<Vec<_>>(), file.len), (expected, *len));
        }
        let covered: u64 = (0..info.piece_count())
            .flat_map(|piece| info.extents(piece, 0, piece_length))
            .map(|(_, _, len)| len)
            .sum();
        prop_assert_eq!(covered, total);

        let theirs: TheirInfo = serde_bencode::from_bytes(&raw).unwrap();
        let expected = TheirInfo {
            files: (!single).then(|| {
                files.iter().map(|(path, length)| TheirFile { length: *length, path: path.clone() }).collect()
            }),
            length: single.then_some(total),
            name,
            piece_length,
            pieces: ByteBuf::from(hashes.concat()),
        };
        prop_assert_eq!(&theirs, &expected);
        prop_assert_eq!(serde_bencode::to_bytes(&theirs).unwrap(), raw);
    }

    #[test]
    fn an_info_dict_that_is_damaged_is_refused_or_another_torrent(
        at: prop::sample::Index, byte: u8,
    ) {
        let files = [(vec!["a".into()], 20_000), (vec!["d".into(), "b".into()], 5)];
        let raw = build_info("name", &files, 16_384, &[[1; 20], [2; 20]]);
        let good = Info::parse(&raw).unwrap();
        let mut bad = raw.clone();
        bad[at.index(raw.len())] = byte;
        if let Ok(info) = Info::parse(&bad) {
            prop_assert_eq!(info.info_hash == good.info_hash, bad == raw);
            let len = |piece| u64::from(info.piece_len(piece));
            prop_assert_eq!((0..info.piece_count()).map(len).sum::<u64>(), info.total_len);
            let safe = |element: &String| !element.is_empty() && element != ".." && !element.contains(['/', '\0']);
            prop_assert!(info.files.iter().all(|file| file.path.iter().all(safe)));
        }
    }

    #[test]
    fn whatever_path_a_torrent_names_its_files_stay_beneath_their_folder(
        paths in vec(vec("(\\.\\.|\\.|/|\\\\|\0|[aA]|\u{e9}|[.a/\\\\]{0,4}){0,3}", 0..5), 1..6),
        name in "(\\.\\.|\\.|/|\0|[aA.]{0,3})",
    ) {
        let files: Vec<_> = paths.into_iter().map(|path| (path, 1)).collect();
        let raw = build_info(&name, &files, 16_384, &[[0; 20]]);
        let Ok(info) = Info::parse(&raw) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        for file in &info.files {
            prop_assert!(!file.path.is_empty());
            for element in &file.path {
                prop_assert!(!matches!(element.as_str(), "" | "." | ".."), "{:?}", file.path);
                prop_assert!(!element.contains(['/', '\\', '\0']), "{:?}", file.path);
            }
            let place = file.path.join("/").to_lowercase();
            prop_assert!(seen.insert(place), "two files in one place: {:?}", file.path);
        }
    }

    #[test]
    fn magnet_links_read_back(
        hash: [u8; 20],
        name in option::of(any::<String>()),
        peers in vec((prop_oneof!["[a-z]{1,20}(\\.example)?", any::<[u8; 16]>().prop_map(|ip| {
            std::net::Ipv6Addr::from(ip).to_string()
        })], 1..=u16::MAX), 0..10),
    ) {
        let mut magnet = Magnet::new(Id(hash), name);
        magnet.peers = peers;
        prop_assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet.clone()));
        prop_assert_eq!(Magnet::from_user(&magnet.to_string()), Ok(magnet));
    }

    #[test]
    fn no_text_makes_the_reader_of_magnet_links_panic(text in "(magnet:\\?)?(xt=urn:btih:|&|=|%|so=|x\\.pe=|\\PC){0,20}") {
        let _ = Magnet::from_user(&text);
    }
}
