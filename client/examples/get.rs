//! Fetches a magnet link or a bare info-hash into a folder, and shows how far it is.
//!
//! `cargo run -p trackerless-client --features driver --example get -- MAGNET FOLDER [HOST:PORT]...`
//!
//! Without DHT nodes to ask first it enters the public DHT by its well-known hosts.

use std::error::Error;
use std::time::Duration;

use client::TorrentEvent;
use client::driver::{Add, Event, Session};
use client::wire::magnet::Magnet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    const USAGE: &str = "usage: get MAGNET FOLDER [HOST:PORT]...";
    let mut args = std::env::args().skip(1);
    let magnet = Magnet::from_user(&args.next().ok_or(USAGE)?)?;
    let folder = args.next().ok_or(USAGE)?;

    let mut builder = Session::builder();
    if args.len() == 0 {
        builder = builder.public();
    }
    for host_port in args {
        builder = builder.bootstrap(host_port);
    }
    let session = builder.start()?;
    let mut events = session.events();
    let key = session.add(Add::magnet(&magnet, folder)).await?;

    let mut redraw = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Torrent(_, TorrentEvent::Metadata(info))) => eprintln!("it is {}", info.name),
                // All of it is on stable storage.
                Some(Event::Torrent(_, TorrentEvent::Flushed)) if session.stats(key).await?.complete => break,
                Some(Event::Torrent(_, TorrentEvent::Failed(failure))) => return Err(failure.into()),
                Some(_) => {}
                None => return Err("the session ended".into()),
            },
            _ = redraw.tick() => {
                let now = session.stats(key).await?;
                eprintln!("{} of {} bytes from {} peers", now.have_bytes, now.total_len, now.peers);
            }
        }
    }
    if let Some(info) = session.info(key).await? {
        info.files.iter().for_each(|file| println!("{}", file.path.join("/")));
    }
    Ok(session.shutdown().await?)
}
