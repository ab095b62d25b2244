//! A DHT for peers to find each other by.

use std::net::SocketAddr;

use crate::lan::{Host, Lan};
use crate::libtorrent::Libtorrent;
use crate::ours::DhtNode;

/// The port of every node of a network; each has an address of its own.
const PORT: u16 = 6881;

/// A DHT of 14 nodes that know each other, which is enough for transmission to take part (it
/// wants 9, see [`crate::transmission`]).
pub struct Network {
    /// The sessions of libtorrent among its nodes, which also make torrent files.
    pub libtorrent: Libtorrent,
    /// Our nodes.
    pub ours: Vec<DhtNode>,
    /// All nodes: libtorrent's, then ours.
    pub nodes: Vec<SocketAddr>,
}

impl Network {
    /// Libtorrent alone.
    pub fn of_libtorrent(lan: &mut Lan) -> Self {
        let (host, nodes) = addresses(lan, "libtorrent-network", 14);
        let libtorrent = Libtorrent::start_network(&host, &nodes);
        Self { libtorrent, ours: Vec::new(), nodes }
    }

    /// The same, over IPv6 alone.
    pub fn of_libtorrent_v6(lan: &mut Lan) -> Self {
        let host = lan.host("libtorrent-network");
        let ips = lan.add_v6(&host, 14).into_iter();
        let nodes: Vec<_> = ips.map(|ip| SocketAddr::new(ip.into(), PORT)).collect();
        let libtorrent = Libtorrent::start_network(&host, &nodes);
        Self { libtorrent, ours: Vec::new(), nodes }
    }

    /// Eight of libtorrent's nodes and six of ours, which come in by those.
    pub fn mixed(lan: &mut Lan) -> Self {
        let theirs = addresses(lan, "libtorrent-network", 8);
        let ours = addresses(lan, "our-network", 6);
        Self::of_both(theirs, ours)
    }

    /// The same with a network for each node: who suspects the nodes of one network takes all of these.
    pub fn spread(lan: &mut Lan) -> Self {
        let mut spread = |name: &str, count| {
            let host = lan.host(name);
            let ips = lan.add_networks(&host, count);
            (host, ips.into_iter().map(|ip| SocketAddr::new(ip.into(), PORT)).collect())
        };
        let (theirs, ours) = (spread("libtorrent-network", 8), spread("our-network", 6));
        Self::of_both(theirs, ours)
    }

    fn of_both(theirs: (Host, Vec<SocketAddr>), ours: (Host, Vec<SocketAddr>)) -> Self {
        let ((host, mut nodes), (our_host, own)) = (theirs, ours);
        let libtorrent = Libtorrent::start_network(&host, &nodes);
        let known = nodes.clone();
        let start = |(i, &address): (usize, &SocketAddr)| {
            DhtNode::start(&our_host, address, &known[i % known.len()..][..1])
        };
        let ours = own.iter().enumerate().map(start).collect();
        nodes.extend(own);
        Self { libtorrent, ours, nodes }
    }
}

/// A host with so many addresses, and a node on each.
pub fn addresses(lan: &mut Lan, name: &str, count: u8) -> (Host, Vec<SocketAddr>) {
    let (host, ips) = lan.host_with_addresses(name, count);
    (host, ips.into_iter().map(|ip| SocketAddr::new(ip.into(), PORT)).collect())
}
