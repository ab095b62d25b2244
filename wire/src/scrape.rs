//! Counting a swarm by Bloom filters of its addresses (BEP 33).

use std::net::IpAddr;

use sha1::{Digest, Sha1};

/// Bytes of a filter: 2,048 bits.
pub const FILTER_LEN: usize = 256;

const BITS: usize = FILTER_LEN * 8;

/// A set of addresses of which only the size can be told, and whether one may be in it. Beyond 6,000
/// addresses the size means little (BEP 33, "Changed announce accounting").
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BloomFilter(pub [u8; FILTER_LEN]);

impl Default for BloomFilter {
    fn default() -> BloomFilter {
        BloomFilter([0; FILTER_LEN])
    }
}

impl BloomFilter {
    /// Puts an address in.
    pub fn insert(&mut self, ip: IpAddr) {
        for bit in bits(ip) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Whether `ip` may have been put in.
    pub fn may_contain(&self, ip: IpAddr) -> bool {
        bits(ip).iter().all(|bit| self.0[bit / 8] >> (bit % 8) & 1 == 1)
    }

    /// Puts in what is in the other.
    pub fn unite(&mut self, other: &[u8; FILTER_LEN]) {
        self.0.iter_mut().zip(other).for_each(|(a, b)| *a |= b);
    }

    /// About how many addresses were put in.
    pub fn estimate(&self) -> f64 {
        let ones: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        let (bits, zeros) = (BITS as f64, f64::from(BITS as u32 - ones));
        // Full filters, too, have an estimate.
        let zeros = zeros.clamp(1.0, bits);
        if ones == 0 { 0.0 } else { libm::log(zeros / bits) / (2.0 * libm::log(1.0 - 1.0 / bits)) }
    }
}

/// The two bits of an address.
fn bits(ip: IpAddr) -> [usize; 2] {
    let hash = match ip {
        IpAddr::V4(ip) => Sha1::digest(ip.octets()),
        IpAddr::V6(ip) => Sha1::digest(ip.octets()),
    };
    [0, 2].map(|at| usize::from(u16::from_le_bytes([hash[at], hash[at + 1]])) % BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// BEP 33, "Test Vectors".
    const PUBLISHED: &str = "\
        F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAE\
        FE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B\
        7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE148246C2BC5DBFF7E7EFDCF24F\
        D8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3\
        FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5\
        BFAF2E9EBFFFFEECD67ADBF7C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB57\
        62ABE8FF237279BFEFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6\
        FD8F72EF";

    #[test]
    fn the_published_filter_and_estimate_come_out() {
        let mut filter = BloomFilter::default();
        for n in 0..=255 {
            filter.insert(Ipv4Addr::new(192, 0, 2, n).into());
        }
        // libtorrent's test has this figure for the v4 addresses alone.
        assert!((filter.estimate() - 257.854).abs() < 0.001, "{}", filter.estimate());
        for n in 0..=0x3e7 {
            filter.insert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into());
        }
        assert_eq!(hex::encode_upper(filter.0), PUBLISHED);
        assert!((filter.estimate() - 1224.9308).abs() < 0.0001, "{}", filter.estimate());
    }

    #[test]
    fn a_union_counts_each_address_once() {
        let of = |range: std::ops::Range<u8>| {
            let mut filter = BloomFilter::default();
            range.for_each(|n| filter.insert(Ipv4Addr::new(8, 8, 8, n).into()));
            filter
        };
        let mut union = of(0..60);
        union.unite(&of(40..100).0);
        assert_eq!(union, of(0..100));
        assert!((union.estimate() - 100.0).abs() < 6.0);
        assert!((0..100).all(|n| union.may_contain(Ipv4Addr::new(8, 8, 8, n).into())));
    }

    #[test]
    fn empty_and_full_filters_have_an_estimate() {
        assert_eq!(BloomFilter::default().estimate(), 0.0);
        let full = BloomFilter([0xff; FILTER_LEN]).estimate();
        assert!((7_000.0..9_000.0).contains(&full), "{full}");
    }
}
