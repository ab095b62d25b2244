//! Write tokens (BEP 5, "get_peers"): they prove that an announcer receives at its address.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;
use wire::InfoHash;
use wire::rng::Rng;
use wire::time::Time;

use crate::SocketId;

/// Bytes of a token: short enough for every implementation, too long to guess.
pub const TOKEN_LEN: usize = 8;

/// Makes and checks tokens without storing any: a keyed hash of the period, the asker's address, the
/// torrent and the socket that was asked (BEP 45: a token is good there only). What is made in one period is valid until the end of the next.
#[derive(Clone)]
pub struct Tokens {
    keys: (u64, u64),
    period_micros: u64,
}

impl Tokens {
    /// Secrets from `rng`, changed every `period_secs`.
    pub fn new(rng: &mut Rng, period_secs: u64) -> Tokens {
        let period_micros = period_secs.max(1).saturating_mul(1_000_000);
        Tokens { keys: (rng.u64(), rng.u64()), period_micros }
    }

    /// The token for who asked by `via` from `ip` for this torrent now.
    pub fn make(
        &self,
        now: Time,
        via: SocketId,
        ip: IpAddr,
        info_hash: &InfoHash,
    ) -> [u8; TOKEN_LEN] {
        self.hash(self.period(now), via, ip, info_hash)
    }

    /// Whether `token` was made for the same in this period or the one before. How long it takes tells
    /// only in which.
    pub fn check(
        &self,
        now: Time,
        via: SocketId,
        ip: IpAddr,
        info_hash: &InfoHash,
        token: &[u8],
    ) -> bool {
        let Ok(token) = <[u8; TOKEN_LEN]>::try_from(token) else { return false };
        let token = u64::from_be_bytes(token);
        let period = self.period(now);
        let fits = |period| {
            let made = u64::from_be_bytes(self.hash(period, via, ip, info_hash));
            std::hint::black_box(made ^ token) == 0
        };
        fits(period) || fits(period.wrapping_sub(1))
    }

    fn period(&self, now: Time) -> u64 {
        now.as_micros() / self.period_micros
    }

    fn hash(
        &self,
        period: u64,
        via: SocketId,
        ip: IpAddr,
        info_hash: &InfoHash,
    ) -> [u8; TOKEN_LEN] {
        // The lengths of both families differ, so no two inputs are one. Periods of a second since the
        // start would take 56 bits in two billion years.
        let mut input = [0; 8 + 20 + 16];
        input[..8].copy_from_slice(&(period ^ u64::from(via.0) << 56).to_le_bytes());
        input[8..28].copy_from_slice(info_hash.as_bytes());
        let len = match ip {
            IpAddr::V4(ip) => {
                input[28..32].copy_from_slice(&ip.octets());
                32
            }
            IpAddr::V6(ip) => {
                input[28..].copy_from_slice(&ip.octets());
                44
            }
        };
        let hasher = SipHasher24::new_with_keys(self.keys.0, self.keys.1);
        hasher.hash(&input[..len]).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Id;

    const VIA: SocketId = SocketId(0);

    /// K148.
    #[test]
    fn a_token_is_valid_for_one_to_two_periods() {
        let tokens = Tokens::new(&mut Rng::new(&[1; 32]), 300);
        let ip = "1.2.3.4".parse().unwrap();
        let made_at = Time::from_secs(1000);
        let token = tokens.make(made_at, VIA, ip, &Id::ZERO);
        for (secs, valid) in
            [(1000, true), (1199, true), (1300, true), (1499, true), (1500, false), (1900, false)]
        {
            assert_eq!(
                tokens.check(Time::from_secs(secs), VIA, ip, &Id::ZERO, &token),
                valid,
                "{secs} s"
            );
        }
    }

    /// K149.
    #[test]
    fn a_token_is_bound_to_address_torrent_and_node() {
        let now = Time::from_secs(1);
        let tokens = Tokens::new(&mut Rng::new(&[1; 32]), 300);
        let ip = "1.2.3.4".parse().unwrap();
        let token = tokens.make(now, VIA, ip, &Id::ZERO);
        assert!(tokens.check(now, VIA, ip, &Id::ZERO, &token));
        assert!(!tokens.check(now, SocketId(1), ip, &Id::ZERO, &token));
        assert!(!tokens.check(now, VIA, "1.2.3.5".parse().unwrap(), &Id::ZERO, &token));
        assert!(!tokens.check(now, VIA, "::1.2.3.4".parse().unwrap(), &Id::ZERO, &token));
        assert!(!tokens.check(now, VIA, ip, &Id([1; 20]), &token));
        assert!(!tokens.check(now, VIA, ip, &Id::ZERO, &token[..7]));
        assert!(!tokens.check(now, VIA, ip, &Id::ZERO, b""));
        let other = Tokens::new(&mut Rng::new(&[2; 32]), 300);
        assert!(!other.check(now, VIA, ip, &Id::ZERO, &token));
    }
}
