//! Prints the peers of a torrent as the DHT gives them.
//!
//! `cargo run -p trackerless-dht --features driver --example get_peers -- INFO_HASH [HOST:PORT]...`
//!
//! Without nodes to ask first it enters the public DHT by its well-known hosts.

use std::error::Error;

use dht::driver::Dht;
use dht::wire::InfoHash;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let info_hash: InfoHash =
        args.next().ok_or("usage: get_peers INFO_HASH [HOST:PORT]...")?.parse()?;

    // It asks and goes: nobody should list it (BEP 43).
    let mut builder = Dht::builder().read_only(true);
    if args.len() == 0 {
        builder = builder.public();
    }
    for host_port in args {
        builder = builder.bootstrap(host_port);
    }
    let dht = builder.start()?;
    dht.bootstrapped().await?;

    let mut peers = dht.get_peers(info_hash).await?;
    while let Some(peer) = peers.next().await {
        println!("{peer}");
    }
    let lookup = peers.finish().await?;
    eprintln!("{} nodes asked, {} answered", lookup.asked, lookup.answered);
    Ok(dht.shutdown().await?)
}
