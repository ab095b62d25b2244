//! A seed and a leech in one process, which find each other by a DHT of their own on loopback. It
//! needs no network.
//!
//! `cargo run -p trackerless-client --features driver --example swarm`

use std::error::Error;
use std::net::SocketAddr;

use client::TorrentEvent;
use client::driver::{Add, Event, Events, Session, hash_path};
use dht::driver::Testnet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let testnet = Testnet::new(8).await?;
    let entry = testnet.bootstrap_addrs()[3].to_string();
    let start = |ip: [u8; 4]| {
        Session::builder().bind(SocketAddr::from((ip, 0))).bootstrap(entry.clone()).start()
    };

    let folder = tempfile::tempdir()?;
    let (shared, fetched) = (folder.path().join("shared.bin"), folder.path().join("fetched"));
    std::fs::write(&shared, (0..1 << 20).map(|n: u32| (n >> 8) as u8).collect::<Vec<_>>())?;

    let seed = start([127, 0, 1, 1])?;
    let mut events = seed.events();
    let hashed = hash_path(&shared, None, |_, _| {})?;
    let info_hash = hashed.info.info_hash;
    seed.add(Add::seed(hashed)).await?;
    wait(&mut events, |event| matches!(event, TorrentEvent::Announced { kept_by: 1.. })).await?;
    println!("{info_hash} is served and announced");

    let leech = start([127, 0, 1, 2])?;
    let mut events = leech.events_and_pieces();
    leech.add(Add::info_hash(info_hash, &fetched)).await?;
    let mut pieces = 0;
    wait(&mut events, |event| {
        pieces += usize::from(matches!(event, TorrentEvent::Piece(_)));
        *event == TorrentEvent::Complete
    })
    .await?;
    // Both end in good order; what the leech has is on stable storage then.
    leech.shutdown().await?;
    seed.shutdown().await?;
    assert_eq!(std::fs::read(&shared)?, std::fs::read(fetched.join("shared.bin"))?);
    println!("fetched {pieces} pieces, the same byte for byte");
    Ok(())
}

/// Waits until an event is the one that is wanted.
async fn wait(
    events: &mut Events,
    mut is_it: impl FnMut(&TorrentEvent) -> bool,
) -> Result<(), Box<dyn Error>> {
    while let Some(event) = events.next().await {
        match event {
            Event::Torrent(_, event) if is_it(&event) => return Ok(()),
            Event::Torrent(_, TorrentEvent::Failed(failure)) => return Err(failure.into()),
            _ => {}
        }
    }
    Err("the session ended".into())
}
