//! The driver on loopback sockets, with peers that send a byte at a time or never read.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use client::TorrentKey;
use client::driver::{Add, HashedPath, Session, hash_path};
use sha1::{Digest, Sha1};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time::timeout;
use wire::metainfo::{Info, build_info};
use wire::peer::{BLOCK_LEN, BlockRef, Frame, Framer, Handshake, Message, Reserved};

/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(40);

/// A session with one torrent of one file, `x`.
struct Host {
    session: Session,
    key: TorrentKey,
    addr: SocketAddr,
    info: Info,
    content: Vec<u8>,
    folder: TempDir,
}

/// One that has the whole, or nothing.
async fn host(len: usize, seed: bool) -> Host {
    let content: Vec<u8> = (0..len).map(|i| ((i / 251) ^ (i % 251)) as u8).collect();
    let hashes: Vec<[u8; 20]> =
        content.chunks(BLOCK_LEN as usize).map(|piece| Sha1::digest(piece).into()).collect();
    let raw = build_info("x", &[(vec![], len as u64)], BLOCK_LEN, &hashes);
    let info = Info::parse(&raw).unwrap();
    let folder = TempDir::new().unwrap();
    if seed {
        std::fs::write(folder.path().join("x"), &content).unwrap();
    }
    let root = folder.path().to_owned();
    let add = match seed {
        true => Add::seed(HashedPath { info: info.clone(), root, skipped: Vec::new() }),
        false => Add::info(info.clone(), root),
    };
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let session = Session::builder().bind(bind).without_dht().start().unwrap();
    let key = session.add(add).await.unwrap();
    // Who asks before that is rejected.
    while !session.stats(key).await.unwrap().started {
        yield_now().await;
    }
    let addr = session.listen_addrs()[0];
    Host { session, key, addr, info, content, folder }
}

/// Runs a test with an end.
async fn run<T>(test: impl Future<Output = T>) -> T {
    timeout(PATIENCE, test).await.expect("it hangs")
}

fn hello(host: &Host, name: u8, messages: &[Message<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let info_hash = host.info.info_hash;
    Handshake { reserved: Reserved::OURS, info_hash, peer_id: [name; 20] }.encode(&mut out);
    messages.iter().for_each(|message| message.encode(&mut out));
    out
}

/// Reads on: requests and the payload of blocks that came.
async fn read(
    stream: &mut TcpStream,
    framer: &mut Framer,
    block: &mut Option<(BlockRef, Vec<u8>)>,
) -> (Vec<BlockRef>, Vec<(BlockRef, Vec<u8>)>) {
    let len = stream.read(framer.space(64 << 10)).await.unwrap();
    assert!(len > 0, "closed");
    framer.filled(len);
    let (mut requests, mut blocks) = (Vec::new(), Vec::new());
    loop {
        if let Some((_, bytes)) = block {
            let mut rest = vec![0; framer.payload_left()];
            let len = framer.take_payload(&mut rest);
            bytes.extend_from_slice(&rest[..len]);
            if framer.payload_left() > 0 {
                return (requests, blocks);
            }
            blocks.extend(block.take());
        }
        match framer.next_frame().unwrap() {
            None => return (requests, blocks),
            Some(Frame::Piece(header)) => *block = Some((header, Vec::new())),
            Some(Frame::Message(body)) => {
                if let Ok(Message::Request(asked)) = Message::parse(body) {
                    requests.push(asked);
                }
            }
            Some(Frame::Handshake(_)) => {}
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_seed_that_sends_a_byte_a_segment_is_a_seed() {
    run(async {
        let host = host(20_000, false).await;
        let mut stream = TcpStream::connect(host.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut bytes = hello(&host, 1, &[Message::HaveAll, Message::Unchoke]);
        let (mut framer, mut block, mut answered) = (Framer::new(), None, 0);
        while answered < 2 {
            for byte in &bytes {
                stream.write_all(&[*byte]).await.unwrap();
                yield_now().await;
            }
            bytes.clear();
            for asked in read(&mut stream, &mut framer, &mut block).await.0 {
                let start = (asked.piece * BLOCK_LEN + asked.begin) as usize;
                bytes.extend_from_slice(&asked.piece_header());
                bytes.extend_from_slice(&host.content[start..start + asked.len as usize]);
                answered += 1;
            }
        }
        for byte in &bytes {
            stream.write_all(&[*byte]).await.unwrap();
            yield_now().await;
        }
        while !host.session.stats(host.key).await.unwrap().complete {
            yield_now().await;
        }
        assert_eq!(std::fs::read(host.folder.path().join("x")).unwrap(), host.content);
        assert_eq!(host.session.stats(host.key).await.unwrap().wasted, 0);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_leech_that_asks_and_never_reads_keeps_nobody_from_reading() {
    run(async {
        let host = host(8_000_000, true).await;
        let all: Vec<BlockRef> = (0..host.info.piece_count())
            .map(|piece| BlockRef { piece, begin: 0, len: host.info.piece_len(piece) })
            .collect();
        let requests: Vec<Message<'_>> = [Message::Interested]
            .into_iter()
            .chain(all.iter().map(|b| Message::Request(*b)))
            .collect();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut greedy = socket.connect(host.addr).await.unwrap();
        greedy.write_all(&hello(&host, 1, &requests)).await.unwrap();
        let mut honest = TcpStream::connect(host.addr).await.unwrap();
        honest.write_all(&hello(&host, 2, &requests)).await.unwrap();
        let (mut framer, mut block, mut got) = (Framer::new(), None, 0);
        while got < all.len() {
            for (header, bytes) in read(&mut honest, &mut framer, &mut block).await.1 {
                let start = (header.piece * BLOCK_LEN) as usize;
                assert_eq!(bytes, host.content[start..start + bytes.len()], "{header:?}");
                got += 1;
            }
        }
        // Only what fits into the sockets was read from the disk for who never reads.
        let uploaded = host.session.stats(host.key).await.unwrap().uploaded;
        let len = host.content.len() as u64;
        assert!(uploaded < len + len * 3 / 4, "{uploaded} of {len}");
    })
    .await;
}

#[tokio::test]
async fn a_piece_over_a_thousand_small_files_is_fetched_and_served_with_few_of_them_open() {
    /// What a process may have open on some systems.
    const FILES_MAX: usize = 256;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    run(async {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let shared = from.path().join("t");
        std::fs::create_dir(&shared).unwrap();
        for n in 0..1000 {
            std::fs::write(shared.join(format!("{n:04}")), [n as u8; 10]).unwrap();
        }
        let hashed = hash_path(&shared, Some(BLOCK_LEN), |_, _| {}).unwrap();
        let info = hashed.info.clone();
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let start = || Session::builder().bind(bind).without_dht().start().unwrap();
        let (seed, leech) = (start(), start());
        seed.add(Add::seed(hashed)).await.unwrap();
        let add = Add::info(info, to.path()).peer(seed.listen_addrs()[0].to_string());
        let key = leech.add(add).await.unwrap();
        let mut most = 0;
        while !leech.stats(key).await.unwrap().complete {
            most = most.max(open());
            yield_now().await;
        }
        leech.shutdown().await.unwrap();
        seed.shutdown().await.unwrap();
        assert!(most < FILES_MAX, "{most} files were open");
        for n in 0..1000 {
            let name = format!("t/{n:04}");
            assert_eq!(std::fs::read(to.path().join(&name)).unwrap(), [n as u8; 10], "{name}");
        }
    })
    .await;
}
