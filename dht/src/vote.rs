//! Which address the world sees us at, by the vote of those who answered us (BEP 42,
//! "Bootstrapping").

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use wire::scope::{AddrScope, is_unicast};

use crate::config::Config;
use crate::event::Event;
use crate::keyed::networks;
use crate::node::Node;
use crate::{SocketId, security};

/// What the latest voters said, one for each /24 or /48: who has a line of IPv6 has many /64.
#[derive(Clone, Default)]
struct Ballot {
    votes: VecDeque<(u64, IpAddr)>,
    decided: Option<IpAddr>,
}

/// The votes for the address of each socket. Only Global nodes vote, and only for Global addresses:
/// any id fits a Local one, so there is nothing to learn.
#[derive(Clone)]
pub(crate) struct Votes {
    /// None before the first vote.
    ballots: Vec<Ballot>,
}

impl Votes {
    pub(crate) const fn new() -> Votes {
        Votes { ballots: Vec::new() }
    }

    /// The address of a socket that was decided on.
    pub(crate) fn decided(&self, socket: SocketId) -> Option<IpAddr> {
        self.ballots.get(usize::from(socket.0))?.decided
    }

    /// The node at `from` sees what we send by `socket` come from `ip`. Returns that if it is now
    /// decided, and was not before.
    fn cast(
        &mut self,
        config: &Config,
        socket: SocketId,
        from: IpAddr,
        ip: IpAddr,
    ) -> Option<IpAddr> {
        let global = |ip| AddrScope::of(ip) == AddrScope::Global && is_unicast((ip, 1).into());
        if !global(from) || !global(ip) || from.is_ipv4() != ip.is_ipv4() {
            return None;
        }
        let place = usize::from(socket.0);
        if self.ballots.len() <= place {
            self.ballots.resize_with(place + 1, Ballot::default);
        }
        let ballot = &mut self.ballots[place];
        let network = networks(from)[if from.is_ipv4() { 1 } else { 2 }];
        ballot.votes.retain(|(voter, _)| *voter != network);
        ballot.votes.push_back((network, ip));
        if ballot.votes.len() > config.votes_max.max(config.votes_min) {
            ballot.votes.pop_front();
        }
        let in_favour = ballot.votes.iter().filter(|(_, other)| *other == ip).count();
        // Two of three, as libtorrent has it: an address is not given up for a short lead.
        let won = ballot.votes.len() >= config.votes_min.max(1)
            && 3 * in_favour >= 2 * ballot.votes.len();
        (won && ballot.decided.replace(ip) != Some(ip)).then_some(ip)
    }
}

impl Node {
    /// A node at `from` that answered what came by `socket` says that it saw that come from `seen`.
    pub(crate) fn on_vote(&mut self, socket: SocketId, from: SocketAddr, seen: SocketAddr) {
        if self.own.external_ip_of(socket).is_some() {
            return;
        }
        self.stats.votes += 1;
        let Some(ip) = self.votes.cast(&self.config, socket, from.ip(), seen.ip()) else { return };
        self.moved();
        self.events.push_back(Event::ExternalAddress { ip });
        if !security::fits(&self.own.id(socket), ip) {
            let id = self.own.make_id(socket, ip, &mut self.rng);
            self.set_id(socket, id);
            self.bootstrap.schedule(self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIA: SocketId = SocketId(0);

    impl Votes {
        fn count(&mut self, socket: SocketId, from: IpAddr, ip: IpAddr) -> Option<IpAddr> {
            self.cast(&Config::new(vec![]), socket, from, ip)
        }
    }

    fn votes() -> Votes {
        Votes::new()
    }

    fn voter(n: u8) -> IpAddr {
        [80, n, 1, 1].into()
    }

    const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(60, 1, 1, 1));
    const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(61, 1, 1, 1));

    #[test]
    fn twenty_five_networks_decide_and_one_of_them_has_one_vote() {
        let mut votes = votes();
        for n in 0..24 {
            assert_eq!(votes.count(VIA, voter(n), OURS), None);
        }
        for host in 0..200 {
            assert_eq!(
                votes.count(VIA, [80, 3, 1, host].into(), OURS),
                None,
                "of a network that voted"
            );
        }
        assert_eq!(votes.count(VIA, [80, 3, 2, 1].into(), OURS), Some(OURS));
        assert_eq!(votes.count(VIA, voter(30), OURS), None, "it was decided before");
        assert_eq!(votes.decided(VIA), Some(OURS));
    }

    #[test]
    fn more_than_a_third_of_liars_prevents_a_decision_and_fewer_do_not() {
        for (liars, decided) in [(21, false), (10, true)] {
            let mut votes = votes();
            for n in 0..60 {
                votes.count(VIA, voter(n), if n < liars { NEW } else { OURS });
            }
            assert_eq!(votes.decided(VIA), decided.then_some(OURS), "{liars}");
        }
    }

    #[test]
    fn a_new_address_wins_when_most_networks_see_it() {
        let mut votes = votes();
        for n in 0..64 {
            votes.count(VIA, voter(n), OURS);
        }
        let turn = (0..64).find(|n| votes.count(VIA, voter(*n), NEW).is_some());
        assert_eq!(turn, Some(42), "43 of 64 are two thirds");
        assert_eq!(votes.decided(VIA), Some(NEW));
        // However many vote, no more is kept.
        for n in 0..=255 {
            votes.count(VIA, [90, 1, n, 1].into(), NEW);
        }
        assert_eq!(votes.ballots[0].votes.len(), 64);
    }

    #[test]
    fn only_global_addresses_of_the_voters_family_count() {
        let mut votes = votes();
        for n in 0..64u8 {
            for (from, ip) in [
                (voter(n), "10.0.0.1"),
                (voter(n), "127.0.0.1"),
                (voter(n), "0.0.0.0"),
                (voter(n), "2001:db8::1"),
                ([10, n, 1, 1].into(), "60.1.1.1"),
            ] {
                assert_eq!(votes.count(VIA, from, ip.parse().unwrap()), None);
            }
        }
        assert!(votes.ballots.is_empty());
    }

    #[test]
    fn of_v6_each_48_votes() {
        let mut votes = votes();
        let ours: IpAddr = "2001:db8:7::1".parse().unwrap();
        let from = |net: u16, host| IpAddr::from([0x2001, 0xdb9, net, host, 0, 0, 0, host]);
        for host in 0..100 {
            votes.count(VIA, from(0, host), ours);
        }
        assert_eq!(votes.decided(VIA), None);
        for net in 1..25 {
            votes.count(VIA, from(net, 1), ours);
        }
        assert_eq!(votes.decided(VIA), Some(ours));
    }
}
