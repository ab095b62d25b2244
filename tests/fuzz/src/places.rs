//! Addresses, ids and keys that a byte or two of an input name.

use std::net::SocketAddr;

use wire::rng::{Rng, seed_from_u64};
use wire::{Id, NodeId};

use crate::items::SAMPLES;

/// The sockets of the node under test: two of v4, one of v6.
pub(crate) fn own_sockets() -> Vec<SocketAddr> {
    vec![
        SocketAddr::from(([60, 1, 1, 1], 6881)),
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 6881)),
        SocketAddr::from(([10, 0, 0, 1], 6881)),
    ]
}

/// Address `n` of a small world. Neighbours by number are often neighbours by network.
pub(crate) fn address(n: u8) -> SocketAddr {
    let low = n & 0x1f;
    let port = 1000 + u16::from(low);
    match n >> 5 {
        // A network each: such fill a table.
        0..=2 => SocketAddr::from(([70 + (n & 0x3f), n, 7, 9], port)),
        // One /24, and one address with many ports.
        3 if low < 16 => SocketAddr::from(([90, 1, 1, low], 6881)),
        3 => SocketAddr::from(([90, 1, 1, 1], port)),
        4 => SocketAddr::from(([10, 0, 0, 2 + low], 6881)),
        // Every /64 four times.
        5 => {
            let (network, host) = (u16::from(low / 4), u16::from(low % 4));
            SocketAddr::from(([0x2001, 0xdb8, network + 1, 0, 0, 0, 0, host], 6881))
        }
        6 => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(low)], 6881)),
        _ => odd_address(low),
    }
}

/// Addresses that nobody can have, that are ours, or that are not to be answered.
fn odd_address(n: u8) -> SocketAddr {
    let v6 = |words: [u16; 8]| SocketAddr::from((words, 6881));
    match n % 16 {
        0 => SocketAddr::from(([80, 1, 1, 1], 0)),
        1 => SocketAddr::from(([80, 1, 1, 1], 19)),
        2 => SocketAddr::from(([80, 1, 1, 1], 53)),
        3 => SocketAddr::from(([80, 1, 1, 1], 1900)),
        4 => SocketAddr::from(([0, 0, 0, 0], 6881)),
        5 => SocketAddr::from(([224, 0, 0, 1], 6881)),
        6 => SocketAddr::from(([255, 255, 255, 255], 6881)),
        7 => SocketAddr::from(([127, 0, 0, 1], 6881)),
        8 => v6([0; 8]),
        9 => v6([0xff02, 0, 0, 0, 0, 0, 0, 1]),
        10 => v6([0, 0, 0, 0, 0, 0xffff, 0x4601, 0x0709]),
        11 => v6([0, 0, 0, 0, 0, 0, 0, 1]),
        n => own_sockets()[usize::from(n) % 3],
    }
}

/// The id that the node at an address has, made to fit it (BEP 42).
pub(crate) fn id_at(addr: SocketAddr) -> NodeId {
    let number = match addr {
        SocketAddr::V4(v4) => u64::from(v4.ip().to_bits()) << 16,
        SocketAddr::V6(v6) => v6.ip().to_bits() as u64 ^ ((v6.ip().to_bits() >> 64) as u64),
    };
    let seed = seed_from_u64(number ^ u64::from(addr.port()));
    dht::make_id(addr.ip(), &mut Rng::new(&seed))
}

/// Key `n`: one of four torrents, that of an item, or as close to `own` as `n` says.
pub(crate) fn key(n: u8, own: &Id) -> Id {
    match n {
        0..0x30 => return Id([0x70 + (n & 3); 20]),
        0x30..0x60 => return SAMPLES[usize::from(n) % SAMPLES.len()].target,
        _ => {}
    }
    let mut key = *own;
    let bit = u32::from(n - 0x60);
    key.set_bit(bit, !own.bit(bit));
    key
}
