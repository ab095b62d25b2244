//! A NAT between inside hosts and the world: a pure machine that gives packets other addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use wire::rng::{Rng, Seed};
use wire::time::Time;

use crate::latency::mix;
use crate::nat_config::{Dependence, NatConfig, Pooling, PortAssignment, WhenFull};

/// How many ports are tried before there is none.
const PORT_TRIES: u32 = 128;

/// The first port that needs no privilege (RFC 4787, REQ-3a).
const FIRST_USER_PORT: u16 = 1_024;

/// What a packet belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// RFC 4787.
    Udp,
    /// RFC 5382.
    Tcp,
}

/// What a NAT did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatCounters {
    /// Packets that went out.
    pub sent: u64,
    /// Packets that were let in.
    pub received: u64,
    /// Packets to an external address and port that nobody has.
    pub unmapped: u64,
    /// Packets to a mapping that their sender may not use.
    pub filtered: u64,
    /// Packets of new flows that were dropped, as the table was full.
    pub refused: u64,
    /// Flows that gave way to new ones.
    pub evicted: u64,
    /// Packets that were dropped, as there was no port for them.
    pub portless: u64,
    /// Packets from inside to an external address, without hairpinning.
    pub not_turned: u64,
    /// Flows that expired.
    pub expired: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Endpoint {
    ip: u32,
    port: u16,
}

impl Endpoint {
    fn of(addr: SocketAddr) -> Option<Endpoint> {
        match addr {
            SocketAddr::V4(addr) => Some(Endpoint { ip: u32::from(*addr.ip()), port: addr.port() }),
            SocketAddr::V6(_) => None,
        }
    }

    fn addr(self) -> SocketAddr {
        SocketAddrV4::new(Ipv4Addr::from(self.ip), self.port).into()
    }
}

/// An external address and port, which names a mapping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct External {
    protocol: Protocol,
    /// An index of the external addresses.
    ip: u16,
    port: u16,
}

/// What finds the mapping of a packet from inside: the parts of the outside address that mappings
/// depend on, others 0.
type MappingKey = (Protocol, Endpoint, Endpoint);

/// The inside and the outside end.
type FlowKey = (Protocol, Endpoint, Endpoint);

#[derive(Debug)]
struct Mapping {
    inside: Endpoint,
    /// Its key, as long as packets from inside find it; `None` for one that was made by hand.
    key: Option<MappingKey>,
    flows: u32,
}

#[derive(Debug)]
struct Flow {
    external: External,
    expires: Time,
    /// Its place in the queue; not later than `expires`.
    queued: Time,
    sent: bool,
    received: bool,
}

/// An inside address.
#[derive(Debug, Default)]
struct Insider {
    ports: u32,
    block: Option<Block>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    ip: u16,
    first: u16,
}

/// A NAT from IPv4 to IPv4; a carrier's is one with many inside hosts and several addresses. It answers
/// for each packet from which address it goes on, or to which.
///
/// A mapping lives as long as one of its flows, and a flow as long as packets make its life longer; so
/// a mapping expires that long after the last of them (RFC 4787, REQ-5 and REQ-6), and a filter lets
/// in whom a living flow leads to. Without flags of TCP, a flow is open once both sides have sent, and
/// [`Nat::tcp_closed`] tells of its end. Memory is bounded by `flows_max` and the mappings made by
/// hand, an input costs O(log n), and all follows from the inputs and the seed.
pub struct Nat {
    config: NatConfig,
    external: Vec<u32>,
    ip_keys: (u64, u64),
    rng: Rng,
    mappings: BTreeMap<External, Mapping>,
    dynamic: BTreeMap<MappingKey, External>,
    by_hand: BTreeMap<(Protocol, Endpoint), External>,
    flows: BTreeMap<FlowKey, Flow>,
    queue: BTreeSet<(Time, FlowKey)>,
    insiders: BTreeMap<u32, Insider>,
    blocks: u32,
    counters: NatCounters,
}

impl Nat {
    /// A NAT with these external addresses, of which up to 65,535 are used; without any it drops all.
    pub fn new(config: NatConfig, external: &[Ipv4Addr], seed: &Seed) -> Nat {
        let mut rng = Rng::new(seed);
        Nat {
            config,
            external: addresses(external),
            ip_keys: (rng.u64(), rng.u64()),
            rng,
            mappings: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            by_hand: BTreeMap::new(),
            flows: BTreeMap::new(),
            queue: BTreeSet::new(),
            insiders: BTreeMap::new(),
            blocks: 0,
            counters: NatCounters::default(),
        }
    }

    /// How it behaves.
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// What it did.
    pub fn counters(&self) -> NatCounters {
        self.counters
    }

    /// Flows that it remembers; those that expired since the last input are among them.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Mappings that it has, with those that were made by hand.
    pub fn mappings(&self) -> usize {
        self.mappings.len()
    }

    /// A packet from `inside` to `to`: the external address and port from which it goes on, or `None` if
    /// it is dropped: the table is full, there is no port, `to` is the NAT itself and it turns none
    /// round, or one of the addresses is not IPv4. A packet that is turned round goes on to
    /// [`Nat::inbound`] with its external address as sender (RFC 4787, REQ-9a).
    pub fn outbound(
        &mut self,
        now: Time,
        protocol: Protocol,
        inside: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let (inside, to) = (Endpoint::of(inside)?, Endpoint::of(to)?);
        self.expire(now);
        if !self.config.hairpinning && self.external.contains(&to.ip) {
            self.counters.not_turned += 1;
            return None;
        }
        let key = (protocol, inside, to);
        // A flow keeps its mapping, even if a new one would get another.
        let external = match self.flows.get(&key) {
            Some(flow) => flow.external,
            None => {
                self.make_room()?;
                let external = match self.find(protocol, inside, to) {
                    Some(external) => external,
                    None => self.add_mapping(protocol, inside, to)?,
                };
                self.add_flow(key, external);
                external
            }
        };
        self.touch(now, key, |flow| flow.sent = true, true);
        self.counters.sent += 1;
        Some(self.addr(external))
    }

    /// A packet from the world, or turned round, to an external address and port: where inside it
    /// goes, or `None` if it is dropped: there is no such mapping, the filter does not let it in, or
    /// the table is full.
    pub fn inbound(
        &mut self,
        now: Time,
        protocol: Protocol,
        from: SocketAddr,
        external: SocketAddr,
    ) -> Option<SocketAddr> {
        let (from, to) = (Endpoint::of(from)?, Endpoint::of(external)?);
        self.expire(now);
        let ip = self.external.iter().position(|&ip| ip == to.ip);
        let external = ip.map(|ip| External { protocol, ip: ip as u16, port: to.port });
        let Some((external, mapping)) = external.and_then(|e| Some((e, self.mappings.get(&e)?)))
        else {
            self.counters.unmapped += 1;
            return None;
        };
        let (inside, by_hand) = (mapping.inside, mapping.key.is_none());
        if !by_hand && !self.lets_in(external, inside, from) {
            self.counters.filtered += 1;
            return None;
        }
        let key = (protocol, inside, from);
        let extends = self.config.inbound_refresh || protocol == Protocol::Tcp;
        if extends && !self.flows.contains_key(&key) {
            self.make_room()?;
            // The last flow of this very mapping may have given way.
            if !self.mappings.contains_key(&external) {
                self.counters.refused += 1;
                return None;
            }
            self.add_flow(key, external);
        }
        // Who has a flow over another mapping comes in by this one as well, and leaves all as it is.
        if self.flows.get(&key).is_some_and(|flow| flow.external == external) {
            self.touch(now, key, |flow| flow.received = true, extends);
        }
        self.counters.received += 1;
        Some(inside.addr())
    }

    /// Both sides have ended a TCP connection, or one has reset it: its flow is transitory again.
    pub fn tcp_closed(&mut self, now: Time, inside: SocketAddr, to: SocketAddr) {
        self.expire(now);
        let Some((inside, to)) = Endpoint::of(inside).zip(Endpoint::of(to)) else { return };
        let close = |flow: &mut Flow| (flow.sent, flow.received) = (false, false);
        self.touch(now, (Protocol::Tcp, inside, to), close, true);
    }

    /// Maps an external port to `inside` until it is taken back, for whoever sends to it, as UPnP and
    /// PCP do; on the address that a mapping of `inside` would get. New flows from `inside` leave from
    /// it from now on. Returns the external address, or `None` if another has the port, it lies
    /// outside of the block of the inside host, or that has all the ports that it may have.
    pub fn map(
        &mut self,
        protocol: Protocol,
        external_port: u16,
        inside: SocketAddr,
    ) -> Option<SocketAddr> {
        let inside = Endpoint::of(inside)?;
        if self.by_hand.contains_key(&(protocol, inside)) {
            let old = self.by_hand[&(protocol, inside)];
            return (old.port == external_port).then(|| self.addr(old));
        }
        let (ip, ports) = self.choose_ip(inside)?;
        let external = External { protocol, ip, port: external_port };
        match self.mappings.get_mut(&external) {
            Some(mapping) if mapping.inside == inside => {
                if let Some(key) = mapping.key.take() {
                    self.dynamic.remove(&key);
                }
            }
            Some(_) => return None,
            None => {
                let blocks = matches!(self.config.ports, PortAssignment::Blocks { .. });
                let have = self.insiders.get(&inside.ip).map_or(0, |insider| insider.ports);
                let outside = blocks && !ports.contains(&external_port);
                if external_port == 0 || outside || have >= self.config.ports_per_host_max {
                    return None;
                }
                self.insert_mapping(external, Mapping { inside, key: None, flows: 0 });
            }
        }
        self.by_hand.insert((protocol, inside), external);
        Some(self.addr(external))
    }

    /// Takes back what was mapped by hand to `inside`, with its flows.
    pub fn unmap(&mut self, protocol: Protocol, inside: SocketAddr) {
        let Some(inside) = Endpoint::of(inside) else { return };
        let Some(external) = self.by_hand.remove(&(protocol, inside)) else { return };
        let all = (protocol, inside, FIRST_ENDPOINT)..=(protocol, inside, LAST_ENDPOINT);
        let here = self.flows.range(all).filter(|(_, flow)| flow.external == external);
        let keys: Vec<FlowKey> = here.map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(flow) = self.flows.remove(&key) {
                self.queue.remove(&(flow.queued, key));
            }
        }
        self.remove_mapping(external);
    }

    /// It restarts: no flow, mapping or block is left. Ports are given anew, so most are others.
    pub fn forget_all(&mut self) {
        self.mappings.clear();
        self.dynamic.clear();
        self.by_hand.clear();
        self.flows.clear();
        self.queue.clear();
        self.insiders.clear();
        self.blocks = 0;
    }

    /// The provider gives it other addresses: all is forgotten.
    pub fn rebind(&mut self, external: &[Ipv4Addr]) {
        self.forget_all();
        self.external = addresses(external);
    }

    fn addr(&self, external: External) -> SocketAddr {
        Endpoint { ip: self.external[external.ip as usize], port: external.port }.addr()
    }

    fn key(&self, protocol: Protocol, inside: Endpoint, to: Endpoint) -> MappingKey {
        let to = match self.config.mapping {
            Dependence::EndpointIndependent => FIRST_ENDPOINT,
            Dependence::AddressDependent => Endpoint { port: 0, ..to },
            Dependence::AddressAndPortDependent => to,
        };
        (protocol, inside, to)
    }

    fn find(&self, protocol: Protocol, inside: Endpoint, to: Endpoint) -> Option<External> {
        let by_hand = self.by_hand.get(&(protocol, inside));
        by_hand.or_else(|| self.dynamic.get(&self.key(protocol, inside, to))).copied()
    }

    fn lets_in(&self, external: External, inside: Endpoint, from: Endpoint) -> bool {
        let (first, last) = match self.config.filtering {
            Dependence::EndpointIndependent => return true,
            Dependence::AddressDependent => {
                (Endpoint { port: 0, ..from }, Endpoint { port: u16::MAX, ..from })
            }
            Dependence::AddressAndPortDependent => (from, from),
        };
        let key = |outside| (external.protocol, inside, outside);
        let mut flows = self.flows.range(key(first)..=key(last));
        flows.any(|(_, flow)| flow.external == external)
    }

    /// Drops what has expired. A flow whose life became longer goes back into the queue, at most once
    /// for each time it did.
    fn expire(&mut self, now: Time) {
        while let Some(&(at, key)) = self.queue.first()
            && at <= now
        {
            if self.settle(at, key) {
                self.remove_flow(at, key);
                self.counters.expired += 1;
            }
        }
    }

    /// Whether the first of the queue stands where it belongs; if not it is put there.
    fn settle(&mut self, at: Time, key: FlowKey) -> bool {
        let Some(flow) = self.flows.get_mut(&key) else { return true };
        if flow.expires == at {
            return true;
        }
        flow.queued = flow.expires;
        self.queue.remove(&(at, key));
        self.queue.insert((flow.queued, key));
        false
    }

    /// Room for one more flow, or `None`.
    fn make_room(&mut self) -> Option<()> {
        if self.flows.len() < self.config.flows_max {
            return Some(());
        }
        if self.config.when_full == WhenFull::EvictOldest {
            while let Some(&(at, key)) = self.queue.first() {
                if self.settle(at, key) {
                    self.remove_flow(at, key);
                    self.counters.evicted += 1;
                    return Some(());
                }
            }
        }
        self.counters.refused += 1;
        None
    }

    fn add_flow(&mut self, key: FlowKey, external: External) {
        let (expires, queued) = (Time::ZERO, Time::ZERO);
        self.flows.insert(key, Flow { external, expires, queued, sent: false, received: false });
        self.queue.insert((queued, key));
        if let Some(mapping) = self.mappings.get_mut(&external) {
            mapping.flows += 1;
        }
    }

    /// Changes a flow, and lets it live from now on if it `extends` its life.
    fn touch(&mut self, now: Time, key: FlowKey, change: impl FnOnce(&mut Flow), extends: bool) {
        let Some(flow) = self.flows.get_mut(&key) else { return };
        change(flow);
        if !extends {
            return;
        }
        let both = flow.sent && flow.received;
        let secs = match (key.0, both) {
            (Protocol::Udp, false) => self.config.udp_unanswered_secs,
            (Protocol::Udp, true) => self.config.udp_secs,
            (Protocol::Tcp, false) => self.config.tcp_transitory_secs,
            (Protocol::Tcp, true) => self.config.tcp_established_secs,
        };
        flow.expires = now + Duration::from_secs(secs.into());
        // A new flow, or a life that became shorter; others move when their turn comes.
        if flow.expires < flow.queued || flow.queued == Time::ZERO {
            self.queue.remove(&(flow.queued, key));
            flow.queued = flow.expires;
            self.queue.insert((flow.queued, key));
        }
    }

    fn remove_flow(&mut self, queued: Time, key: FlowKey) {
        self.queue.remove(&(queued, key));
        let Some(Flow { external, .. }) = self.flows.remove(&key) else { return };
        if let Some(mapping) = self.mappings.get_mut(&external) {
            mapping.flows -= 1;
            if mapping.flows == 0 && mapping.key.is_some() {
                self.remove_mapping(external);
            }
        }
    }

    fn add_mapping(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        to: Endpoint,
    ) -> Option<External> {
        let key = self.key(protocol, inside, to);
        let Some(external) = self.choose(protocol, inside) else {
            self.counters.portless += 1;
            return None;
        };
        self.insert_mapping(external, Mapping { inside, key: Some(key), flows: 0 });
        self.dynamic.insert(key, external);
        Some(external)
    }

    fn insert_mapping(&mut self, external: External, mapping: Mapping) {
        self.insiders.entry(mapping.inside.ip).or_default().ports += 1;
        self.mappings.insert(external, mapping);
    }

    fn remove_mapping(&mut self, external: External) {
        let Some(mapping) = self.mappings.remove(&external) else { return };
        if let Some(key) = mapping.key {
            self.dynamic.remove(&key);
        }
        if let Some(insider) = self.insiders.get_mut(&mapping.inside.ip) {
            insider.ports -= 1;
            if insider.ports == 0 && insider.block.is_none() {
                self.insiders.remove(&mapping.inside.ip);
            }
        }
    }

    /// A free external address and port for a new mapping.
    fn choose(&mut self, protocol: Protocol, inside: Endpoint) -> Option<External> {
        let have = self.insiders.get(&inside.ip).map_or(0, |insider| insider.ports);
        if have >= self.config.ports_per_host_max {
            return None;
        }
        let (ip, ports) = self.choose_ip(inside)?;
        let preserving = self.config.ports == PortAssignment::Preserving;
        let free = |port: u16| !self.mappings.contains_key(&External { protocol, ip, port });
        if preserving && inside.port != 0 && free(inside.port) {
            return Some(External { protocol, ip, port: inside.port });
        }
        let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
        let step = if preserving { 2 } else { 1 };
        // The first port with the parity that is wanted, and how many there are.
        let first = first + if preserving { (first ^ u32::from(inside.port)) & 1 } else { 0 };
        let count = last.checked_sub(first)? / step + 1;
        let start = self.rng.below(count);
        let ports = (0..count.min(PORT_TRIES)).map(|n| first + (start + n) % count * step);
        let port = ports.map(|port| port as u16).find(|&port| free(port))?;
        Some(External { protocol, ip, port })
    }

    /// The external address of a new mapping of `inside`, and which ports of it are for it.
    fn choose_ip(&mut self, inside: Endpoint) -> Option<(u16, RangeInclusive<u16>)> {
        let count = u32::try_from(self.external.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return None;
        }
        if let PortAssignment::Blocks { ports } = self.config.ports {
            let ports = ports.max(1);
            let block = self.block(inside.ip, ports, count)?;
            return Some((block.ip, block.first..=block.first + (ports - 1)));
        }
        let ip = match self.config.pooling {
            Pooling::Paired => (mix(self.ip_keys, inside.ip.into()) % u64::from(count)) as u16,
            Pooling::Arbitrary => self.rng.below(count) as u16,
        };
        let privileged = inside.port < FIRST_USER_PORT;
        let ports = if privileged { 1..=FIRST_USER_PORT - 1 } else { FIRST_USER_PORT..=u16::MAX };
        Some((ip, ports))
    }

    /// The block of an inside host. New ones go round the addresses, so that these fill evenly.
    fn block(&mut self, inside: u32, ports: u16, addresses: u32) -> Option<Block> {
        if let Some(block) = self.insiders.get(&inside).and_then(|insider| insider.block) {
            return Some(block);
        }
        let each = (u32::from(u16::MAX - FIRST_USER_PORT) + 1) / u32::from(ports);
        let (row, ip) = (self.blocks / addresses, self.blocks % addresses);
        if row >= each {
            return None;
        }
        self.blocks += 1;
        let first = u32::from(FIRST_USER_PORT) + row * u32::from(ports);
        let block = Block { ip: ip as u16, first: first as u16 };
        self.insiders.entry(inside).or_default().block = Some(block);
        Some(block)
    }
}

const FIRST_ENDPOINT: Endpoint = Endpoint { ip: 0, port: 0 };
const LAST_ENDPOINT: Endpoint = Endpoint { ip: u32::MAX, port: u16::MAX };

fn addresses(external: &[Ipv4Addr]) -> Vec<u32> {
    external.iter().take(u16::MAX.into()).map(|ip| u32::from(*ip)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    const OUTSIDE: &str = "9.9.9.9:53";
    const INSIDE: &str = "10.0.0.1:6881";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn secs(secs: u64) -> Time {
        Time::from_secs(secs)
    }

    /// A NAT with a seed and one external address, 5.5.5.5.
    fn nat(config: NatConfig) -> Nat {
        Nat::new(config, &[Ipv4Addr::new(5, 5, 5, 5)], &seed_from_u64(1))
    }

    /// UDP out, at a second.
    fn out(nat: &mut Nat, s: u64, inside: &str, to: &str) -> Option<SocketAddr> {
        nat.outbound(secs(s), Protocol::Udp, at(inside), at(to))
    }

    /// UDP in, at a second.
    fn comes_in(nat: &mut Nat, s: u64, from: &str, external: SocketAddr) -> bool {
        nat.inbound(secs(s), Protocol::Udp, at(from), external).is_some()
    }

    #[test]
    fn req_1_an_inside_port_has_one_external_port_for_all() {
        let mut nat = nat(NatConfig::full_cone());
        let external = out(&mut nat, 0, INSIDE, OUTSIDE).unwrap();
        assert_eq!(external, at("5.5.5.5:6881"));
        assert_eq!(out(&mut nat, 0, INSIDE, "9.9.9.9:54"), Some(external));
        assert_eq!(out(&mut nat, 0, INSIDE, "8.8.8.8:53"), Some(external));
        assert_ne!(out(&mut nat, 0, "10.0.0.1:6882", OUTSIDE), Some(external));
        let inside = nat.inbound(secs(0), Protocol::Udp, at(OUTSIDE), external);
        assert_eq!(inside, Some(at(INSIDE)));
    }

    #[test]
    fn req_1_not_met_each_outside_address_or_port_has_an_external_port() {
        let mut config = NatConfig::symmetric();
        let ports = |config: NatConfig| {
            let mut nat = nat(config);
            let to = ["9.9.9.9:1", "9.9.9.9:2", "8.8.8.8:1", "9.9.9.9:1"];
            to.map(|to| out(&mut nat, 0, INSIDE, to).unwrap().port())
        };
        let [a, b, c, again] = ports(config);
        assert!(a != b && b != c && a != c && a == again);
        config.mapping = Dependence::AddressDependent;
        let [a, b, c, again] = ports(config);
        assert!(a == b && a != c && a == again);
    }

    #[test]
    fn req_2_an_inside_host_has_one_external_address() {
        let external: Vec<Ipv4Addr> = (1..=4).map(|i| Ipv4Addr::new(5, 5, 5, i)).collect();
        let addresses = |pooling| {
            let config = NatConfig { pooling, ..NatConfig::full_cone() };
            let mut nat = Nat::new(config, &external, &seed_from_u64(1));
            let mut seen = BTreeMap::<u8, BTreeSet<std::net::IpAddr>>::new();
            for (host, port) in (0..40).flat_map(|host| (0..10).map(move |port| (host, port))) {
                let inside = SocketAddr::from(([10, 0, 0, host], 7_000 + port));
                let ip = nat.outbound(secs(0), Protocol::Udp, inside, at(OUTSIDE)).unwrap().ip();
                seen.entry(host).or_default().insert(ip);
            }
            seen
        };
        let paired = addresses(Pooling::Paired);
        assert!(paired.values().all(|ips| ips.len() == 1));
        assert_eq!(paired.values().flatten().collect::<BTreeSet<_>>().len(), 4);
        assert!(addresses(Pooling::Arbitrary).values().all(|ips| ips.len() > 1));
    }

    #[test]
    fn req_3_no_external_port_serves_two_and_ranges_are_kept() {
        for config in [NatConfig::full_cone(), NatConfig::symmetric()] {
            let mut nat = nat(config);
            let mut seen = BTreeSet::new();
            for host in 0..250 {
                for port in [53, 6_881] {
                    let inside = SocketAddr::from(([10, 0, 0, host], port));
                    let external = nat.outbound(secs(0), Protocol::Udp, inside, at(OUTSIDE));
                    let external = external.unwrap().port();
                    assert!(seen.insert(external), "{external} twice");
                    assert_eq!(external < 1_024, port < 1_024);
                }
            }
        }
    }

    #[test]
    fn req_4_the_parity_of_the_port_is_kept() {
        let mut nat = nat(NatConfig::full_cone());
        for port in [1, 2, 1_023, 1_024, 6_881, 6_882, 65_535] {
            for host in 0..30 {
                let inside = SocketAddr::from(([10, 0, 0, host], port));
                let external = nat.outbound(secs(0), Protocol::Udp, inside, at(OUTSIDE)).unwrap();
                assert_eq!(external.port() % 2, port % 2);
            }
        }
    }

    #[test]
    fn req_5_a_mapping_lives_for_its_time_and_no_longer() {
        let mut nat = nat(NatConfig::full_cone());
        let external = out(&mut nat, 100, INSIDE, OUTSIDE).unwrap();
        assert!(comes_in(&mut nat, 399, OUTSIDE, external));
        assert!(!comes_in(&mut nat, 400, OUTSIDE, external));
        assert_eq!((nat.flows(), nat.mappings(), nat.counters().expired), (0, 0, 1));
        assert_eq!(nat.counters().unmapped, 1);
    }

    #[test]
    fn req_5_of_rfc_5382_an_open_connection_lives_longer_than_a_dial_or_an_ended_one() {
        let mut nat = nat(NatConfig::port_restricted());
        let (inside, to) = (at(INSIDE), at("9.9.9.9:80"));
        let mut dial = |s: u64| nat.outbound(secs(s), Protocol::Tcp, inside, to).unwrap();
        let external = dial(0);
        let mut answer = |s: u64| nat.inbound(secs(s), Protocol::Tcp, to, external).is_some();
        assert!(!answer(240), "a dial that nobody answers is forgotten");
        nat.outbound(secs(1_000), Protocol::Tcp, inside, to);
        let mut answer = |s: u64| nat.inbound(secs(s), Protocol::Tcp, to, external).is_some();
        assert!(answer(1_001) && answer(1_001 + 7_439));
        nat.tcp_closed(secs(9_000), inside, to);
        let mut answer = |s: u64| nat.inbound(secs(s), Protocol::Tcp, to, external).is_some();
        assert!(answer(9_239) && !answer(9_239 + 240));
    }

    #[test]
    fn req_6_what_is_sent_keeps_a_mapping_and_what_comes_only_if_wanted() {
        for inbound_refresh in [false, true] {
            let mut nat = nat(NatConfig { inbound_refresh, ..NatConfig::restricted() });
            let external = out(&mut nat, 0, INSIDE, OUTSIDE).unwrap();
            out(&mut nat, 200, INSIDE, OUTSIDE);
            assert!(comes_in(&mut nat, 499, OUTSIDE, external));
            assert_eq!(comes_in(&mut nat, 501, OUTSIDE, external), inbound_refresh);
        }
    }

    #[test]
    fn req_6_a_mapping_is_kept_by_any_of_its_flows_and_a_filter_by_its_own() {
        let mut nat = nat(NatConfig::restricted());
        let external = out(&mut nat, 0, INSIDE, OUTSIDE).unwrap();
        for s in [200, 400, 600] {
            assert_eq!(out(&mut nat, s, INSIDE, "8.8.8.8:8"), Some(external));
        }
        assert!(comes_in(&mut nat, 601, "8.8.8.8:9", external));
        assert!(!comes_in(&mut nat, 601, OUTSIDE, external));
    }

    #[test]
    fn req_8_filters_let_in_whom_they_should() {
        let lets_in = |config: NatConfig| {
            let mut nat = nat(config);
            let external = out(&mut nat, 0, INSIDE, OUTSIDE).unwrap();
            let from = [OUTSIDE, "9.9.9.9:54", "8.8.8.8:53"];
            let let_in = from.map(|from| comes_in(&mut nat, 1, from, external));
            let filtered = let_in.iter().filter(|&&let_in| !let_in).count() as u64;
            assert_eq!((nat.counters().filtered, nat.counters().unmapped), (filtered, 0));
            let other = SocketAddr::new(external.ip(), 7);
            assert!(!comes_in(&mut nat, 1, OUTSIDE, other));
            assert_eq!(nat.counters().unmapped, 1);
            let_in
        };
        assert_eq!(lets_in(NatConfig::full_cone()), [true; 3]);
        assert_eq!(lets_in(NatConfig::restricted()), [true, true, false]);
        assert_eq!(lets_in(NatConfig::port_restricted()), [true, false, false]);
        assert_eq!(lets_in(NatConfig::symmetric()), [true, false, false]);
        assert_eq!(lets_in(NatConfig::home_router()), [true, false, false]);
        assert_eq!(lets_in(NatConfig::cgnat()), [true, false, false]);
    }

    #[test]
    fn req_9_inside_hosts_reach_each_other_by_external_addresses() {
        let mut nat = nat(NatConfig::full_cone());
        let there = out(&mut nat, 0, "10.0.0.2:7000", OUTSIDE).unwrap();
        let here = nat.outbound(secs(1), Protocol::Udp, at(INSIDE), there).unwrap();
        // a) The other sees the external address and port of the sender.
        assert_eq!(here, at("5.5.5.5:6881"));
        assert_eq!(nat.inbound(secs(1), Protocol::Udp, here, there), Some(at("10.0.0.2:7000")));

        let mut nat = Nat { config: NatConfig::home_router(), ..nat };
        assert_eq!(nat.outbound(secs(1), Protocol::Udp, at(INSIDE), there), None);
        assert_eq!(nat.counters().not_turned, 1);
    }

    #[test]
    fn req_11_the_same_inputs_have_the_same_outcome() {
        let run = |seed: u64| {
            let external = [Ipv4Addr::new(5, 5, 5, 5), Ipv4Addr::new(5, 5, 5, 6)];
            let mut nat = Nat::new(NatConfig::symmetric(), &external, &seed_from_u64(seed));
            (0..2_000u32)
                .map(|n| {
                    let inside = SocketAddr::from(([10, 0, 0, (n % 7) as u8], 7_000));
                    let to = SocketAddr::from((Ipv4Addr::from(0x0808_0000 + n / 3), 53));
                    nat.outbound(secs(u64::from(n)), Protocol::Udp, inside, to).unwrap()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        // A collision changes the port, never the behaviour: the second host is as reachable.
        let mut nat = nat(NatConfig::full_cone());
        for host in 0..20 {
            let inside = SocketAddr::from(([10, 0, 0, host], 6_881));
            let [a, b] = [OUTSIDE, "8.8.8.8:8"]
                .map(|to| nat.outbound(secs(0), Protocol::Udp, inside, at(to)).unwrap());
            assert_eq!(a, b);
            assert_eq!(nat.inbound(secs(0), Protocol::Udp, at("7.7.7.7:7"), a), Some(inside));
        }
    }

    #[test]
    fn an_answer_makes_a_flow_live_longer_at_home() {
        let mut nat = nat(NatConfig::home_router());
        let external = out(&mut nat, 0, INSIDE, OUTSIDE).unwrap();
        assert!(!comes_in(&mut nat, 30, OUTSIDE, external));
        let external = out(&mut nat, 100, INSIDE, OUTSIDE).unwrap();
        assert!(comes_in(&mut nat, 129, OUTSIDE, external));
        assert!(comes_in(&mut nat, 129 + 119, OUTSIDE, external));
        assert!(!comes_in(&mut nat, 248 + 120, OUTSIDE, external));
    }

    #[test]
    fn a_full_table_refuses_or_forgets_the_oldest() {
        let flows_max = 100;
        let to = |n: u32| SocketAddr::from((Ipv4Addr::from(0x0808_0000 + n), 53));
        for when_full in [WhenFull::Refuse, WhenFull::EvictOldest] {
            let mut nat = nat(NatConfig { flows_max, when_full, ..NatConfig::port_restricted() });
            let mut send = |ms: u64, n: u32| {
                nat.outbound(Time::from_millis(ms), Protocol::Udp, at(INSIDE), to(n))
            };
            assert!((0..100).all(|n| send(n.into(), n).is_some()));
            // The first is heard of again, so the second is the oldest.
            assert!(send(150, 0).is_some());
            let evicts = when_full == WhenFull::EvictOldest;
            let external = send(200, 1_000);
            assert_eq!(external.is_some(), evicts);
            let counted = (nat.counters().refused, nat.counters().evicted, nat.flows());
            assert_eq!(counted, (u64::from(!evicts), u64::from(evicts), flows_max));
            let external = at("5.5.5.5:6881");
            let mut hears = |n: u32| nat.inbound(secs(1), Protocol::Udp, to(n), external).is_some();
            assert_eq!([0, 1, 2, 1_000].map(&mut hears), [true, !evicts, true, evicts]);
        }
    }

    #[test]
    fn the_last_flow_of_a_mapping_may_give_way_to_its_next() {
        let config = NatConfig { flows_max: 1, ..NatConfig::home_router() };
        let mut nat = nat(config);
        let external = out(&mut nat, 0, INSIDE, OUTSIDE);
        assert_eq!(out(&mut nat, 1, INSIDE, "8.8.8.8:8"), external);
        assert_eq!((nat.flows(), nat.mappings()), (1, 1));
        let mut nat = Nat { config: NatConfig { flows_max: 0, ..config }, ..nat };
        nat.forget_all();
        assert_eq!(out(&mut nat, 2, INSIDE, OUTSIDE), None);
        assert_eq!((nat.flows(), nat.mappings()), (0, 0));
    }

    #[test]
    fn a_port_mapped_by_hand_lets_all_in_for_good() {
        let mut nat = nat(NatConfig::home_router());
        let external = nat.map(Protocol::Udp, 4_000, at(INSIDE)).unwrap();
        assert_eq!(external, at("5.5.5.5:4000"));
        assert_eq!(nat.map(Protocol::Udp, 4_000, at(INSIDE)), Some(external));
        assert_eq!(nat.map(Protocol::Udp, 4_001, at(INSIDE)), None);
        assert_eq!(nat.map(Protocol::Udp, 4_000, at("10.0.0.2:1")), None);
        assert!(comes_in(&mut nat, 1_000_000, OUTSIDE, external));
        assert_eq!(out(&mut nat, 1_000_001, INSIDE, "8.8.8.8:8"), Some(external));
        assert!(comes_in(&mut nat, 2_000_000, "7.7.7.7:7", external));
        nat.unmap(Protocol::Udp, at(INSIDE));
        assert!(!comes_in(&mut nat, 2_000_001, "7.7.7.7:7", external));
        assert_eq!((nat.flows(), nat.mappings(), nat.queue.len()), (0, 0, 0));
        assert!(nat.insiders.is_empty());
    }

    #[test]
    fn a_mapping_that_is_there_is_kept_when_it_is_made_by_hand() {
        let mut nat = nat(NatConfig::port_restricted());
        let external = out(&mut nat, 0, INSIDE, OUTSIDE).unwrap();
        assert_eq!(nat.map(Protocol::Udp, 6_881, at(INSIDE)), Some(external));
        assert!(comes_in(&mut nat, 9_999, "7.7.7.7:7", external));
        assert_eq!((nat.mappings(), nat.flows()), (1, 0));
        assert_eq!(nat.map(Protocol::Tcp, 0, at(INSIDE)), None);
    }

    #[test]
    fn a_flow_keeps_its_mapping_when_another_is_made_by_hand() {
        let mut nat = nat(NatConfig::full_cone());
        let to = at(OUTSIDE);
        let first = nat.outbound(secs(0), Protocol::Tcp, at(INSIDE), to).unwrap();
        assert!(nat.inbound(secs(0), Protocol::Tcp, to, first).is_some());
        let by_hand = nat.map(Protocol::Tcp, 4_000, at(INSIDE)).unwrap();
        assert_eq!(nat.outbound(secs(1), Protocol::Tcp, at(INSIDE), to), Some(first));
        let new = nat.outbound(secs(1), Protocol::Tcp, at(INSIDE), at("8.8.8.8:8"));
        assert_eq!(new, Some(by_hand));
        // What comes over the other is let in, and changes nothing.
        assert!(nat.inbound(secs(2), Protocol::Tcp, to, by_hand).is_some());
        assert_eq!(nat.outbound(secs(3), Protocol::Tcp, at(INSIDE), to), Some(first));
    }

    #[test]
    fn customers_of_a_carrier_have_blocks_of_ports_on_one_address() {
        let external = [Ipv4Addr::new(5, 5, 5, 5), Ipv4Addr::new(5, 5, 5, 6)];
        let config =
            NatConfig { ports: PortAssignment::Blocks { ports: 100 }, ..NatConfig::cgnat() };
        let mut nat = Nat::new(config, &external, &seed_from_u64(1));
        let mut seen = BTreeSet::new();
        for host in 0..10 {
            let mut mine = BTreeSet::new();
            let mut send = |port: u16| {
                let inside = SocketAddr::from(([100, 64, 0, host], port));
                nat.outbound(secs(0), Protocol::Udp, inside, at(OUTSIDE))
            };
            // RFC 6888, REQ-4: no more than its block, and others do not suffer.
            for port in 0..100 {
                mine.insert(send(2_000 + port).unwrap());
            }
            assert_eq!(send(3_000), None);
            let (first, last) = (*mine.first().unwrap(), *mine.last().unwrap());
            assert_eq!((mine.len(), first.ip()), (100, last.ip()));
            assert_eq!(last.port() - first.port(), 99);
            seen.append(&mut mine);
        }
        assert_eq!((seen.len(), nat.counters().portless), (1_000, 10));
        // A port by hand must lie in the block.
        let host = at("100.64.0.77:9");
        assert_eq!(nat.map(Protocol::Tcp, 1_024, host), None);
        let first = 1_024 + 5 * 100;
        assert_eq!(nat.map(Protocol::Tcp, first, host).unwrap().port(), first);
    }

    #[test]
    fn blocks_come_to_an_end() {
        let config =
            NatConfig { ports: PortAssignment::Blocks { ports: 30_000 }, ..NatConfig::cgnat() };
        let mut nat = nat(config);
        let sent = [1, 2, 3].map(|host| {
            let inside = SocketAddr::from(([100, 64, 0, host], 7));
            nat.outbound(secs(0), Protocol::Udp, inside, at(OUTSIDE)).is_some()
        });
        assert_eq!(sent, [true, true, false]);
        assert_eq!(nat.flows(), 2);
    }

    #[test]
    fn a_restart_forgets_all_and_a_new_address_as_well() {
        let mut nat = nat(NatConfig::symmetric());
        let external = out(&mut nat, 0, INSIDE, OUTSIDE).unwrap();
        nat.map(Protocol::Tcp, 99, at(INSIDE)).unwrap();
        nat.forget_all();
        assert!(!comes_in(&mut nat, 1, OUTSIDE, external));
        let other = out(&mut nat, 1, INSIDE, OUTSIDE).unwrap();
        assert_ne!(other, external);
        nat.rebind(&[Ipv4Addr::new(6, 6, 6, 6)]);
        assert!(!comes_in(&mut nat, 2, OUTSIDE, other));
        assert_eq!(out(&mut nat, 2, INSIDE, OUTSIDE).unwrap().ip(), Ipv4Addr::new(6, 6, 6, 6));
        nat.rebind(&[]);
        assert_eq!(out(&mut nat, 2, INSIDE, OUTSIDE), None);
        assert_eq!(nat.map(Protocol::Tcp, 99, at(INSIDE)), None);
        assert_eq!(out(&mut nat, 2, "[2001::1]:7", OUTSIDE), None);
    }
}
