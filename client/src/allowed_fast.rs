//! The pieces that a peer may ask for while it is choked (BEP 6, "Allowed Fast").

use std::net::IpAddr;

use sha1::{Digest, Sha1};
use wire::InfoHash;

/// The allowed-fast set of up to `count` pieces for a peer at `ip` (BEP 6, "Canonical Allowed Fast
/// Set Generation"). Empty for v6, for which BEP 6 defines none.
pub fn allowed_fast_set(info_hash: &InfoHash, ip: IpAddr, pieces: u32, count: usize) -> Vec<u32> {
    let IpAddr::V4(ip) = ip else { return Vec::new() };
    let count = count.min(pieces as usize);
    if count == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(count);
    let [a, b, c, _] = ip.octets();
    let mut x = [&[a, b, c, 0][..], info_hash.as_bytes()].concat();
    // Each digest gives five numbers; duplicates are rare unless there are few pieces.
    for _ in 0..10 * (count + 1) {
        let digest: [u8; 20] = Sha1::digest(&x).into();
        for word in digest.chunks_exact(4) {
            let word = word.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
            let index = word % pieces;
            if out.len() < count && !out.contains(&index) {
                out.push(index);
            }
        }
        if out.len() >= count {
            break;
        }
        x = digest.to_vec();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Id;

    #[test]
    fn the_example_of_bep_6() {
        let set =
            |count| allowed_fast_set(&Id([0xaa; 20]), IpAddr::from([80, 4, 4, 200]), 1313, count);
        assert_eq!(set(7), [1059, 431, 808, 1217, 287, 376, 1188]);
        assert_eq!(set(9), [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
    }

    #[test]
    fn few_pieces_end() {
        let ip = IpAddr::from([1, 2, 3, 4]);
        let mut set = allowed_fast_set(&Id::ZERO, ip, 3, 10);
        set.sort_unstable();
        assert_eq!(set, [0, 1, 2]);
        assert!(allowed_fast_set(&Id::ZERO, ip, 0, 10).is_empty());
    }
}
