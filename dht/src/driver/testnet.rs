//! A DHT of one's own on loopback, for tests.

use std::net::SocketAddr;

use super::{Dht, DhtError};

/// A private overlay of nodes on loopback, each at an IPv4 address of its own. It needs no network,
/// and ends when it is dropped.
///
/// ```
/// # async fn run() -> Result<(), dht::driver::DhtError> {
/// let testnet = dht::driver::Testnet::new(8).await?;
/// assert_eq!(testnet.bootstrap_addrs().len(), 8);
/// # Ok(())
/// # }
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(run()).unwrap();
/// ```
#[derive(Debug)]
pub struct Testnet {
    nodes: Vec<Dht>,
    addrs: Vec<SocketAddr>,
}

impl Testnet {
    /// Founds an overlay of so many nodes, at least one, in tasks of the current tokio runtime; all
    /// have joined when it returns.
    pub async fn new(nodes: u16) -> Result<Testnet, DhtError> {
        let mut testnet = Testnet { nodes: Vec::new(), addrs: Vec::new() };
        for number in 0..nodes.max(1) {
            let ip =
                [127, 20 + (number >> 15) as u8, (number >> 7) as u8, (number & 127) as u8 + 1];
            let mut builder =
                Dht::builder().bind((ip, 0).into()).config(|c| *c = c.clone().among_thousands());
            if let Some(founder) = testnet.addrs.first() {
                builder = builder.bootstrap(founder.to_string());
            }
            let node = builder.start()?;
            testnet.addrs.extend(node.info().await?.local_addrs);
            testnet.nodes.push(node);
        }
        if let (Some(founder), Some(second)) = (testnet.nodes.first(), testnet.addrs.get(1)) {
            founder.bootstrap(second.to_string()).await?;
            for node in &testnet.nodes {
                node.bootstrapped().await?;
            }
        }
        Ok(testnet)
    }

    /// The nodes' addresses, to be named as bootstrap contacts: any of them will do.
    pub fn bootstrap_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The nodes. Clones of these handles keep them alive.
    pub fn nodes(&self) -> &[Dht] {
        &self.nodes
    }
}
