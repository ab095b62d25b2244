//! A DHT of one's own on loopback, as for the tests of a program that uses one. It needs no network.
//!
//! `cargo run -p trackerless-dht --features driver --example testnet`

use std::net::SocketAddr;

use dht::driver::{Dht, DhtError, Testnet};
use dht::wire::Id;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), DhtError> {
    let testnet = Testnet::new(20).await?;
    println!("20 nodes, the first at {}", testnet.bootstrap_addrs()[0]);

    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut joined = Vec::new();
    for entry in &testnet.bootstrap_addrs()[..2] {
        let dht = Dht::builder().bind(loopback).bootstrap(entry.to_string()).start()?;
        dht.bootstrapped().await?;
        joined.push(dht);
    }

    let info_hash = Id([0x77; 20]);
    let announced = joined[0].announce(info_hash, 6881).await?;
    println!("one node announced a torrent to {} others", announced.accepted);

    let mut found = Vec::new();
    let mut peers = joined[1].get_peers(info_hash).await?;
    while let Some(peer) = peers.next().await {
        found.push(peer);
    }
    assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 6881))]);
    println!("another, which did not know it, found {}", found[0]);
    Ok(())
}
