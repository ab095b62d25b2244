//! A network that falls in two.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use wire::time::Time;

/// For a while nothing passes between two sides of the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition {
    from: Time,
    until: Time,
    /// A site whose hash lies below this is on the one side.
    below: u64,
    key: u64,
}

impl Partition {
    /// From `from` to `until` a `share` of the sites, which `key` names, is parted from the others.
    pub(crate) fn new(from: Time, until: Time, share: f64, key: u64) -> Partition {
        let below = (share.clamp(0.0, 1.0) * (1u64 << 32) as f64) as u64;
        Partition { from, until, below, key }
    }

    /// Its end, if it parts two sites at `at`.
    pub(crate) fn parts(&self, at: Time, a: u32, b: u32) -> Option<Time> {
        let is_on = self.from <= at && at < self.until;
        (is_on && self.side(a) != self.side(b)).then_some(self.until)
    }

    fn side(&self, site: u32) -> bool {
        let mut hash = SipHasher13::new_with_keys(self.key, 0);
        hash.write_u32(site);
        hash.finish() & u64::from(u32::MAX) < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_parts_as_many_as_asked_for_as_long_as_asked() {
        let (from, until) = (Time::from_secs(10), Time::from_secs(20));
        let partition = Partition::new(from, until, 0.3, 7);
        let aside = (0..10_000).filter(|site| partition.side(*site)).count();
        assert!((2_800..3_200).contains(&aside), "{aside}");
        let (a, b) = (0..100)
            .flat_map(|a| (0..100).map(move |b| (a, b)))
            .find(|(a, b)| partition.side(*a) != partition.side(*b))
            .unwrap();
        assert_eq!(partition.parts(from, a, b), Some(until));
        assert_eq!(partition.parts(until, a, b), None);
        assert_eq!(partition.parts(Time::from_secs(9), b, a), None);
        assert_eq!(partition.parts(from, a, a), None);
    }
}
