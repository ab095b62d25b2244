//! Which addresses may be asked, and whether they lie on the global or on a local network.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where an address lies. Local ones are exempt from refusal by id and prefix rules, and are never
/// accepted from a Global source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddrScope {
    /// Reachable from anywhere.
    Global,
    /// Loopback, private or link-local (BEP 42, "local networks").
    Local,
}

impl AddrScope {
    /// The scope of `ip`.
    pub fn of(ip: IpAddr) -> AddrScope {
        let local = match ip {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        };
        if local { AddrScope::Local } else { AddrScope::Global }
    }

    /// Whether an address of this scope may be taken from a source of scope `source`.
    pub fn acceptable_from(self, source: AddrScope) -> bool {
        self == AddrScope::Global || source == AddrScope::Local
    }
}

/// Whom an address counts against: itself, but of a Global v6 one its /64, in which one host has as
/// many addresses as it likes.
pub fn owner(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if AddrScope::of(ip) == AddrScope::Global => {
            Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()
        }
        ip => ip,
    }
}

/// Whether a packet can be sent to `addr` at all: a unicast address with a port.
pub fn is_unicast(addr: SocketAddr) -> bool {
    addr.port() != 0
        && match addr.ip() {
            IpAddr::V4(ip) => {
                let first = ip.octets()[0];
                first != 0 && first < 224
            }
            IpAddr::V6(ip) => {
                !ip.is_unspecified() && !ip.is_multicast() && ip.to_ipv4_mapped().is_none()
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_known_ranges() {
        for (text, scope) in [
            ("127.0.0.1", AddrScope::Local),
            ("10.1.2.3", AddrScope::Local),
            ("172.31.0.1", AddrScope::Local),
            ("172.32.0.1", AddrScope::Global),
            ("192.168.0.1", AddrScope::Local),
            ("169.254.0.1", AddrScope::Local),
            ("8.8.8.8", AddrScope::Global),
            ("::1", AddrScope::Local),
            ("fe80::1", AddrScope::Local),
            ("fd00::1", AddrScope::Local),
            ("2001:db8::1", AddrScope::Global),
        ] {
            assert_eq!(AddrScope::of(text.parse().unwrap()), scope, "{text}");
        }
        assert!(!AddrScope::Local.acceptable_from(AddrScope::Global));
        assert!(AddrScope::Global.acceptable_from(AddrScope::Local));
    }

    #[test]
    fn a_global_v6_network_is_one_owner() {
        for (ip, of) in [
            ("1.2.3.4", "1.2.3.4"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("fd00::3:4:5:6", "fd00::3:4:5:6"),
            ("::1", "::1"),
        ] {
            assert_eq!(owner(ip.parse().unwrap()), of.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn what_cannot_be_sent_to() {
        for text in ["0.0.0.0:1", "1.2.3.4:0", "224.0.0.1:1", "255.255.255.255:1", "[::]:1"] {
            assert!(!is_unicast(text.parse().unwrap()), "{text}");
        }
        assert!(!is_unicast("[::ffff:1.2.3.4]:5".parse().unwrap()));
        assert!(is_unicast("1.2.3.4:5".parse().unwrap()));
    }
}
