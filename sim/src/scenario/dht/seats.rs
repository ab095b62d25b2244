//! Where the nodes of an overlay stand, and under which addresses others see them.

use std::net::{IpAddr, SocketAddr};

use crate::scenario::parts::{Group, NatKind};
use crate::{AddressPlan, DhtHost, HostId, World};

/// Where one stands.
#[derive(Clone, Copy, Debug)]
struct Seat {
    /// Its home, and which of the hosts there it is; `None` in the open.
    inside: Option<(u32, u32)>,
}

/// A translator.
#[derive(Clone, Copy, Debug)]
struct Home {
    first: HostId,
    addresses: u32,
    /// How many addresses homes before this one have besides their first.
    more_before: u32,
}

/// Where all stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats {
    seats: Vec<Seat>,
    homes: Vec<Home>,
    more: u32,
}

/// Who announced something, as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    pub(super) ips: Vec<IpAddr>,
    /// `None` for any: that of a translator.
    pub(super) port: Option<u16>,
    pub(super) is_inside: bool,
}

impl Owner {
    /// Whether one of these is it.
    pub(super) fn is_among(&self, peers: &[SocketAddr]) -> bool {
        peers.iter().any(|peer| {
            self.ips.contains(&peer.ip()) && self.port.is_none_or(|port| port == peer.port())
        })
    }
}

impl Seats {
    /// The next host stands in the open.
    pub(super) fn open(&mut self) {
        self.seats.push(Seat { inside: None });
    }

    /// The next hosts stand behind one translator.
    pub(super) fn home(&mut self, group: &Group) {
        let first = HostId(self.seats.len() as u32);
        let home = self.homes.len() as u32;
        self.homes.push(Home { first, addresses: group.addresses, more_before: self.more });
        self.more += group.addresses.saturating_sub(1);
        self.seats.extend((0..group.hosts).map(|k| Seat { inside: Some((home, k)) }));
    }

    /// Whether a host stands behind a translator.
    pub(super) fn is_inside(&self, host: HostId) -> bool {
        self.seats.get(host.0 as usize).is_some_and(|seat| seat.inside.is_some())
    }

    /// Which of the hosts behind its translator a host is.
    pub(super) fn place_inside(&self, host: HostId) -> Option<u32> {
        Some(self.seats.get(host.0 as usize)?.inside?.1)
    }

    /// The first host behind each translator.
    pub(super) fn homes(&self) -> Vec<HostId> {
        self.homes.iter().map(|home| home.first).collect()
    }

    /// The addresses under which others see a host. A world gives a translator that of its first host,
    /// and others from the end of the range on.
    pub(super) fn ips(&self, plan: &AddressPlan, host: HostId) -> Vec<IpAddr> {
        let inside = self.seats.get(host.0 as usize).and_then(|seat| seat.inside);
        let Some((home, _)) = inside else { return vec![plan.addr(host).ip()] };
        let home = &self.homes[home as usize];
        let more = (home.more_before..).take(home.addresses.saturating_sub(1) as usize);
        let more = more.map(|n| HostId(AddressPlan::HOSTS_MAX - 1 - n));
        std::iter::once(home.first).chain(more).map(|host| plan.addr(host).ip()).collect()
    }

    /// A host as others see it that announces `port`, or if it is behind a translator, any.
    pub(super) fn owner(&self, world: &World<DhtHost>, host: HostId, port: u16) -> Owner {
        let is_inside = self.is_inside(host);
        let ips = self.ips(world.addresses(), host);
        Owner { ips, port: (!is_inside).then_some(port), is_inside }
    }
}

/// Whether strangers get in, once a host behind it has sent anything.
pub(super) fn lets_in(nat: Option<NatKind>) -> bool {
    nat.is_none_or(|nat| nat == NatKind::FullCone)
}
