//! The NAT against a model that keeps lists and looks through all of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use sim::{Dependence, Nat, NatConfig, Pooling, PortAssignment, Protocol, WhenFull};
use wire::rng::seed_from_u64;
use wire::time::Time;

const EXTERNAL: [Ipv4Addr; 2] = [Ipv4Addr::new(5, 5, 5, 5), Ipv4Addr::new(5, 5, 5, 6)];

#[derive(Clone, Debug)]
struct Flow {
    protocol: Protocol,
    inside: SocketAddr,
    external: SocketAddr,
    to: SocketAddr,
    expires: Time,
    sent: bool,
    received: bool,
}

struct Model {
    config: NatConfig,
    flows: Vec<Flow>,
    /// Protocol, inside, external.
    by_hand: Vec<(Protocol, SocketAddr, SocketAddr)>,
    /// Protocol, inside, the first outside address, external.
    dynamic: Vec<(Protocol, SocketAddr, SocketAddr, SocketAddr)>,
}

impl Model {
    fn expire(&mut self, now: Time) {
        self.flows.retain(|flow| flow.expires > now);
        self.forget_mappings();
    }

    fn forget_mappings(&mut self) {
        let flows = &self.flows;
        self.dynamic.retain(|(protocol, _, _, external)| {
            flows.iter().any(|flow| (flow.protocol, flow.external) == (*protocol, *external))
        });
    }

    fn hand_of(&self, protocol: Protocol, inside: SocketAddr) -> Option<SocketAddr> {
        let found = self.by_hand.iter().find(|(p, i, _)| (*p, *i) == (protocol, inside));
        found.map(|(_, _, external)| *external)
    }

    fn is_by_hand(&self, protocol: Protocol, external: SocketAddr) -> Option<SocketAddr> {
        let found = self.by_hand.iter().find(|(p, _, e)| (*p, *e) == (protocol, external));
        found.map(|(_, inside, _)| *inside)
    }

    fn mapping(
        &self,
        protocol: Protocol,
        inside: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let same = |first: SocketAddr| match self.config.mapping {
            Dependence::EndpointIndependent => true,
            Dependence::AddressDependent => first.ip() == to.ip(),
            Dependence::AddressAndPortDependent => first == to,
        };
        let mut all = self.dynamic.iter();
        let found = all.find(|(p, i, first, _)| (*p, *i) == (protocol, inside) && same(*first));
        self.hand_of(protocol, inside).or(found.map(|(_, _, _, external)| *external))
    }

    fn flow_of(&self, protocol: Protocol, inside: SocketAddr, to: SocketAddr) -> Option<&Flow> {
        let key = (protocol, inside, to);
        self.flows.iter().find(|flow| (flow.protocol, flow.inside, flow.to) == key)
    }

    fn owner(&self, protocol: Protocol, external: SocketAddr) -> Option<SocketAddr> {
        let mut all = self.dynamic.iter();
        let found = all.find(|(p, _, _, e)| (*p, *e) == (protocol, external));
        self.is_by_hand(protocol, external).or(found.map(|(_, inside, _, _)| *inside))
    }

    /// External ports of an inside address; of one protocol, or of all.
    fn ports(&self, inside: SocketAddr, protocol: Option<Protocol>) -> usize {
        let dynamic = self.dynamic.iter().map(|(p, i, _, _)| (p, i));
        let all = dynamic.chain(self.by_hand.iter().map(|(p, i, _)| (p, i)));
        all.filter(|(p, i)| i.ip() == inside.ip() && protocol.is_none_or(|q| q == **p)).count()
    }

    fn make_room(&mut self) -> bool {
        if self.flows.len() < self.config.flows_max {
            return true;
        }
        if self.config.when_full == WhenFull::Refuse {
            return false;
        }
        let order = |flow: &Flow| (flow.expires, flow.protocol, flow.inside, flow.to);
        let oldest = (0..self.flows.len()).min_by_key(|&at| order(&self.flows[at]));
        let evicted = oldest.map(|at| self.flows.remove(at)).is_some();
        self.forget_mappings();
        evicted
    }

    fn touch(&mut self, now: Time, flow: &Flow, change: impl Fn(&mut Flow), extends: bool) {
        let key = (flow.protocol, flow.inside, flow.to);
        let same = |flow: &&mut Flow| (flow.protocol, flow.inside, flow.to) == key;
        let Some(flow) = self.flows.iter_mut().find(same) else { return };
        change(flow);
        let secs = match (flow.protocol, flow.sent && flow.received) {
            (Protocol::Udp, false) => self.config.udp_unanswered_secs,
            (Protocol::Udp, true) => self.config.udp_secs,
            (Protocol::Tcp, false) => self.config.tcp_transitory_secs,
            (Protocol::Tcp, true) => self.config.tcp_established_secs,
        };
        if extends {
            flow.expires = now + Duration::from_secs(secs.into());
        }
    }

    /// What the NAT gave for a packet out is what it should.
    fn outbound(&mut self, now: Time, flow: Flow, given: Option<SocketAddr>) {
        self.expire(now);
        let Flow { protocol, inside, to, .. } = flow;
        if !self.config.hairpinning && EXTERNAL.iter().any(|ip| to.ip() == *ip) {
            return assert_eq!(given, None);
        }
        if let Some(flow) = self.flow_of(protocol, inside, to) {
            assert_eq!(given, Some(flow.external), "a flow keeps its mapping");
        } else {
            if !self.make_room() {
                return assert_eq!(given, None, "the table is full");
            }
            let external = self.mapping(protocol, inside, to);
            let Some(is) = given else { return self.has_no_port(protocol, inside, external) };
            match external {
                Some(external) => assert_eq!(is, external, "the mapping is kept"),
                None => {
                    self.may_have(protocol, inside, is);
                    self.dynamic.push((protocol, inside, to, is));
                }
            }
            self.flows.push(Flow { external: is, ..flow.clone() });
        }
        self.touch(now, &flow, |flow| flow.sent = true, true);
    }

    fn has_no_port(&self, protocol: Protocol, inside: SocketAddr, mapping: Option<SocketAddr>) {
        assert_eq!(mapping, None, "there is a mapping");
        if self.ports(inside, None) < self.config.ports_per_host_max as usize {
            let PortAssignment::Blocks { ports } = self.config.ports else {
                panic!("ports are left")
            };
            assert_eq!(self.ports(inside, Some(protocol)), usize::from(ports));
        }
    }

    fn may_have(&self, protocol: Protocol, inside: SocketAddr, external: SocketAddr) {
        assert_eq!(self.owner(protocol, external), None, "{external} has an owner");
        assert!(EXTERNAL.iter().any(|ip| external.ip() == *ip));
        assert!(self.ports(inside, None) < self.config.ports_per_host_max as usize);
        match self.config.ports {
            PortAssignment::Preserving => assert_eq!(external.port() % 2, inside.port() % 2),
            PortAssignment::Random => {}
            PortAssignment::Blocks { .. } => return assert!(external.port() >= 1_024),
        }
        assert_eq!(external.port() < 1_024, inside.port() < 1_024);
    }

    fn inbound(
        &mut self,
        now: Time,
        protocol: Protocol,
        from: SocketAddr,
        external: SocketAddr,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let inside = self.owner(protocol, external)?;
        let part = |flow: &Flow| match self.config.filtering {
            Dependence::EndpointIndependent => true,
            Dependence::AddressDependent => flow.to.ip() == from.ip(),
            Dependence::AddressAndPortDependent => flow.to == from,
        };
        let here = |flow: &Flow| (flow.protocol, flow.external) == (protocol, external);
        let let_in = self.flows.iter().any(|flow| here(flow) && part(flow));
        if !let_in && self.is_by_hand(protocol, external).is_none() {
            return None;
        }
        let extends = self.config.inbound_refresh || protocol == Protocol::Tcp;
        let (sent, received, expires) = (false, false, now);
        let flow = Flow { protocol, inside, external, to: from, expires, sent, received };
        if extends && self.flow_of(protocol, inside, from).is_none() {
            if !self.make_room() {
                return None;
            }
            self.owner(protocol, external)?;
            self.flows.push(flow.clone());
        }
        if self.flow_of(protocol, inside, from).is_some_and(here) {
            self.touch(now, &flow, |flow| flow.received = true, extends);
        }
        Some(inside)
    }

    fn map(
        &mut self,
        protocol: Protocol,
        inside: SocketAddr,
        port: u16,
        given: Option<SocketAddr>,
    ) {
        if let Some(old) = self.hand_of(protocol, inside) {
            return assert_eq!(given, (old.port() == port).then_some(old));
        }
        let Some(external) = given else { return };
        assert_eq!(external.port(), port);
        let owner = self.owner(protocol, external);
        assert!(owner.is_none_or(|owner| owner == inside));
        self.dynamic.retain(|(p, _, _, e)| (*p, *e) != (protocol, external));
        self.by_hand.push((protocol, inside, external));
    }

    fn unmap(&mut self, protocol: Protocol, inside: SocketAddr) {
        let Some(external) = self.hand_of(protocol, inside) else { return };
        self.flows.retain(|flow| (flow.protocol, flow.external) != (protocol, external));
        self.by_hand.retain(|(p, i, _)| (*p, *i) != (protocol, inside));
    }
}

#[derive(Clone, Debug)]
enum Input {
    Out {
        inside: SocketAddr,
        to: SocketAddr,
    },
    /// To one of the external addresses that were given, or of flows.
    In {
        from: SocketAddr,
        which: usize,
    },
    Closed {
        inside: SocketAddr,
        to: SocketAddr,
    },
    Map {
        inside: SocketAddr,
        port: u16,
    },
    Unmap {
        inside: SocketAddr,
    },
    Forget,
}

fn inside() -> impl Strategy<Value = SocketAddr> {
    let port = prop_oneof![Just(7u16), Just(6_881), Just(6_882)];
    (0..3u8, port).prop_map(|(host, port)| SocketAddr::from(([10, 0, 0, host], port)))
}

fn outside() -> impl Strategy<Value = SocketAddr> {
    let turned = (5..7u8, 6_880..6_883u16).prop_map(|(ip, port)| ([5, 5, 5, ip], port).into());
    let others = (0..3u8, 1..3u16).prop_map(|(ip, port)| ([8, 8, 8, ip], port).into());
    prop_oneof![1 => turned, 9 => others]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        20 => (inside(), outside()).prop_map(|(inside, to)| Input::Out { inside, to }),
        20 => (outside(), any::<usize>()).prop_map(|(from, which)| Input::In { from, which }),
        3 => (inside(), outside()).prop_map(|(inside, to)| Input::Closed { inside, to }),
        2 => (inside(), 6_880..6_883u16).prop_map(|(inside, port)| Input::Map { inside, port }),
        2 => inside().prop_map(|inside| Input::Unmap { inside }),
        1 => Just(Input::Forget),
    ]
}

fn dependence() -> impl Strategy<Value = Dependence> {
    prop_oneof![
        Just(Dependence::EndpointIndependent),
        Just(Dependence::AddressDependent),
        Just(Dependence::AddressAndPortDependent),
    ]
}

fn config() -> impl Strategy<Value = NatConfig> {
    let ports = prop_oneof![
        Just(PortAssignment::Preserving),
        Just(PortAssignment::Random),
        (1..5u16).prop_map(|ports| PortAssignment::Blocks { ports }),
    ];
    let when_full = prop_oneof![Just(WhenFull::Refuse), Just(WhenFull::EvictOldest)];
    let pooling = prop_oneof![Just(Pooling::Paired), Just(Pooling::Arbitrary)];
    let laws = (dependence(), dependence(), ports, when_full, pooling);
    let sizes = (0..12usize, 1..6u32, any::<bool>(), any::<bool>());
    (laws, sizes).prop_map(|((mapping, filtering, ports, when_full, pooling), sizes)| {
        let (flows_max, ports_per_host_max, inbound_refresh, hairpinning) = sizes;
        NatConfig {
            mapping,
            filtering,
            udp_secs: 12,
            udp_unanswered_secs: 6,
            tcp_transitory_secs: 8,
            tcp_established_secs: 40,
            inbound_refresh,
            flows_max,
            when_full,
            ports,
            ports_per_host_max,
            pooling,
            hairpinning,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_nat_does_what_the_model_does(
        config in config(),
        inputs in prop::collection::vec((0..4u64, any::<bool>(), input()), 0..120),
    ) {
        let mut nat = Nat::new(config, &EXTERNAL, &seed_from_u64(1));
        let mut model = Model { config, flows: Vec::new(), by_hand: Vec::new(), dynamic: Vec::new() };
        let mut given: Vec<SocketAddr> = vec!["5.5.5.5:6881".parse().unwrap()];
        let mut now = Time::ZERO;
        for (wait_secs, tcp, input) in inputs {
            now += Duration::from_secs(wait_secs);
            let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
            match input {
                Input::Out { inside, to } => {
                    let external = nat.outbound(now, protocol, inside, to);
                    given.extend(external);
                    let (sent, received, expires) = (false, false, now);
                    let external_yet = to;
                    let flow = Flow { protocol, inside, external: external_yet, to, expires, sent, received };
                    model.outbound(now, flow, external);
                }
                Input::In { from, which } => {
                    let external = given[which % given.len()];
                    let is = nat.inbound(now, protocol, from, external);
                    prop_assert_eq!(is, model.inbound(now, protocol, from, external));
                }
                Input::Closed { inside, to } => {
                    nat.tcp_closed(now, inside, to);
                    model.expire(now);
                    if let Some(flow) = model.flow_of(Protocol::Tcp, inside, to).cloned() {
                        let close = |flow: &mut Flow| (flow.sent, flow.received) = (false, false);
                        model.touch(now, &flow, close, true);
                    }
                }
                Input::Map { inside, port } => {
                    // Making it looks at no clock, so both must have forgotten the same before.
                    nat.tcp_closed(now, inside, inside);
                    model.expire(now);
                    let external = nat.map(protocol, port, inside);
                    given.extend(external);
                    model.map(protocol, inside, port, external);
                }
                Input::Unmap { inside } => {
                    nat.unmap(protocol, inside);
                    model.unmap(protocol, inside);
                }
                Input::Forget => {
                    nat.forget_all();
                    model.flows.clear();
                    model.by_hand.clear();
                    model.dynamic.clear();
                }
            }
            prop_assert_eq!(nat.flows(), model.flows.len());
            prop_assert!(nat.flows() <= config.flows_max);
            prop_assert_eq!(nat.mappings(), model.dynamic.len() + model.by_hand.len());
        }
    }
}
