//! What the world does to hosts: homes, partitions, sleep, clocks, lines.

use std::net::SocketAddr;
use std::time::Duration;

use sim::{Access, Host, HostId, LatencyLaw, LinkConfig, NatConfig, World};
use wire::rng::seed_from_u64;
use wire::time::Time;

/// Sends what it is told to, answers `?` with `!`, and notes what it hears by its own clock.
#[derive(Default)]
struct Echo {
    out: Vec<(SocketAddr, Vec<u8>)>,
    heard: Vec<(Time, SocketAddr, Vec<u8>)>,
    wake: Option<Time>,
    woken: Vec<Time>,
}

enum Say {
    To(SocketAddr, &'static [u8]),
    WakeAt(Time),
}

impl Host for Echo {
    type Command = Say;

    fn handle_command(&mut self, _: Time, command: Say) {
        match command {
            Say::To(addr, bytes) => self.out.push((addr, bytes.to_vec())),
            Say::WakeAt(at) => self.wake = Some(at),
        }
    }

    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        self.heard.push((now, from, bytes.to_vec()));
        if bytes == b"?" {
            self.out.push((from, b"!".to_vec()));
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.wake = None;
        self.woken.push(now);
    }

    fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, bytes) = self.out.pop()?;
        buf.clear();
        buf.extend_from_slice(&bytes);
        Some(to)
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.wake
    }

    fn end_turn(&mut self, _: Time) {}
}

const LATENCY: Duration = Duration::from_millis(50);

fn world() -> World<Echo> {
    let latency = LatencyLaw::Uniform { min_us: 50_000, max_us: 50_000 };
    World::shared(LinkConfig { latency, ..LinkConfig::default() }, &seed_from_u64(1), 2)
}

fn open(world: &mut World<Echo>) -> (HostId, SocketAddr) {
    let id = world.add_host(Echo::default());
    (id, world.addresses().addr(id))
}

fn home(world: &mut World<Echo>, nat: NatConfig, hosts: usize, addresses: u32) -> Vec<HostId> {
    world.add_home(nat, addresses, (0..hosts).map(|_| Echo::default()).collect())
}

fn says(world: &mut World<Echo>, secs: u64, from: HostId, to: SocketAddr, bytes: &'static [u8]) {
    world.command(Time::from_secs(secs), from, Say::To(to, bytes));
}

fn words(world: &World<Echo>, host: HostId) -> Vec<&[u8]> {
    world.host(host).heard.iter().map(|(_, _, bytes)| &bytes[..]).collect()
}

#[test]
fn who_is_at_home_is_answered_and_not_found_by_strangers() {
    let mut world = world();
    let (a, a_addr) = open(&mut world);
    let (b, _) = open(&mut world);
    let inside = home(&mut world, NatConfig::port_restricted(), 2, 1);
    says(&mut world, 1, inside[0], a_addr, b"?");
    says(&mut world, 1, inside[1], a_addr, b"?");
    world.run_until(Time::from_secs(2));
    let seen: Vec<SocketAddr> = world.host(a).heard.iter().map(|(_, from, _)| *from).collect();
    let outside = world.addresses().addr(inside[0]).ip();
    assert!(seen.len() == 2 && seen[0] != seen[1], "{seen:?}");
    assert!(seen.iter().all(|from| from.ip() == outside), "{seen:?}");
    for host in &inside {
        assert_eq!(words(&world, *host), [b"!"]);
        assert_eq!(world.host(*host).heard[0].1, a_addr);
    }
    says(&mut world, 3, b, seen[0], b"?");
    says(&mut world, 3, b, SocketAddr::new(outside, 9), b"?");
    world.run_until(Time::from_secs(4));
    assert!(inside.iter().all(|host| world.host(*host).heard.len() == 1));
    assert_eq!(world.counters().translator_dropped, 2);
}

#[test]
fn a_translator_that_restarts_forgets() {
    let mut world = world();
    let (a, a_addr) = open(&mut world);
    let inside = home(&mut world, NatConfig::full_cone(), 1, 1)[0];
    says(&mut world, 1, inside, a_addr, b"x");
    world.run_until(Time::from_secs(2));
    let seen = world.host(a).heard[0].1;
    says(&mut world, 2, a, seen, b"before");
    world.restart_nat_at(Time::from_secs(3), inside);
    says(&mut world, 4, a, seen, b"after");
    world.run_until(Time::from_secs(5));
    assert_eq!(words(&world, inside), [b"before"]);
}

#[test]
fn subscribers_of_a_carrier_share_its_addresses_and_reach_each_other() {
    let mut world = world();
    let (a, a_addr) = open(&mut world);
    let subscribers = home(&mut world, NatConfig::cgnat(), 60, 3);
    for host in &subscribers {
        says(&mut world, 1, *host, a_addr, b"x");
    }
    says(&mut world, 2, subscribers[0], World::<Echo>::inside_addr(7), b"?");
    world.run_until(Time::from_secs(3));
    let heard = &world.host(a).heard;
    let ips: std::collections::BTreeSet<_> = heard.iter().map(|(_, from, _)| from.ip()).collect();
    let ends: std::collections::BTreeSet<_> = heard.iter().map(|(_, from, _)| *from).collect();
    assert_eq!((heard.len(), ips.len(), ends.len()), (60, 3, 60));
    assert_eq!(words(&world, subscribers[0]), [b"!"]);
    assert_eq!(words(&world, subscribers[7]), [b"?"]);
}

#[test]
fn nothing_passes_between_two_parts_until_they_heal() {
    let mut world = world();
    let hosts: Vec<_> = (0..40).map(|_| open(&mut world)).collect();
    world.part(Time::from_secs(10), Time::from_secs(20), 0.5);
    for secs in [5, 15, 25] {
        for (from, _) in &hosts {
            for (_, to) in &hosts {
                says(&mut world, secs, *from, *to, b"x");
            }
        }
    }
    world.run_until(Time::from_secs(30));
    let parted = world.counters().parted;
    // Of 1,600 ways half cross, if the halves are about equal.
    assert!((640..=800).contains(&parted), "{parted}");
    assert_eq!(world.counters().delivered, 3 * 1_600 - parted);
}

#[test]
fn who_sleeps_hears_nothing_and_wakes_late() {
    let mut world = world();
    let (a, _) = open(&mut world);
    let (b, b_addr) = open(&mut world);
    world.sleep_at(Time::from_secs(10), b, Duration::from_secs(100));
    world.command(Time::from_secs(1), b, Say::WakeAt(Time::from_secs(50)));
    for secs in [5, 50, 111] {
        says(&mut world, secs, a, b_addr, b"x");
    }
    says(&mut world, 60, b, b_addr, b"later");
    world.run_until(Time::from_secs(200));
    let heard: Vec<u64> = world.host(b).heard.iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(heard, [5_050, 110_050, 111_050]);
    assert_eq!(world.host(b).woken, [Time::from_secs(110)]);
}

#[test]
fn a_clock_that_is_shifted_moves_what_its_host_waits_for() {
    let mut world = world();
    let (a, a_addr) = open(&mut world);
    let (b, _) = open(&mut world);
    world.command(Time::from_secs(1), a, Say::WakeAt(Time::from_secs(100)));
    world.shift_clock_at(Time::from_secs(10), a, 60_000_000);
    says(&mut world, 20, b, a_addr, b"x");
    world.run_until(Time::from_secs(39));
    assert!(world.host(a).woken.is_empty());
    world.run_until(Time::from_secs(41));
    assert_eq!(world.host(a).woken, [Time::from_secs(100)]);
    assert_eq!(world.host(a).heard[0].0, Time::from_secs(80) + LATENCY);
    // Back by as much: it is later again.
    world.command(Time::from_secs(50), a, Say::WakeAt(Time::from_secs(120)));
    world.shift_clock_at(Time::from_secs(51), a, -60_000_000);
    world.run_until(Time::from_secs(119));
    assert_eq!(world.host(a).woken.len(), 1);
    world.run_until(Time::from_secs(121));
    assert_eq!(world.host(a).woken.len(), 2);
}

#[test]
fn a_program_that_is_restarted_knows_nothing_of_the_one_before() {
    let mut world = world();
    let (a, _) = open(&mut world);
    let (b, b_addr) = open(&mut world);
    world.stop_host_at(Time::from_secs(10), b);
    for secs in [5, 15, 25] {
        says(&mut world, secs, a, b_addr, b"?");
    }
    world.run_until(Time::from_secs(20));
    assert_eq!(words(&world, b), [b"?"]);
    world.restart_host(b, Echo::default());
    world.run_until(Time::from_secs(30));
    assert_eq!((words(&world, b), words(&world, a)), (vec![&b"?"[..]], vec![&b"!"[..]; 2]));
}

#[test]
fn a_line_delays_datagrams_and_drops_what_its_queue_cannot_hold() {
    let mut world = world();
    let (a, _) = open(&mut world);
    let (b, b_addr) = open(&mut world);
    let access = Access { up_bytes_per_second: 2_900, down_bytes_per_second: 2_900, queue_ms: 100 };
    world.set_access(a, access);
    world.set_access(b, access);
    for _ in 0..20 {
        says(&mut world, 1, a, b_addr, b"x");
    }
    world.run_until(Time::from_secs(5));
    let heard: Vec<u64> = world.host(b).heard.iter().map(|(at, ..)| at.as_millis()).collect();
    // 29 bytes take 10 ms up, 50 ms of way, and 10 ms down; ten fit into 100 ms.
    assert_eq!(heard, (0..10).map(|n| 1_070 + 10 * n).collect::<Vec<u64>>());
    assert_eq!(world.counters().queue_full, 10);
}
