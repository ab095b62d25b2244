//! The driver on loopback sockets, and strangers that dial it.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use client::driver::{Add, Session};
use client::{Config, TorrentKey};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use wire::Id;
use wire::ext::{ExtHandshake, MetadataMessage};
use wire::peer::{HANDSHAKE_LEN, Handshake, Message, Reserved};

const HASH: Id = Id([0x42; 20]);
const NAME: [u8; 20] = *b"-XX0000-a-stranger00";
/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session that knows one torrent by its info-hash.
struct Host {
    session: Session,
    key: TorrentKey,
    addr: SocketAddr,
    _folder: TempDir,
}

async fn host(config: Config) -> Host {
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let session =
        Session::builder().bind(bind).without_dht().config(|c| *c = config).start().unwrap();
    let folder = TempDir::new().unwrap();
    let key = session.add(Add::info_hash(HASH, folder.path()).metadata_only()).await.unwrap();
    let addr = session.listen_addrs()[0];
    Host { session, key, addr, _folder: folder }
}

async fn peers(host: &Host) -> usize {
    host.session.stats(host.key).await.unwrap().peers
}

/// Runs a test with an end.
async fn run<T>(test: impl Future<Output = T>) -> T {
    timeout(PATIENCE, test).await.expect("it hangs")
}

async fn dial(host: &Host) -> TcpStream {
    let stream = TcpStream::connect(host.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn handshake(info_hash: Id, peer_id: [u8; 20]) -> Vec<u8> {
    let mut out = Vec::new();
    Handshake { reserved: Reserved::OURS, info_hash, peer_id }.encode(&mut out);
    out
}

/// The handshake that comes back.
async fn answer(stream: &mut TcpStream) -> Handshake {
    let mut bytes = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut bytes).await.unwrap();
    Handshake::parse(&bytes).unwrap()
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too: what we sent last was not read any more.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

/// Waits until so many peers are connected.
async fn until_peers(host: &Host, count: usize) {
    while peers(host).await != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_handshake_in_one_to_sixty_eight_fragments_is_answered() {
    run(async {
        let host = host(Config::default()).await;
        let bytes = handshake(HASH, NAME);
        for fragments in 1..=HANDSHAKE_LEN {
            let mut stream = dial(&host).await;
            for (n, byte) in bytes.iter().enumerate().take(fragments - 1) {
                stream.write_all(&[*byte]).await.unwrap();
                assert_eq!(peers(&host).await, 0, "after {n}");
            }
            stream.write_all(&bytes[fragments - 1..]).await.unwrap();
            let theirs = answer(&mut stream).await;
            assert_eq!(theirs.info_hash, HASH, "{fragments}");
            drop(stream);
            until_peers(&host, 0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn strangers_that_are_no_peers_of_a_torrent_hear_nothing() {
    run(async {
        let host = host(Config::default()).await;
        for bytes in [
            handshake(Id([1; 20]), NAME),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            vec![0; 96],
            b"\x13BitTorrent protocoX".to_vec(),
        ] {
            let mut stream = dial(&host).await;
            stream.write_all(&bytes).await.unwrap();
            assert!(rest(&mut stream).await.is_empty(), "{bytes:?}");
        }
        assert_eq!(peers(&host).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_calls_itself_as_we_do_or_as_another_peer_does_is_sent_away() {
    run(async {
        let host = host(Config::default()).await;
        let mut first = dial(&host).await;
        first.write_all(&handshake(HASH, NAME)).await.unwrap();
        let ours = answer(&mut first).await.peer_id;
        assert!(ours.starts_with(b"-TK0100-"), "program and version, as BEP 20 has them");
        for name in [ours, NAME] {
            let mut second = dial(&host).await;
            second.write_all(&handshake(HASH, name)).await.unwrap();
            assert!(rest(&mut second).await.is_empty(), "{name:?}");
        }
        assert_eq!(peers(&host).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_connects_and_says_nothing_is_sent_away_and_makes_room() {
    run(async {
        let handshake_timeout = Duration::from_millis(300);
        let host =
            host(Config { handshake_timeout, handshakes_pending_max: 4, ..Config::default() })
                .await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(dial(&host).await);
        }
        // There is room for four; the next is closed at once.
        let mut next = dial(&host).await;
        assert!(rest(&mut next).await.is_empty());
        for stream in &mut silent {
            assert!(rest(stream).await.is_empty());
        }
        let mut stream = dial(&host).await;
        stream.write_all(&handshake(HASH, NAME)).await.unwrap();
        assert_eq!(answer(&mut stream).await.info_hash, HASH);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn messages_that_no_protocol_has_end_the_connection() {
    run(async {
        let host = host(Config::default()).await;
        let too_long: [&[u8]; 5] = [
            &[0xff, 0xff, 0xff, 0xff, 5],
            &[0, 0, 1, 0, 4],
            &[0, 2, 0, 1, 20],
            &[0, 0, 0, 9, 7],
            &[0, 1, 0, 0, 7],
        ];
        for (n, header) in too_long.into_iter().enumerate() {
            let mut stream = dial(&host).await;
            let mut name = NAME;
            name[19] = n as u8;
            stream.write_all(&handshake(HASH, name)).await.unwrap();
            assert_eq!(answer(&mut stream).await.info_hash, HASH);
            stream.write_all(header).await.unwrap();
            rest(&mut stream).await;
        }
        // The connection of who keeps to it lives on.
        let mut stream = dial(&host).await;
        stream.write_all(&handshake(HASH, NAME)).await.unwrap();
        until_peers(&host, 1).await;
        let mut interested = Vec::new();
        Message::Interested.encode(&mut interested);
        stream.write_all(&interested).await.unwrap();
        assert_eq!(answer(&mut stream).await.info_hash, HASH);
        assert_eq!(peers(&host).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_socket_of_a_peer_that_never_reads_is_closed_once_the_peer_is_dropped() {
    run(async {
        let host = host(Config::default()).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(host.addr).await.unwrap();
        let mut hello = handshake(HASH, NAME);
        let mut payload = Vec::new();
        ExtHandshake { metadata_id: Some(1), ..ExtHandshake::default() }.encode(&mut payload);
        Message::Extended(0, &payload).encode(&mut hello);
        stream.write_all(&hello).await.unwrap();
        let (mut request, mut payload) = (Vec::new(), Vec::new());
        MetadataMessage::Request { piece: 0 }.encode(&mut payload);
        Message::Extended(1, &payload).encode(&mut request);
        // Each is refused, which fills the sockets' buffers and then the output.
        let requests = request.repeat(100);
        while stream.write_all(&requests).await.is_ok() {}
        assert_eq!(peers(&host).await, 0);
    })
    .await;
}
