//! How a NAT behaves, in the words of RFC 4787 and RFC 5382.

/// What a behaviour depends on besides the inside address and port (RFC 4787, sections 4.1 and 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dependence {
    /// Nothing.
    EndpointIndependent,
    /// The outside address.
    AddressDependent,
    /// The outside address and port.
    AddressAndPortDependent,
}

/// Which external port a new mapping gets (RFC 4787, section 4.2). No port serves two mappings (REQ-3),
/// and ports below 1,024 are for inside ports below 1,024 (REQ-3a). All try 128 ports (Linux, from
/// memory) from a random one on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortAssignment {
    /// The inside port if it is free, else another of the same parity (REQ-4).
    Preserving,
    /// Any.
    Random,
    /// One of the block that belongs to the inside host until all is forgotten, like RFC 7422: hosts
    /// get blocks in the order in which they come. Blocks are cut from ports 1,024 on.
    Blocks {
        /// Ports of a block.
        ports: u16,
    },
}

/// Which external address a new mapping gets where there are several (RFC 4787, section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pooling {
    /// An inside host has always the same (REQ-2; RFC 6888, REQ-2).
    Paired,
    /// Any; a block of ports pairs all the same.
    Arbitrary,
}

/// What happens to a new flow while the table is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// Its packet is dropped.
    Refuse,
    /// The flow that would expire first goes: of those with the same time to live, the one that was
    /// silent longest.
    EvictOldest,
}

/// How a NAT behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatConfig {
    /// What outside addresses share a mapping. RFC 4787, REQ-1, and RFC 5382, REQ-1: endpoint-independent.
    pub mapping: Dependence,
    /// From which outside addresses a mapping lets in. RFC 4787, REQ-8: endpoint-independent, or
    /// address-dependent where security is worth more.
    pub filtering: Dependence,
    /// Seconds a UDP flow lives on which both sides have sent. RFC 4787, REQ-5: at least 120, best 300
    /// or more. Linux has 120.
    pub udp_secs: u32,
    /// Seconds a UDP flow lives on which only one side has sent. RFC 4787 knows no difference; Linux
    /// has 30, and so has the shortest of 34 home gateways (Hätönen and others 2010).
    pub udp_unanswered_secs: u32,
    /// Seconds without a packet that a TCP flow lives before the answer and after its end. RFC 5382,
    /// REQ-5: at least 240.
    pub tcp_transitory_secs: u32,
    /// Seconds without a packet that an open TCP flow lives. RFC 5382, REQ-5: at least 7,440, 2 hours
    /// and 4 minutes.
    pub tcp_established_secs: u32,
    /// UDP that is let in makes the life of its flow longer, or begins one. What is sent always does
    /// (RFC 4787, REQ-6), and both directions of TCP do.
    pub inbound_refresh: bool,
    /// Flows that are remembered: a flow is a protocol, an inside address and port, and an outside
    /// address and port, as Linux' connection tracking counts.
    pub flows_max: usize,
    /// What happens beyond that.
    pub when_full: WhenFull,
    /// Which ports are given.
    pub ports: PortAssignment,
    /// External ports that one inside address may have at a time (RFC 6888, REQ-4).
    pub ports_per_host_max: u32,
    /// Which external addresses are given.
    pub pooling: Pooling,
    /// Inside hosts reach each other over external addresses (RFC 4787, REQ-9).
    pub hairpinning: bool,
}

impl NatConfig {
    /// A NAT that does all that RFC 4787 and RFC 5382 recommend: whoever knows a mapping gets in
    /// ("full cone", RFC 3489).
    pub fn full_cone() -> NatConfig {
        NatConfig {
            mapping: Dependence::EndpointIndependent,
            filtering: Dependence::EndpointIndependent,
            udp_secs: 300,
            udp_unanswered_secs: 300,
            tcp_transitory_secs: 240,
            tcp_established_secs: 7_440,
            inbound_refresh: false,
            flows_max: 65_536,
            when_full: WhenFull::Refuse,
            ports: PortAssignment::Preserving,
            ports_per_host_max: u32::MAX,
            pooling: Pooling::Paired,
            hairpinning: true,
        }
    }

    /// Only addresses that were sent to get in ("restricted cone").
    pub fn restricted() -> NatConfig {
        NatConfig { filtering: Dependence::AddressDependent, ..NatConfig::full_cone() }
    }

    /// Only addresses and ports that were sent to get in ("port restricted cone").
    pub fn port_restricted() -> NatConfig {
        NatConfig { filtering: Dependence::AddressAndPortDependent, ..NatConfig::full_cone() }
    }

    /// Each outside address and port sees another external port, and only it gets in ("symmetric").
    pub fn symmetric() -> NatConfig {
        NatConfig {
            mapping: Dependence::AddressAndPortDependent,
            ports: PortAssignment::Random,
            ..NatConfig::port_restricted()
        }
    }

    /// A router at home with Linux: 8,192 flows, short lives, no way round by the outside. 82 % of
    /// NATs let holes be punched in 2005 (Ford, Srisuresh and Kegel), so the mapping is
    /// endpoint-independent.
    pub fn home_router() -> NatConfig {
        NatConfig {
            udp_secs: 120,
            udp_unanswered_secs: 30,
            inbound_refresh: true,
            flows_max: 8_192,
            when_full: WhenFull::EvictOldest,
            hairpinning: false,
            ..NatConfig::port_restricted()
        }
    }

    /// A NAT of a provider for many customers: a block of 1,024 ports each. Filtering and times are
    /// chosen after what is remembered of Richter and others (2016), unchecked: between 10 s and
    /// 200 s, blocks from 512 to 16,384 ports.
    pub fn cgnat() -> NatConfig {
        NatConfig {
            udp_secs: 60,
            udp_unanswered_secs: 60,
            flows_max: 1_000_000,
            ports: PortAssignment::Blocks { ports: 1_024 },
            ports_per_host_max: 1_024,
            ..NatConfig::port_restricted()
        }
    }
}
