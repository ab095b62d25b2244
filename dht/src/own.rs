//! What the node is at each of its sockets: to others a node of its own, with an id of its own (BEP 45,
//! "Node Behavior"), which fits the address that the world sees there (BEP 42).

use std::net::{IpAddr, SocketAddr};

use wire::NodeId;
use wire::compact::Family;
use wire::rng::Rng;
use wire::scope::{AddrScope, is_unicast};

use crate::config::Config;
use crate::node::Node;
use crate::{SocketId, security};

/// The node's ids and how its sockets do; a [`SocketId`] is an index.
#[derive(Clone)]
pub(crate) struct Own {
    ids: Vec<NodeId>,
    /// Where the sockets are bound, and where the world sees them: whoever claims to be there is us.
    addrs: Vec<SocketAddr>,
    /// Queries in a row that nobody answered by this socket.
    unanswered: Vec<u32>,
    /// The socket that the latest lookup went by.
    lead: u8,
}

/// Ids are drawn so often for one that parts early from those of the other sockets.
const DRAWS: usize = 8;

impl Own {
    pub(crate) fn new(config: &Config, rng: &mut Rng) -> Own {
        let mut own = Own {
            ids: Vec::new(),
            addrs: config.sockets.clone(),
            unanswered: vec![0; config.sockets.len()],
            lead: u8::MAX,
        };
        let mut base = config.id;
        for (n, addr) in (0u8..).zip(&config.sockets) {
            let external = config.external_ip.filter(|ip| ip.is_ipv4() == addr.is_ipv4());
            let fits = |id: &NodeId| external.is_none_or(|ip| security::fits(id, ip));
            let named = base.map(|base| spread(base, n)).filter(fits);
            let id = match (named, external) {
                (Some(id), _) => id,
                (None, Some(ip)) => own.make_id(SocketId(n), ip, rng),
                (None, None) => spread(*base.insert(NodeId::random(rng)), n),
            };
            own.ids.push(id);
            own.addrs.extend(external.map(|ip| SocketAddr::new(ip, addr.port())));
        }
        own
    }

    /// The id at each socket.
    pub(crate) fn ids(&self) -> &[NodeId] {
        &self.ids
    }

    /// The id at a socket.
    pub(crate) fn id(&self, socket: SocketId) -> NodeId {
        self.ids.get(usize::from(socket.0)).copied().unwrap_or(NodeId::ZERO)
    }

    /// Whether it is one of our ids.
    pub(crate) fn has(&self, id: &NodeId) -> bool {
        self.ids.contains(id)
    }

    /// An id for a socket that the world sees at `ip`, far from those of the others: sockets behind one
    /// address have but eight prefixes to choose from.
    pub(crate) fn make_id(&self, socket: SocketId, ip: IpAddr, rng: &mut Rng) -> NodeId {
        let others = || (0u8..).zip(&self.ids).filter(|(n, _)| *n != socket.0);
        let shared = |id: &NodeId| others().map(|(_, own)| own.common_prefix(id)).max();
        let draws = if others().next().is_some() { DRAWS } else { 1 };
        let drawn = (0..draws).map(|_| security::make_id(ip, rng));
        drawn.min_by_key(shared).unwrap_or(NodeId::ZERO)
    }

    /// A query by this socket was answered.
    pub(crate) fn answered(&mut self, socket: SocketId) {
        if let Some(unanswered) = self.unanswered.get_mut(usize::from(socket.0)) {
            *unanswered = 0;
        }
    }

    /// A query by this socket was not answered.
    pub(crate) fn unanswered(&mut self, socket: SocketId) {
        if let Some(unanswered) = self.unanswered.get_mut(usize::from(socket.0)) {
            *unanswered = unanswered.saturating_add(1);
        }
    }
}

/// The id of socket `n` where that of the first is `base`: the highest bits count up, in reverse order
/// (BEP 45, "Mandatory"), so no two are close.
fn spread(base: NodeId, n: u8) -> NodeId {
    let mut id = base;
    id.0[0] ^= n.reverse_bits();
    id
}

/// How well a socket bound to `own` reaches `addr`; `None` if it does not. What is bound to no address
/// leaves the choice to the system. Of several in local networks, the one that is most likely in that of
/// `addr` (as RFC 6724, rule 8, in whole bytes).
fn reach(own: &SocketAddr, addr: &SocketAddr) -> Option<usize> {
    if Family::of(own) != Family::of(addr) {
        return None;
    }
    let scope = AddrScope::of(addr.ip());
    Some(match (own.ip(), addr.ip()) {
        (own, _) if own.is_unspecified() => usize::MAX,
        (own, _) if AddrScope::of(own) != scope => 0,
        _ if scope == AddrScope::Global => 1,
        (IpAddr::V4(own), IpAddr::V4(ip)) => 1 + shared_bytes(&own.octets(), &ip.octets()).min(3),
        (IpAddr::V6(own), IpAddr::V6(ip)) => 1 + shared_bytes(&own.octets(), &ip.octets()).min(8),
        _ => 0,
    })
}

fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Node {
    /// All sockets.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketId> + use<> {
        (0..self.config.sockets.len()).map(|n| SocketId(n as u8))
    }

    /// Takes another id at a socket; its table becomes that of this id.
    pub(crate) fn set_id(&mut self, socket: SocketId, id: NodeId) {
        if let Some(own) = self.own.ids.get_mut(usize::from(socket.0)) {
            *own = id;
            self.tables.move_to(self.now, socket, id);
        }
    }

    /// The socket by which a lookup that `lead` leads reaches `addr`: that one, or the next of those that
    /// reach it as well as any. None if there is no socket of its family.
    pub(crate) fn route(&self, addr: &SocketAddr, lead: SocketId) -> Option<SocketId> {
        let reach = || (0u8..).zip(&self.config.sockets).map(|(n, own)| (n, reach(own, addr)));
        let best = reach().filter_map(|(_, reach)| reach).max()?;
        let mut fit = reach().filter(|(_, reach)| *reach == Some(best)).map(|(n, _)| n);
        let first = fit.next()?;
        Some(SocketId(fit.take_while(|n| *n <= lead.0).last().unwrap_or(first)))
    }

    /// The socket that leads the next lookup: each in turn that is up.
    pub(crate) fn next_lead(&mut self) -> SocketId {
        let sockets = self.config.sockets.len().max(1) as u8;
        for _ in 0..sockets {
            self.own.lead = self.own.lead.wrapping_add(1) % sockets;
            if !self.is_down(SocketId(self.own.lead)) {
                break;
            }
        }
        SocketId(self.own.lead)
    }

    /// The socket that leads what is done for the table of `socket`: that one, if it is up.
    pub(crate) fn lead_for(&mut self, socket: SocketId) -> SocketId {
        if self.is_down(socket) { self.next_lead() } else { socket }
    }

    /// Whether nobody answers by this socket, and somebody does by another of its family: its link is
    /// down, and nobody is to be blamed (BEP 45, "Determining Connectivity").
    pub(crate) fn is_down(&self, socket: SocketId) -> bool {
        let silent = |n: &u32| *n >= self.config.link_silent_max;
        let (sockets, counts) = (&self.config.sockets, &self.own.unanswered);
        let at = usize::from(socket.0);
        counts.get(at).is_some_and(silent)
            && sockets.iter().zip(counts).any(|(other, n)| {
                !silent(n) && sockets.get(at).is_some_and(|own| own.is_ipv4() == other.is_ipv4())
            })
    }

    /// Whether a query may go to `addr`: it can be sent to, and is not our own.
    pub(crate) fn may_ask(&self, addr: &SocketAddr) -> bool {
        is_unicast(*addr) && !self.own.addrs.contains(addr)
    }

    /// The world sees a socket at another address than before.
    pub(crate) fn moved(&mut self) {
        let outside = self.sockets().filter_map(|socket| {
            let own = self.config.sockets.get(usize::from(socket.0))?;
            Some(SocketAddr::new(self.external_ip(socket)?, own.port()))
        });
        self.own.addrs = self.config.sockets.iter().copied().chain(outside).collect();
    }

    /// The address that the world sees a socket at, as far as it is known.
    pub fn external_ip(&self, socket: SocketId) -> Option<IpAddr> {
        let own = self.config.sockets.get(usize::from(socket.0))?;
        let named = self.config.external_ip.filter(|ip| ip.is_ipv4() == own.is_ipv4());
        named.or_else(|| self.votes.decided(socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeInfo;
    use wire::rng::seed_from_u64;
    use wire::time::Time;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn node(sockets: &[&str]) -> Node {
        Node::new(Config::new(addrs(sockets)), &seed_from_u64(1), Time::ZERO)
    }

    #[test]
    fn ids_part_in_their_first_bits() {
        let texts: Vec<_> = (1..=64).map(|n| format!("80.1.{n}.1:1")).collect();
        let node = node(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let ids = node.ids();
        for (n, id) in ids.iter().enumerate() {
            let shared = ids[..n].iter().map(|other| other.common_prefix(id)).max();
            // Of the first 2 none shares a bit, of 4 at most one ... of 64 at most 5.
            assert!(shared.is_none_or(|shared| shared <= n.ilog2()), "{n}: {shared:?}");
        }
    }

    #[test]
    fn sockets_behind_one_address_get_ids_that_fit_it_and_part_early() {
        let ip: IpAddr = "80.1.1.1".parse().unwrap();
        let sockets = addrs(&["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "[2001:db8::1]:1"]);
        for seed in 0..50 {
            let config = Config { external_ip: Some(ip), ..Config::new(sockets.clone()) };
            let node = Node::new(config, &seed_from_u64(seed), Time::ZERO);
            let ids = node.ids();
            assert!(ids[..3].iter().all(|id| security::fits(id, ip)));
            for (n, id) in ids.iter().enumerate() {
                assert!(ids[..n].iter().all(|other| other.common_prefix(id) < 21), "{seed}");
            }
        }
    }

    #[test]
    fn a_lookup_goes_by_the_socket_that_leads_it_where_that_reaches() {
        let node = node(&[
            "127.0.0.1:1",
            "10.1.0.1:1",
            "10.2.0.1:1",
            "80.1.1.1:1",
            "80.1.2.1:1",
            "[2001:db8::1]:1",
        ]);
        let by = |addr: &str, lead| node.route(&addr.parse().unwrap(), SocketId(lead)).unwrap().0;
        for lead in 0..6 {
            assert_eq!(by("127.0.0.9:1", lead), 0);
            assert_eq!(by("10.1.3.7:1", lead), 1);
            assert_eq!(by("10.2.3.7:1", lead), 2);
            assert_eq!(by("9.9.9.9:1", lead), if lead == 4 || lead == 5 { 4 } else { 3 });
            assert_eq!(by("[2001:db8::2]:1", lead), 5);
        }
        assert_eq!(
            {
                let v6 = "[::1]:1".parse().unwrap();
                self::node(&["1.1.1.1:1"]).route(&v6, SocketId(0))
            },
            None
        );
    }

    #[test]
    fn what_is_bound_to_no_address_reaches_all() {
        let node = node(&["0.0.0.0:1", "10.1.0.1:1"]);
        for addr in ["127.0.0.1:1", "10.1.0.2:1", "9.9.9.9:1"] {
            assert_eq!(node.route(&addr.parse().unwrap(), SocketId(1)), Some(SocketId(0)));
        }
    }

    #[test]
    fn lookups_are_led_in_turn_by_those_that_are_up() {
        let mut node = node(&["80.1.1.1:1", "80.1.2.1:1", "80.1.3.1:1"]);
        let leads = |node: &mut Node| (0..6).map(|_| node.next_lead().0).collect::<Vec<_>>();
        assert_eq!(leads(&mut node), [0, 1, 2, 0, 1, 2]);
        (0..node.config.link_silent_max).for_each(|_| node.own.unanswered(SocketId(1)));
        assert_eq!(leads(&mut node), [0, 2, 0, 2, 0, 2]);
        assert_eq!(node.lead_for(SocketId(0)).0, 0);
        assert_ne!(node.lead_for(SocketId(1)).0, 1);
        node.own.answered(SocketId(1));
        assert_eq!(node.lead_for(SocketId(1)).0, 1);
        for n in 0..3 {
            (0..node.config.link_silent_max).for_each(|_| node.own.unanswered(SocketId(n)));
        }
        assert!(!node.is_down(SocketId(1)), "no socket is better than another");
    }

    #[test]
    fn a_ping_by_a_link_that_is_down_says_nothing() {
        use crate::transactions::{Ask, Purpose};
        for down in [true, false] {
            let mut node = node(&["80.1.1.1:1", "80.1.2.1:1"]);
            let subject = NodeInfo { id: wire::Id([9; 20]), addr: "70.1.1.1:1".parse().unwrap() };
            node.tables.on_reply(node.now, &subject, std::time::Duration::ZERO);
            let (now, mut due) = (Time::from_secs(1000), Vec::new());
            node.now = now;
            node.tables.questionable(now, SocketId(0), 8, &mut due);
            assert_eq!(due, [subject]);
            let (to, id) = (subject.addr, Some(subject.id));
            node.ask(to, SocketId(0), id, Ask::Ping, Purpose::Maintenance);
            if down {
                (0..node.config.link_silent_max).for_each(|_| node.own.unanswered(SocketId(0)));
            }
            node.handle_timeout(now + node.config.hard_timeout());
            assert_eq!(node.stats.timeouts, 1);
            // The next round of maintenance pings it again, by a link that is up.
            let mut buf = Vec::new();
            let mut pings = Vec::new();
            while let Some(sent) = node.poll_transmit(&mut buf) {
                if buf.windows(7).any(|w| w == b"q4:ping") {
                    pings.push((sent.to, sent.via));
                }
            }
            assert_eq!(pings, [(to, SocketId(u8::from(down)))]);
            let proven = node.closest(Family::V4, &subject.id, 8);
            assert_eq!(proven.len(), usize::from(down), "a failure or none");
        }
    }
}
