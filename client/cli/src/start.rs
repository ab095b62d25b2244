//! Starts the engine as the command line says.

use client::driver::{Client, DhtOptions, Options};
use dht::driver::PUBLIC_BOOTSTRAP;

use crate::args::Network;
use crate::exit::Failure;

/// A running engine. `nodes` are DHT nodes that torrent files name (BEP 5).
pub fn client(network: &Network, nodes: Vec<String>) -> Result<Client, Failure> {
    let dht = (!network.no_dht).then(|| {
        let mut bootstrap = network.bootstrap.clone();
        bootstrap.extend(nodes);
        if bootstrap.is_empty() {
            bootstrap.extend(PUBLIC_BOOTSTRAP.map(String::from));
        }
        DhtOptions { bootstrap, ..DhtOptions::default() }
    });
    let bind =
        if network.bind.is_empty() { vec![([0, 0, 0, 0], 0).into()] } else { network.bind.clone() };
    Client::start(Options { bind, dht, ..Options::default() }).map_err(|error| {
        Failure::Network(format!("{error}; choose another address or port with --bind"))
    })
}
