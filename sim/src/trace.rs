//! A fingerprint of all that happened.

use std::fmt;
use std::hash::Hasher;

use sha1::{Digest, Sha1};
use siphasher::sip::SipHasher13;
use wire::time::Time;

/// The running hash of what happened to one host. Hosts do not share one, so that the fingerprint
/// does not depend on how their events mix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trace(u64);

impl Trace {
    /// Something happened at `now`, caused by `from`.
    pub fn add(&mut self, now: Time, from: u32, bytes: &[u8]) {
        let mut hash = SipHasher13::new_with_keys(self.0, u64::from(from));
        hash.write_u64(now.as_micros());
        hash.write(bytes);
        self.0 = hash.finish();
    }
}

/// The fingerprint of a whole run: the SHA-1 of all hosts' hashes, in the hosts' order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceHash([u8; 20]);

impl TraceHash {
    /// The fingerprint of these hosts.
    pub fn of(traces: impl Iterator<Item = Trace>) -> TraceHash {
        let mut hash = Sha1::new();
        for trace in traces {
            hash.update(trace.0.to_le_bytes());
        }
        TraceHash(hash.finalize().into())
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_sender_bytes_and_order_count() {
        let trace = |events: &[(u64, u32, &[u8])]| {
            let mut trace = Trace::default();
            for &(at, from, bytes) in events {
                trace.add(Time::from_micros(at), from, bytes);
            }
            trace
        };
        let base = trace(&[(1, 2, b"a"), (2, 2, b"b")]);
        assert_eq!(base, trace(&[(1, 2, b"a"), (2, 2, b"b")]));
        assert_ne!(base, trace(&[(1, 2, b"a"), (3, 2, b"b")]));
        assert_ne!(base, trace(&[(1, 3, b"a"), (2, 2, b"b")]));
        assert_ne!(base, trace(&[(1, 2, b"a"), (2, 2, b"c")]));
        assert_ne!(base, trace(&[(2, 2, b"b"), (1, 2, b"a")]));
        let (a, b) = (trace(&[(1, 1, b"")]), trace(&[(1, 2, b"")]));
        assert_ne!(TraceHash::of([a, b].into_iter()), TraceHash::of([b, a].into_iter()));
    }
}
