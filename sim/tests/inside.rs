//! A peer behind an address translator learns what others see of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use dht::SocketId;
use sim::{Cut, HostId, LinkConfig, NatConfig, PeerCommand, PeerHost, World};
use wire::Id;
use wire::rng::{Rng, child_seed, seed_from_u64};
use wire::time::Time;

/// More than the networks that must have told a node its address before it believes it.
const OPEN: u32 = 60;

/// A world of peers in the open, and one behind a router at home.
fn world() -> (World<PeerHost>, HostId) {
    let seed = seed_from_u64(1);
    let mut world: World<PeerHost> = World::new(LinkConfig::default(), &seed);
    for n in 0..OPEN {
        let addr = world.addresses().addr(HostId(n));
        let seed = child_seed(&seed, "host", n.into());
        let id = world.add_host(PeerHost::new(addr, &seed, client::Config::default()));
        join(&mut world, Time::from_millis(100 * u64::from(n)), id);
    }
    let addr = World::<PeerHost>::inside_addr(0);
    let host = PeerHost::inside(addr, &child_seed(&seed, "host", 99), client::Config::default());
    let inside = world.add_home(NatConfig::home_router(), 1, vec![host])[0];
    join(&mut world, Time::from_secs(20), inside);
    (world, inside)
}

/// A host joins, and looks for torrents so that it hears of many.
fn join(world: &mut World<PeerHost>, at: Time, id: HostId) {
    let entry = world.addresses().addr(HostId(0));
    world.command(at, id, PeerCommand::Bootstrap(entry));
    let hash = Id::random(&mut Rng::new(&child_seed(&seed_from_u64(2), "hash", id.0.into())));
    world.command(at + std::time::Duration::from_secs(5), id, PeerCommand::Fetch(hash));
}

fn knows(world: &World<PeerHost>, id: HostId) -> Option<IpAddr> {
    let node = world.host(id).node();
    let ip = node.external_ip(SocketId(0));
    assert!(ip.is_none_or(|ip| dht::fits(&node.id(), ip)), "its id fits what it knows");
    ip
}

#[test]
fn a_peer_behind_a_translator_learns_its_address_outside() {
    let (mut world, inside) = world();
    let outside = world.addresses().addr(inside).ip();
    world.run_until(Time::from_secs(19));
    assert_eq!(knows(&world, inside), None);
    let before = world.host(inside).node().id();
    world.run_until(Time::from_secs(900));
    assert_eq!(knows(&world, inside), Some(outside));
    assert_ne!(world.host(inside).node().id(), before, "it has another id, which fits");
    // Who is in the open knows from the start.
    assert_eq!(knows(&world, HostId(1)), Some(world.addresses().addr(HostId(1)).ip()));
    // And the next program there has to learn it again.
    let next = world.host(inside).restarted(Cut::Kill, &seed_from_u64(5));
    assert_eq!(next.node().external_ip(SocketId(0)), None);
    world.restart_host(inside, next);
    join(&mut world, Time::from_secs(901), inside);
    world.run_until(Time::from_secs(1_800));
    assert_eq!(knows(&world, inside), Some(outside));
}
