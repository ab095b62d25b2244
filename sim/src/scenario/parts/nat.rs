//! Which hosts of a scenario stand behind address translators.

use wire::rng::Rng;

use crate::NatConfig;
use crate::scenario::options::{Place, Problem, options};

options! {
    /// Hosts behind address translators (RFC 4787). Weights say how often each kind is, of the hosts
    /// that are behind any.
    pub struct NatOptions {
        /// The share of the hosts that are behind one.
        share: f64 = 0.0, in 0.0..=0.95;
        /// Weight of routers at home: endpoint-independent mapping, port-restricted, 8,192 flows, 30 s
        /// for a flow without an answer.
        home_router: f64 = 1.0, in 0..=1_000;
        /// Weight of full cones: whoever knows a mapping gets in.
        full_cone: f64 = 0.0, in 0..=1_000;
        /// Weight of restricted cones: only addresses that were sent to get in.
        restricted: f64 = 0.0, in 0..=1_000;
        /// Weight of port-restricted cones.
        port_restricted: f64 = 0.0, in 0..=1_000;
        /// Weight of symmetric ones: each outside address and port sees another port.
        symmetric: f64 = 0.0, in 0..=1_000;
        /// Weight of carriers' (CGNAT): blocks of 1,024 ports, 60 s.
        cgnat: f64 = 0.0, in 0..=1_000;
        /// Hosts behind each translator but a carrier's.
        hosts_per_home: u32 = 1, in 1..=250;
        /// Hosts behind each carrier's.
        cgnat_subscribers: u32 = 100, in 1..=10_000;
        /// Addresses of each carrier's; one has blocks for 63 hosts.
        cgnat_addresses: u32 = 2, in 1..=1_000;
    }
}

/// A kind of translator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::scenario) enum NatKind {
    HomeRouter,
    FullCone,
    Restricted,
    PortRestricted,
    Symmetric,
    Cgnat,
}

impl NatKind {
    pub(in crate::scenario) fn config(self) -> NatConfig {
        match self {
            NatKind::HomeRouter => NatConfig::home_router(),
            NatKind::FullCone => NatConfig::full_cone(),
            NatKind::Restricted => NatConfig::restricted(),
            NatKind::PortRestricted => NatConfig::port_restricted(),
            NatKind::Symmetric => NatConfig::symmetric(),
            NatKind::Cgnat => NatConfig::cgnat(),
        }
    }
}

/// Hosts that share an address, or a translator's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::scenario) struct Group {
    /// Behind what; `None` for one host at an address of its own.
    pub(in crate::scenario) nat: Option<NatKind>,
    pub(in crate::scenario) addresses: u32,
    pub(in crate::scenario) hosts: u32,
}

impl Group {
    pub(in crate::scenario) const OPEN: Group = Group { nat: None, addresses: 1, hosts: 1 };
}

impl NatOptions {
    fn weights(&self) -> [(NatKind, f64); 6] {
        [
            (NatKind::HomeRouter, self.home_router),
            (NatKind::FullCone, self.full_cone),
            (NatKind::Restricted, self.restricted),
            (NatKind::PortRestricted, self.port_restricted),
            (NatKind::Symmetric, self.symmetric),
            (NatKind::Cgnat, self.cgnat),
        ]
    }

    pub(in crate::scenario) fn check(&self) -> Result<(), Problem> {
        let sum: f64 = self.weights().iter().map(|(_, weight)| weight).sum();
        if self.share > 0.0 && sum <= 0.0 {
            let what = "nat.share is not 0, so one of nat.home_router, nat.full_cone, nat.restricted, \
                        nat.port_restricted, nat.symmetric and nat.cgnat must be above 0";
            return Err(Problem::new(&Place::Whole, what));
        }
        if self.cgnat > 0.0 && self.cgnat_subscribers > 63 * self.cgnat_addresses {
            let what = format!(
                "nat.cgnat_subscribers is {}, but nat.cgnat_addresses have blocks for {}",
                self.cgnat_subscribers,
                63 * self.cgnat_addresses
            );
            return Err(Problem::new(&Place::Whole, what));
        }
        Ok(())
    }

    /// How so many hosts are grouped, in an order that `rng` names; the first stands in the open. With
    /// nobody behind a translator nothing is drawn.
    pub(in crate::scenario) fn groups(&self, hosts: u32, rng: &mut Rng) -> Vec<Group> {
        let sum: f64 = self.weights().iter().map(|(_, weight)| weight).sum();
        let inside = (self.share * f64::from(hosts)).round().min(f64::from(hosts.max(1) - 1));
        if inside < 1.0 {
            return vec![Group::OPEN; hosts as usize];
        }
        let (mut groups, mut weight, mut placed) = (Vec::new(), 0.0, 0);
        for (kind, of) in self.weights() {
            weight += of;
            let until = (inside * weight / sum).round() as u32;
            let (room, addresses) = match kind {
                NatKind::Cgnat => (self.cgnat_subscribers, self.cgnat_addresses),
                _ => (self.hosts_per_home, 1),
            };
            while placed < until {
                let hosts = room.min(until - placed);
                groups.push(Group { nat: Some(kind), addresses, hosts });
                placed += hosts;
            }
        }
        groups.resize(groups.len() + (hosts - placed) as usize, Group::OPEN);
        rng.shuffle(&mut groups);
        let open = groups.iter().position(|group| group.nat.is_none()).unwrap_or(0);
        groups.swap(0, open);
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rng::seed_from_u64;

    #[test]
    fn kinds_have_their_shares() {
        let nat = NatOptions {
            share: 0.6,
            home_router: 3.0,
            symmetric: 1.0,
            cgnat: 2.0,
            hosts_per_home: 2,
            cgnat_subscribers: 50,
            ..NatOptions::default()
        };
        let groups = nat.groups(1_000, &mut Rng::new(&seed_from_u64(1)));
        let of = |kind| groups.iter().filter(|g| g.nat == kind).map(|g| g.hosts).sum::<u32>();
        assert_eq!(of(None), 400);
        assert_eq!(of(Some(NatKind::HomeRouter)), 300);
        assert_eq!(of(Some(NatKind::Symmetric)), 100);
        assert_eq!(of(Some(NatKind::Cgnat)), 200);
        assert_eq!(groups.iter().filter(|g| g.nat == Some(NatKind::Cgnat)).count(), 4);
        assert_eq!(groups[0], Group::OPEN);
        assert_eq!(nat.check(), Ok(()));
    }

    #[test]
    fn nobody_is_behind_one_by_default_and_nothing_is_drawn() {
        let mut rng = Rng::new(&seed_from_u64(1));
        assert_eq!(NatOptions::default().groups(7, &mut rng), vec![Group::OPEN; 7]);
        assert_eq!(rng.u64(), Rng::new(&seed_from_u64(1)).u64());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let none = NatOptions { share: 0.5, home_router: 0.0, ..NatOptions::default() };
        assert!(none.check().unwrap_err().to_string().contains("must be above 0"));
        let full = NatOptions {
            cgnat: 1.0,
            cgnat_subscribers: 64,
            cgnat_addresses: 1,
            ..NatOptions::default()
        };
        assert!(full.check().unwrap_err().to_string().contains("blocks for 63"));
    }
}
