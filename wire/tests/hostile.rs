//! Bytes of strangers that are wrong in one way each, and what every reader makes of them.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use wire::Id;
use wire::bencode::{Error, Limits, Value};
use wire::ext::{ExtHandshake, MetadataMessage, Pex};
use wire::krpc::{Body, Dropped, Message as Krpc};
use wire::metainfo::{Info, Metainfo, MetainfoError, build_info};
use wire::peer::{Frame, FrameError, Framer, HANDSHAKE_LEN, Handshake, Message, Reserved};

const GET_PEERS: &[u8] =
    b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:wantl\
    2:n42:n6ee1:q9:get_peers1:t2:aa1:v4:tk001:y1:qe";

/// A ping with one more argument.
fn ping_with(argument: &[u8]) -> Vec<u8> {
    let head = b"d1:ad2:id20:abcdefghij01234567891:x";
    [&head[..], argument, b"e1:q4:ping1:t2:aa1:y1:qe"].concat()
}

fn nested(levels: usize) -> Vec<u8> {
    [vec![b'l'; levels], vec![b'e'; levels]].concat()
}

#[test]
fn a_datagram_cut_short_at_any_byte_is_dropped_as_such() {
    assert!(matches!(Krpc::parse(GET_PEERS).unwrap().body, Body::Query(_)));
    for len in 0..GET_PEERS.len() {
        assert_eq!(
            Krpc::parse(&GET_PEERS[..len]),
            Err(Dropped::Bencode(Error::Truncated)),
            "{len}"
        );
    }
}

#[test]
fn a_datagram_that_is_too_deep_too_long_or_holds_too_much_is_dropped() {
    let too_large = Err(Dropped::Bencode(Error::TooLarge));
    // The message and its arguments are two levels of ten.
    assert!(matches!(Krpc::parse(&ping_with(&nested(8))).unwrap().body, Body::Query(_)));
    for levels in [9, 100, 30_000] {
        assert_eq!(Krpc::parse(&ping_with(&nested(levels))), too_large, "{levels} levels");
    }
    // Of 500 values 13 are taken: two dicts, six keys, four strings and the list itself.
    let list = |n: usize| [b"l", &b"0:".repeat(n)[..], b"e"].concat();
    assert!(matches!(Krpc::parse(&ping_with(&list(487))).unwrap().body, Body::Query(_)));
    assert_eq!(Krpc::parse(&ping_with(&list(488))), too_large);
    // No datagram carries more than 65,507 bytes of payload over IPv4.
    let own = ping_with(b"00000:").len();
    let text = |n: usize| [format!("{n}:").as_bytes(), &vec![b'x'; n]].concat();
    assert!(matches!(Krpc::parse(&ping_with(&text(65_507 - own))).unwrap().body, Body::Query(_)));
    assert_eq!(Krpc::parse(&ping_with(&text(65_508 - own))), too_large);
}

#[test]
fn spellings_that_no_canonical_encoder_writes_are_read_all_the_same() {
    for ping in [
        &b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789ee"[..],
        b"d1:ad2:id020:abcdefghij0123456789e1:q04:ping1:t02:aa1:y01:qe",
        b"d1:ad2:id20:abcdefghij01234567892:id3:twoe1:q4:ping1:t2:aa1:t2:bb1:y1:q1:y1:re",
        b"d1:ad2:id20:abcdefghij01234567891:zi-0ee1:q4:ping2:roi007e1:t2:aa1:y1:qe",
    ] {
        assert!(!Value::parse(ping, Limits::KRPC).unwrap().is_canonical());
        let message = Krpc::parse(ping).unwrap();
        assert_eq!(message.head.tid, b"aa");
        let Body::Query(query) = message.body else { panic!("{message:?}") };
        assert_eq!(query.id, Id(*b"abcdefghij0123456789"));
    }
}

#[test]
fn a_handshake_is_found_in_one_to_sixty_eight_fragments() {
    let sent =
        Handshake { reserved: Reserved::OURS, info_hash: Id([0xab; 20]), peer_id: [0xcd; 20] };
    let mut bytes = Vec::new();
    sent.encode(&mut bytes);
    assert_eq!(bytes.len(), HANDSHAKE_LEN);
    for fragments in 1..=HANDSHAKE_LEN {
        // Single bytes, and the rest as one piece: at the end, and at the start.
        let singles = fragments - 1;
        let late: Vec<usize> = (1..=singles).collect();
        let early: Vec<usize> = (HANDSHAKE_LEN - singles..HANDSHAKE_LEN).collect();
        for cuts in [late, early] {
            let mut framer = Framer::new();
            let mut start = 0;
            for end in cuts {
                framer.feed(&bytes[start..end]);
                start = end;
                assert_eq!(framer.next_frame(), Ok(None), "{fragments} fragments, {end} bytes");
            }
            framer.feed(&bytes[start..]);
            assert_eq!(framer.next_frame(), Ok(Some(Frame::Handshake(sent))));
            assert_eq!(framer.next_frame(), Ok(None));
        }
    }
}

#[test]
fn a_stream_that_is_no_handshake_is_told_at_its_first_wrong_byte() {
    let mut good = Vec::new();
    Handshake { reserved: Reserved::OURS, info_hash: Id::ZERO, peer_id: [0; 20] }.encode(&mut good);
    for wrong in 0..20 {
        let mut framer = Framer::new();
        framer.feed(&good[..wrong]);
        assert_eq!(framer.next_frame(), Ok(None), "{wrong}");
        framer.feed(&[good[wrong] ^ 0x20]);
        assert_eq!(framer.next_frame(), Err(FrameError::NotAHandshake), "{wrong}");
    }
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"\0", b"d1:ad2:id20:"] {
        let mut framer = Framer::new();
        framer.feed(other);
        assert_eq!(framer.next_frame(), Err(FrameError::NotAHandshake), "{other:?}");
    }
}

#[test]
fn a_message_too_short_or_too_long_is_refused() {
    for (id, len) in [
        (0u8, 0usize), // choke
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 4),  // have
        (6, 12), // request
        (8, 12), // cancel
        (9, 2),  // port
        (13, 4), // suggest
        (14, 0), // have all
        (15, 0), // have none
        (16, 12),
        (17, 4),
    ] {
        let body = |len: usize| [&[id][..], &vec![0; len]].concat();
        assert!(Message::parse(&body(len)).is_ok(), "{id}");
        for wrong in (0..=80).filter(|&wrong| wrong != len) {
            let error = Message::parse(&body(wrong)).unwrap_err();
            assert_eq!((error.id, error.len), (id, wrong));
        }
    }
}

#[test]
fn pieces_of_no_or_too_much_payload_end_the_stream() {
    let mut start = Vec::new();
    Handshake { reserved: Reserved::OURS, info_hash: Id::ZERO, peer_id: [0; 20] }
        .encode(&mut start);
    for (len, error) in [
        (1u32, FrameError::EmptyPiece),
        (8, FrameError::EmptyPiece),
        (9, FrameError::EmptyPiece),
        (9 + (32 << 10) + 1, FrameError::TooLong { id: 7, len: 9 + (32 << 10) + 1 }),
        (u32::MAX, FrameError::TooLong { id: 7, len: u32::MAX as usize }),
    ] {
        let mut framer = Framer::new();
        framer.feed(&[&start[..], &len.to_be_bytes(), &[7]].concat());
        assert!(matches!(framer.next_frame(), Ok(Some(Frame::Handshake(_)))));
        // Told by five bytes, before any room is made.
        assert_eq!(framer.next_frame(), Err(error), "{len}");
    }
}

#[test]
fn extension_messages_that_are_deep_long_or_cut_are_refused() {
    let deep = nested(11);
    let wide = [b"l", &b"0:".repeat(2_000)[..], b"e"].concat();
    for bytes in [&deep[..], &wide, b"d", b"d1:md", b"", b"i5", b"x"] {
        assert!(ExtHandshake::parse(bytes).is_err(), "{bytes:?}");
        assert!(MetadataMessage::parse(bytes).is_err(), "{bytes:?}");
        assert!(Pex::parse(bytes).is_err(), "{bytes:?}");
    }
    for bytes in [
        &b"d8:msg_type1:0e"[..],
        b"d8:msg_typei0e5:piece1:0e",
        b"d8:msg_typei0e5:piecei4294967296ee",
        b"d5:piecei0ee",
        b"l8:msg_typei0ee",
    ] {
        assert_eq!(MetadataMessage::parse(bytes), Err(Error::Unexpected(0)), "{bytes:?}");
    }
    let absurd = MetadataMessage::parse(b"d8:msg_typei1e5:piecei0e10:total_sizei-1ee");
    let told = MetadataMessage::Data { piece: 0, total_size: Some(usize::MAX), data: b"" };
    assert_eq!(absurd, Ok(told), "a size that fits nothing");
}

/// The paths that a torrent's files get, or why it is refused.
fn paths(name: &str, paths: &[&[&str]]) -> Result<Vec<String>, MetainfoError> {
    let files: Vec<(Vec<String>, u64)> =
        paths.iter().map(|path| (path.iter().map(|e| (*e).into()).collect(), 1)).collect();
    let raw = build_info(name, &files, 16_384, &[[0; 20]]);
    Ok(Info::parse(&raw)?.files.iter().map(|file| file.path.join("/")).collect())
}

#[test]
fn a_torrent_whose_paths_lead_elsewhere_is_refused() {
    let unsafe_path = |path: &str| Err(MetainfoError::UnsafePath(path.into()));
    assert_eq!(paths("t", &[&[".."]]), unsafe_path(".."));
    assert_eq!(paths("t", &[&["ok"], &["a", "..", "..", "x"]]), unsafe_path(".."));
    assert_eq!(paths("t", &[&["/etc", "passwd"]]), unsafe_path("/etc"));
    assert_eq!(paths("t", &[&["a/../../x"]]), unsafe_path("a/../../x"));
    assert_eq!(paths("t", &[&["a\\..\\x"]]), unsafe_path("a\\..\\x"));
    assert_eq!(paths("t", &[&["a\0b"]]), unsafe_path("a\0b"));
    for name in ["..", "/etc", "../x", "a\0"] {
        assert_eq!(paths(name, &[&["x"]]), unsafe_path(name));
        assert_eq!(paths(name, &[&[]]), unsafe_path(name), "a torrent of one file");
    }
}

#[test]
fn a_torrent_without_names_or_with_endless_ones_is_refused() {
    assert_eq!(paths("", &[&["x"]]), Err(MetainfoError::Missing("name")));
    assert_eq!(paths(".", &[&["x"]]), Err(MetainfoError::Missing("name")));
    assert_eq!(paths("t", &[&["x"], &[]]), Err(MetainfoError::Missing("path")));
    assert_eq!(paths("t", &[&["", ".", ""]]), Err(MetainfoError::Missing("path")));
    assert_eq!(paths("t", &[&["a"; 100]]), Err(MetainfoError::Range("path")), "too deep");
    let long = "x".repeat(200);
    assert_eq!(paths("t", &[&[&long[..]; 15]]), Err(MetainfoError::Range("path")), "too long");
    let same = vec![&["a"][..]; 502];
    assert_eq!(paths("t", &same), Err(MetainfoError::PathClash("a".into())));
}

#[test]
fn names_that_are_only_odd_are_mended() {
    let long = format!("{}.mkv", "x".repeat(400));
    let mended = paths("t", &[&[&long]]).unwrap();
    assert_eq!(mended[0].len(), "t/".len() + 240);
    assert!(mended[0].ends_with("xx.mkv"));
    let clashing: [&[&str]; 6] = [&["a"], &["A"], &["d", "x"], &["D", "X"], &["d"], &["a", "b"]];
    let apart = ["t/a", "t/A.1", "t/d/x", "t/D/X.1", "t/d.1", "t/a.2/b"];
    assert_eq!(paths("t", &clashing).unwrap(), apart);
    assert_eq!(paths("t", &[&["a\n\x1b[2J"]]).unwrap(), ["t/a__[2J"]);
}

/// An info dict of files with these paths, each given as bencode.
fn info_of(name: &str, len: usize, paths: impl Iterator<Item = String>) -> Vec<u8> {
    let files: String = paths.map(|path| format!("d6:lengthi{len}e4:pathl{path}ee")).collect();
    let count = files.matches("4:path").count() * len;
    let pieces = count.div_ceil(16_384) * 20;
    let name = format!("{}:{name}", name.len());
    let tail = format!("12:piece lengthi16384e6:pieces{pieces}:{}e", "h".repeat(pieces));
    format!("d5:filesl{files}e4:name{name}{tail}").into_bytes()
}

/// Processor time of this thread (proc(5), `schedstat`).
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn paths_that_clash_at_every_level_are_read_as_soon_as_others() {
    // At each level so many files of one name that its folder gets a high number.
    let clashing = (1..90).flat_map(|depth| std::iter::repeat_n("1:a".repeat(depth), 490));
    let apart = (1..90).flat_map(|depth| {
        (0..490).map(move |n| format!("{}{:05}", "1:a".repeat(depth - 1) + "5:", n))
    });
    let [clashing, apart] = [info_of("t", 1, clashing), info_of("t", 1, apart)].map(|raw| {
        let before = spent();
        assert_eq!(Info::parse(&raw).unwrap().files.len(), 89 * 490);
        spent() - before
    });
    assert!(clashing < apart * 10, "{clashing:?} where {apart:?} will do");
}

#[test]
fn paths_far_longer_than_what_tells_them_are_refused() {
    let (name, files) = ("n".repeat(240), (64 << 20) / 340 + 1);
    let paths = |count| (0..count).map(|n: usize| format!("100:{n:0100}"));
    assert_eq!(Info::parse(&info_of(&name, 1, paths(files))), Err(MetainfoError::LongPaths));
    assert!(Info::parse(&info_of(&name, 1, paths(files - 1))).is_ok());
}

#[test]
fn torrent_files_cut_deep_or_absurd_are_refused() {
    let raw = build_info("x", &[(vec![], 20_000)], 16_384, &[[1; 20], [2; 20]]);
    let file = Metainfo::encode(&raw, &[]);
    for len in 0..file.len() {
        let cut = Metainfo::parse(&file[..len]);
        assert_eq!(cut, Err(MetainfoError::Bencode(Error::Truncated)), "{len}");
    }
    let deep = [b"d4:info", &nested(101)[..], b"e"].concat();
    assert_eq!(Metainfo::parse(&deep), Err(MetainfoError::Bencode(Error::TooLarge)));
    let many = build_info("x", &[(vec![], 1 << 50)], 16_384, &[[1; 20]]);
    assert_eq!(Info::parse(&many), Err(MetainfoError::PieceCount));
    let beyond = build_info("x", &[(vec![], (1 << 50) + 1)], 1 << 20, &[[1; 20]]);
    assert_eq!(Info::parse(&beyond), Err(MetainfoError::Range("length")));
}
