//! Starts the session as the command line says.

use client::driver::Session;

use crate::args::Network;
use crate::exit::Failure;

/// Events that a torrent may bring at once.
const EVENTS_PER_TORRENT: usize = 8;

/// A running session. `nodes` are DHT nodes that torrent files name (BEP 5), `torrents` will be added.
pub fn session(network: &Network, nodes: Vec<String>, torrents: usize) -> Result<Session, Failure> {
    let mut builder = Session::builder().events_max(1024 + EVENTS_PER_TORRENT * torrents);
    for addr in &network.bind {
        builder = builder.bind(*addr);
    }
    let named: Vec<String> = network.bootstrap.iter().cloned().chain(nodes).collect();
    builder = match (network.no_dht, named.is_empty()) {
        (true, _) => builder.without_dht(),
        (false, true) => builder.public(),
        (false, false) => named.into_iter().fold(builder, |builder, node| builder.bootstrap(node)),
    };
    Ok(builder.start()?)
}
