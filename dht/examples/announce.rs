//! Tells the DHT that a peer on this host has a torrent.
//!
//! `cargo run -p trackerless-dht --features driver --example announce -- INFO_HASH PORT [HOST:PORT]...`
//!
//! Without nodes to ask first it enters the public DHT by its well-known hosts. Others forget an
//! announce after 30 to 45 minutes: who stays repeats it.

use std::error::Error;

use dht::driver::Dht;
use dht::wire::InfoHash;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(info_hash), Some(port)) = (args.next(), args.next()) else {
        return Err("usage: announce INFO_HASH PORT [HOST:PORT]...".into());
    };
    let (info_hash, port): (InfoHash, u16) = (info_hash.parse()?, port.parse()?);

    let mut builder = Dht::builder();
    if args.len() == 0 {
        builder = builder.public();
    }
    for host_port in args {
        builder = builder.bootstrap(host_port);
    }
    let dht = builder.start()?;
    dht.bootstrapped().await?;

    let announced = dht.announce(info_hash, port).await?;
    println!("announced to {} nodes, {} peers met", announced.accepted, announced.peers.len());
    Ok(dht.shutdown().await?)
}
