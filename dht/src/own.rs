//! What the node is at each of its sockets: to others a node of its own, with an id of its own (BEP 45,
//! "Node Behavior"), which fits the address that the world sees there (BEP 42).

use std::net::{IpAddr, SocketAddr};

use wire::NodeId;
use wire::compact::Family;
use wire::rng::Rng;
use wire::scope::{AddrScope, is_unicast};

use crate::node::Node;
use crate::{NodeInfo, SocketId, security};

/// The sockets of both families that lead a lookup: it goes by them where they reach.
pub(crate) type Leads = [SocketId; 2];

/// How a socket does.
#[derive(Clone, Copy, Default)]
struct Link {
    /// Queries in a row that no contact answered.
    unanswered: u32,
    /// Whether anybody ever answered.
    answered: bool,
}

/// The node's ids and how its sockets do; a [`SocketId`] is an index.
#[derive(Clone)]
pub(crate) struct Own {
    ids: Vec<NodeId>,
    /// Where the sockets are bound, and then where else the world sees them: whoever claims to be there
    /// is us.
    addrs: Vec<SocketAddr>,
    links: Vec<Link>,
    /// The socket of each family that the latest lookup went by.
    leads: Leads,
    /// The socket that was first in turn.
    first: usize,
    /// The address of the first socket of its family, if the user says so.
    external_ip: Option<IpAddr>,
    /// Whether the user says an id.
    pub(crate) named: bool,
}

/// Ids are drawn so often for one that parts early from those of the other sockets.
const DRAWS: usize = 8;

impl Own {
    /// For [`Node::touch`](crate::Node::touch).
    pub(crate) fn touch(&self) -> usize {
        let id = self.ids.first().map_or(0, |id| usize::from(id.0[0]));
        let port = self.addrs.first().map_or(0, |addr| usize::from(addr.port()));
        id + port + self.links.first().map_or(0, |link| link.unanswered as usize)
    }

    pub(crate) fn new(
        sockets: Vec<SocketAddr>,
        external_ip: Option<IpAddr>,
        id: Option<NodeId>,
        rng: &mut Rng,
    ) -> Own {
        let mut own = Own {
            ids: Vec::with_capacity(sockets.len()),
            links: vec![Link::default(); sockets.len()],
            addrs: sockets,
            leads: [SocketId(u8::MAX); 2],
            first: 0,
            external_ip,
            named: id.is_some(),
        };
        let (mut first, mut outside) = (None, Vec::new());
        for n in 0..own.links.len() as u8 {
            let socket = SocketId(n);
            let external = own.external_ip_of(socket);
            let fits = |id: &NodeId| external.is_none_or(|ip| security::fits(id, ip));
            let named = id.map(|base| spread(base, n)).filter(fits);
            let id = match (named, external) {
                (Some(id), _) => id,
                (None, Some(ip)) => own.make_id(socket, ip, rng),
                (None, None) => far_from(*first.get_or_insert_with(|| NodeId::random(rng)), n, rng),
            };
            own.ids.push(id);
            let seen = external.zip(own.addr(socket));
            outside.extend(seen.map(|(ip, at)| SocketAddr::new(ip, at.port())));
        }
        own.set_outside(outside);
        own
    }

    /// Where the sockets are bound.
    pub(crate) fn sockets(&self) -> &[SocketAddr] {
        &self.addrs[..self.links.len()]
    }

    /// Where a socket is bound.
    pub(crate) fn addr(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sockets().get(usize::from(socket.0)).copied()
    }

    /// The address that the world sees this socket at, if the user says so.
    pub(crate) fn external_ip_of(&self, socket: SocketId) -> Option<IpAddr> {
        let ip = self.external_ip?;
        let first = self.sockets().iter().position(|own| own.is_ipv4() == ip.is_ipv4());
        (first == Some(usize::from(socket.0))).then_some(ip)
    }

    /// The world sees the sockets at these addresses.
    fn set_outside(&mut self, outside: Vec<SocketAddr>) {
        self.addrs.truncate(self.links.len());
        for addr in outside {
            if !self.addrs.contains(&addr) {
                self.addrs.reserve_exact(1);
                self.addrs.push(addr);
            }
        }
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
        let this = usize::from(socket.0);
        let others = || self.ids.iter().enumerate().filter(|(n, _)| *n != this);
        let shared = |id: &NodeId| others().map(|(_, own)| own.common_prefix(id)).max();
        let draws = if others().next().is_some() { DRAWS } else { 1 };
        let drawn = (0..draws).map(|_| security::make_id(ip, rng));
        drawn.min_by_key(shared).unwrap_or(NodeId::ZERO)
    }

    /// A query by this socket was answered.
    pub(crate) fn answered(&mut self, socket: SocketId) {
        if let Some(link) = self.links.get_mut(usize::from(socket.0)) {
            *link = Link { unanswered: 0, answered: true };
        }
    }

    /// A query by this socket was not answered.
    pub(crate) fn unanswered(&mut self, socket: SocketId) {
        if let Some(link) = self.links.get_mut(usize::from(socket.0)) {
            link.unanswered = link.unanswered.saturating_add(1);
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

/// An id that parts from the first as those of [`spread`] do, and by the rest of which nobody sees that
/// both are of one node.
fn far_from(first: NodeId, n: u8, rng: &mut Rng) -> NodeId {
    if n == 0 {
        return first;
    }
    let mut id = NodeId::random(rng);
    id.0[0] = spread(first, n).0[0];
    id
}

/// How well a socket bound to `own` reaches `addr`; `None` if it is of the other family. A Global address
/// is reached from all but loopback and link-local ones, by NAT from private ones. A Local one is best
/// reached from its own network: by who shares the most bytes with it, of a /24 or a /64 (as RFC 6724,
/// rule 8). What is bound to no address leaves the choice to the system.
fn reach(own: &SocketAddr, addr: &SocketAddr) -> Option<usize> {
    let shared = |a: &[u8], b: &[u8], whole: usize| {
        a.iter().zip(b).take(whole).take_while(|(a, b)| a == b).count()
    };
    let (near, whole) = match (own.ip(), addr.ip()) {
        (IpAddr::V4(own), IpAddr::V4(ip)) => (shared(&own.octets(), &ip.octets(), 3), 3),
        (IpAddr::V6(own), IpAddr::V6(ip)) => (shared(&own.octets(), &ip.octets(), 8), 8),
        _ => return None,
    };
    let stays = match own.ip() {
        IpAddr::V4(own) => own.is_loopback() || own.is_link_local(),
        IpAddr::V6(own) => own.is_loopback() || own.is_unicast_link_local(),
    };
    Some(match AddrScope::of(addr.ip()) {
        AddrScope::Global => usize::from(!stays),
        AddrScope::Local if own.ip().is_unspecified() => whole,
        AddrScope::Local => near,
    })
}

impl Node {
    /// All sockets, in the order of [`Config::sockets`].
    pub fn sockets(&self) -> impl Iterator<Item = SocketId> + use<> {
        (0..self.own.sockets().len()).map(|n| SocketId(n as u8))
    }

    /// All sockets, another one first each time.
    pub(crate) fn sockets_in_turn(&mut self) -> impl Iterator<Item = SocketId> + use<> {
        let sockets = self.own.sockets().len();
        self.own.first = (self.own.first + 1) % sockets.max(1);
        let first = self.own.first;
        (0..sockets).map(move |n| SocketId(((first + n) % sockets) as u8))
    }

    /// Takes another id at a socket; its table becomes that of this id.
    pub(crate) fn set_id(&mut self, socket: SocketId, id: NodeId) {
        if let Some(own) = self.own.ids.get_mut(usize::from(socket.0)) {
            *own = id;
            self.tables.move_to(self.now, socket, id);
        }
    }

    /// Takes earlier ids that fit: at the addresses where they were, and those of addresses that are gone
    /// where there is none yet.
    pub(crate) fn restore_ids(&mut self, earlier: &[NodeInfo]) {
        let mut sockets: Vec<_> = self.sockets().collect();
        let mut earlier: Vec<_> = earlier.iter().filter(|node| node.id != NodeId::ZERO).collect();
        let same: [fn(&SocketAddr, &SocketAddr) -> bool; 3] =
            [|a, b| a.ip() == b.ip(), |a, b| a.is_ipv4() == b.is_ipv4(), |_, _| true];
        for same in same {
            earlier.retain(|node| {
                let own = |socket: &SocketId| self.own.addr(*socket);
                let fits = |socket: &SocketId| {
                    own(socket).is_some_and(|own| same(&own, &node.addr))
                        && self.external_ip(*socket).is_none_or(|ip| security::fits(&node.id, ip))
                };
                let at = sockets.iter().position(fits).filter(|_| !self.own.has(&node.id));
                at.map(|at| self.set_id(sockets.remove(at), node.id)).is_none()
            });
        }
    }

    /// How well each socket reaches `addr`, where it is of its family.
    fn reaches(&self, addr: &SocketAddr) -> impl Iterator<Item = (SocketId, usize)> {
        self.sockets()
            .zip(self.own.sockets())
            .filter_map(|(socket, own)| Some((socket, reach(own, addr)?)))
    }

    /// The socket by which a lookup that these lead reaches `addr`: that of its family, or the first of
    /// those that reach it better. None if there is no socket of its family.
    pub(crate) fn route(&self, addr: &SocketAddr, leads: Leads) -> Option<SocketId> {
        let lead = leads[Family::of(addr) as usize];
        self.reaches(addr)
            .max_by_key(|(socket, reach)| (*reach, *socket == lead, std::cmp::Reverse(*socket)))
            .map(|(socket, _)| socket)
    }

    /// A socket by which `addr` is reached, for what is no part of a lookup.
    pub(crate) fn route_any(&self, addr: &SocketAddr) -> Option<SocketId> {
        self.route(addr, self.own.leads)
    }

    /// The sockets that lead the next lookup: of each family each in turn that is up.
    pub(crate) fn next_leads(&mut self) -> Leads {
        for family in [Family::V4, Family::V6] {
            let last = self.own.leads[family as usize];
            let up = self
                .sockets()
                .filter(|socket| self.is_of(*socket, family) && !self.is_down(*socket));
            let (mut first, mut next) = (None, None);
            for socket in up {
                first = first.or(Some(socket));
                next = next.or(Some(socket).filter(|socket| last.0 != u8::MAX && *socket > last));
            }
            self.own.leads[family as usize] = next.or(first).unwrap_or(last);
        }
        self.own.leads
    }

    /// The sockets that lead what is done for this one.
    pub(crate) fn led_by(&self, socket: SocketId) -> Leads {
        let mut leads = self.own.leads;
        for family in [Family::V4, Family::V6] {
            if self.is_of(socket, family) {
                leads[family as usize] = socket;
            }
        }
        leads
    }

    /// The sockets that lead what is done for the table of this one: itself, if it is up.
    pub(crate) fn led_for(&mut self, socket: SocketId) -> Leads {
        if self.is_down(socket) { self.next_leads() } else { self.led_by(socket) }
    }

    fn is_of(&self, socket: SocketId, family: Family) -> bool {
        self.own.addr(socket).is_some_and(|own| Family::of(&own) == family)
    }

    fn is_silent(&self, socket: SocketId) -> bool {
        let link = self.own.links.get(usize::from(socket.0));
        link.is_some_and(|link| link.unanswered >= self.config.link_silent_max)
    }

    fn is_alive(&self, socket: SocketId) -> bool {
        let link = self.own.links.get(usize::from(socket.0));
        link.is_some_and(|link| link.answered) && !self.is_silent(socket)
    }

    /// Whether nobody answers by this socket, and somebody does by another of its family: its link is
    /// down (BEP 45, "Determining Connectivity").
    pub fn is_down(&self, socket: SocketId) -> bool {
        let family = |of| self.own.addr(SocketId(of)).map(|own| Family::of(&own));
        self.is_silent(socket)
            && self.sockets().any(|n| self.is_alive(n) && family(n.0) == family(socket.0))
    }

    /// Whether silence by this socket says nothing about who is at `addr`: the link is down, and that of
    /// another socket that reaches it as well is not.
    pub(crate) fn may_be_reached_else(&self, socket: SocketId, addr: &SocketAddr) -> bool {
        let own = self.reaches(addr).find(|(n, _)| *n == socket).map(|(_, reach)| reach);
        self.is_silent(socket)
            && self.reaches(addr).any(|(n, reach)| Some(reach) >= own && self.is_alive(n))
    }

    /// Whether a query may go to `addr`: it can be sent to, and is not our own.
    pub(crate) fn may_ask(&self, addr: &SocketAddr) -> bool {
        is_unicast(*addr) && !self.own.addrs.contains(addr)
    }

    /// The world sees a socket at another address than before.
    pub(crate) fn moved(&mut self) {
        let outside = self.sockets().filter_map(|socket| {
            let own = self.own.addr(socket)?;
            Some(SocketAddr::new(self.external_ip(socket)?, own.port()))
        });
        let outside = outside.collect();
        self.own.set_outside(outside);
    }

    /// The address that the world sees a socket at, as far as it is known.
    pub fn external_ip(&self, socket: SocketId) -> Option<IpAddr> {
        self.own.external_ip_of(socket).or_else(|| self.votes.decided(socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
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
            let mut node = Node::new(config, &seed_from_u64(seed), Time::ZERO);
            assert!(security::fits(&node.id(), ip), "the first is said to be there");
            for socket in [1, 2].map(SocketId) {
                let id = node.own.make_id(socket, ip, &mut node.rng);
                node.set_id(socket, id);
            }
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
            "[fe80::1]:1",
        ]);
        let by = |addr: &str, lead| {
            node.route(&addr.parse().unwrap(), [SocketId(lead), SocketId(6)]).unwrap().0
        };
        for lead in 0..5 {
            assert_eq!(by("127.0.0.9:1", lead), 0);
            assert_eq!(by("10.1.3.7:1", lead), 1);
            assert_eq!(by("10.2.3.7:1", lead), 2);
            assert_eq!(by("9.9.9.9:1", lead), lead.max(1), "by NAT too");
            assert_eq!(by("[2001:db8::2]:1", lead), 5);
            assert_eq!(by("[fe80::2]:1", lead), 6);
        }
        let v6 = "[::1]:1".parse().unwrap();
        assert_eq!(self::node(&["1.1.1.1:1"]).route(&v6, [SocketId(0); 2]), None);
    }

    #[test]
    fn what_is_bound_to_no_address_reaches_all() {
        let node = node(&["0.0.0.0:1", "10.1.0.1:1"]);
        let by =
            |addr: &str, lead| node.route(&addr.parse().unwrap(), [SocketId(lead); 2]).unwrap().0;
        for (addr, led) in
            [("127.0.0.1:1", 0), ("10.1.0.2:1", 1), ("10.7.0.2:1", 0), ("9.9.9.9:1", 1)]
        {
            assert_eq!((by(addr, 0), by(addr, 1)), (0, led), "{addr}");
        }
    }

    fn silence(node: &mut Node, socket: u8) {
        (0..node.config.link_silent_max).for_each(|_| node.own.unanswered(SocketId(socket)));
    }

    #[test]
    fn lookups_are_led_in_turn_by_those_that_are_up() {
        let mut node = node(&[
            "80.1.1.1:1",
            "[2001:db8:1::1]:1",
            "80.1.2.1:1",
            "80.1.3.1:1",
            "[2001:db8:2::1]:1",
        ]);
        let leads = |node: &mut Node| {
            (0..6).map(|_| node.next_leads().map(|lead| lead.0)).collect::<Vec<_>>()
        };
        let in_turn = [[0, 1], [2, 4], [3, 1], [0, 4], [2, 1], [3, 4]];
        assert_eq!(leads(&mut node), in_turn, "none was ever answered");
        (0..5).for_each(|n| node.own.answered(SocketId(n)));
        assert_eq!(leads(&mut node), in_turn);
        silence(&mut node, 2);
        assert_eq!(leads(&mut node), [[0, 1], [3, 4], [0, 1], [3, 4], [0, 1], [3, 4]]);
        assert_eq!(node.led_by(SocketId(2))[0].0, 2);
        assert_ne!(node.led_for(SocketId(2))[0].0, 2);
        assert_eq!(node.led_for(SocketId(4))[1].0, 4);
        node.own.answered(SocketId(2));
        assert_eq!(node.led_for(SocketId(2))[0].0, 2);
        (0..5).for_each(|n| silence(&mut node, n));
        assert!(!node.is_down(SocketId(2)), "no socket is better than another");
        node.own.answered(SocketId(1));
        assert!(node.is_down(SocketId(4)) && !node.is_down(SocketId(2)));
    }

    #[test]
    fn whoever_another_link_reaches_no_better_is_blamed() {
        let mut node = node(&["10.1.0.1:1", "10.2.0.1:1", "80.1.1.1:1"]);
        (0..3).for_each(|n| node.own.answered(SocketId(n)));
        silence(&mut node, 0);
        let else_reached =
            |addr: &str| node.may_be_reached_else(SocketId(0), &addr.parse().unwrap());
        assert!(else_reached("9.9.9.9:1") && !else_reached("10.1.0.9:1"));
    }

    #[test]
    fn a_ping_by_a_link_that_is_down_says_nothing() {
        use crate::transactions::{Ask, Purpose};
        for down in [true, false] {
            let mut node = node(&["80.1.1.1:1", "80.1.2.1:1"]);
            (0..2).for_each(|n| node.own.answered(SocketId(n)));
            let subject = NodeInfo { id: wire::Id([9; 20]), addr: "70.1.1.1:1".parse().unwrap() };
            node.tables.on_reply(node.now, &subject, std::time::Duration::ZERO);
            let (now, mut due) = (Time::from_secs(1000), Vec::new());
            node.now = now;
            node.tables.questionable(now, SocketId(0), 8, &mut due);
            assert_eq!(due, [subject]);
            let (to, id) = (subject.addr, Some(subject.id));
            node.ask(to, SocketId(0), id, Ask::Ping, Purpose::Maintenance);
            if down {
                silence(&mut node, 0);
            }
            node.handle_timeout(now + node.config.hard_timeout());
            assert_eq!(node.stats.timeouts, 1);
            // The next round of maintenance pings it again, by a link that is up, and tries the other.
            let mut buf = Vec::new();
            let mut pings = Vec::new();
            while let Some(sent) = node.poll_transmit(&mut buf) {
                if buf.windows(7).any(|w| w == b"q4:ping") {
                    pings.push((sent.to, sent.via.0));
                }
            }
            let links = if down { vec![1, 0] } else { vec![1] };
            assert_eq!(pings, links.iter().map(|via| (to, *via)).collect::<Vec<_>>());
            let proven = node.closest(Family::V4, &subject.id, 8);
            assert_eq!(proven.len(), usize::from(down), "a failure or none");
        }
    }

    #[test]
    fn as_many_sockets_as_there_can_be_have_ids_that_part() {
        let texts: Vec<_> = (0..255).map(|n| format!("80.1.{n}.1:1")).collect();
        let mut node = node(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        node.next_leads();
        let first: std::collections::BTreeSet<_> = node.ids().iter().map(|id| id.0[0]).collect();
        assert_eq!(first.len(), 255);
        // By the other bits nobody sees that they are of one node.
        let rest: std::collections::BTreeSet<_> = node.ids().iter().map(|id| id.0[1]).collect();
        assert!(rest.len() > 100, "{}", rest.len());
    }

    #[test]
    fn earlier_ids_go_where_they_were() {
        let id = |n: u8| wire::Id([n; 20]);
        let at = |n, addr: &str| NodeInfo { id: id(n), addr: addr.parse().unwrap() };
        let earlier = [
            at(1, "80.1.1.1:1"),
            at(2, "80.1.2.1:1"),
            at(3, "[2001:db8::1]:1"),
            at(0, "80.1.9.1:1"),
        ];
        let restored = |sockets: &[&str], earlier: &[NodeInfo]| {
            let mut node = node(sockets);
            node.restore_ids(earlier);
            node.ids().iter().map(|id| id.0[0]).collect::<Vec<_>>()
        };
        let moved = ["[2001:db8::1]:7", "80.1.2.1:7", "80.1.3.1:7", "80.1.1.1:7"];
        let ids = restored(&moved, &earlier);
        assert_eq!((ids[0], ids[1], ids[3]), (3, 2, 1));
        assert_eq!(restored(&["80.1.7.1:1", "80.1.2.1:1"], &earlier), [1, 2]);
        assert_eq!(restored(&["[2001:db8::9]:1"], &earlier[..1]), [1]);
        let twice =
            restored(&["80.1.1.1:1", "80.1.2.1:1"], &[at(5, "80.1.1.1:1"), at(5, "80.1.2.1:1")]);
        assert!(twice[0] == 5 && twice[1] != 5);
    }
}
