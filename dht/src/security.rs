//! Ids bound to addresses (BEP 42).

use std::net::IpAddr;

use wire::NodeId;
use wire::rng::Rng;
use wire::scope::AddrScope;

/// A random id that fits `ip` (BEP 42, "Node ID restriction").
pub fn make_id(ip: IpAddr, rng: &mut Rng) -> NodeId {
    let mut id = NodeId::random(rng);
    let crc = prefix(ip, id.0[19]).to_be_bytes();
    id.0[0] = crc[0];
    id.0[1] = crc[1];
    id.0[2] = (crc[2] & 0xf8) | (id.0[2] & 0x07);
    id
}

/// Whether `id` fits `ip`. Local addresses are exempt: any id fits.
pub fn fits(id: &NodeId, ip: IpAddr) -> bool {
    if AddrScope::of(ip) == AddrScope::Local {
        return true;
    }
    let crc = prefix(ip, id.0[19]).to_be_bytes();
    id.0[0] == crc[0] && id.0[1] == crc[1] && (id.0[2] ^ crc[2]) & 0xf8 == 0
}

/// The hash of which an id shares the first 21 bits; `rand` is the id's last byte.
fn prefix(ip: IpAddr, rand: u8) -> u32 {
    let r = rand & 7;
    match ip {
        IpAddr::V4(ip) => {
            let masked = (u32::from(ip) & 0x030f_3fff) | (u32::from(r) << 29);
            crc32c::crc32c(&masked.to_be_bytes())
        }
        IpAddr::V6(ip) => {
            let high = (u128::from(ip) >> 64) as u64;
            let masked = (high & 0x0103_070f_1f3f_7fff) | (u64::from(r) << 61);
            crc32c::crc32c(&masked.to_be_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The five rows of BEP 42, and libtorrent's row for IPv6.
    const VECTORS: [(&str, &str); 6] = [
        ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
        ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
        ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
        ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
        ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
        ("2001:b829:2123:be84:e16c:d6ae:5290:49f1", "0a8ad123be84e16cd6ae529049f1f1bbe9ebb304"),
    ];

    #[test]
    fn the_published_ids_fit_their_addresses() {
        for (ip, id) in VECTORS {
            let (ip, id): (IpAddr, NodeId) = (ip.parse().unwrap(), id.parse().unwrap());
            assert!(fits(&id, ip), "{ip}");
            for bit in (0..21).chain([157, 158, 159]) {
                let mut wrong = id;
                wrong.set_bit(bit, !id.bit(bit));
                assert!(!fits(&wrong, ip), "{ip} bit {bit}");
            }
            let mut other = id;
            other.set_bit(21, !id.bit(21));
            assert!(fits(&other, ip), "bits from 21 on are free");
        }
    }

    #[test]
    fn a_made_id_fits_and_local_addresses_fit_all() {
        let mut rng = Rng::new(&[1; 32]);
        for ip in ["8.8.8.8", "255.1.2.3", "2001:db8::1"] {
            let ip = ip.parse().unwrap();
            for _ in 0..50 {
                assert!(fits(&make_id(ip, &mut rng), ip));
            }
            assert!(!fits(&NodeId::ZERO, ip));
        }
        assert!(fits(&NodeId::ZERO, "10.0.0.1".parse().unwrap()));
    }
}
