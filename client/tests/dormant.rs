//! Torrents that have all and of which nobody wants anything: they let go, and wake.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::SocketAddr;

use client::candidates::Source;
use client::disk::{DiskError, DiskErrorKind};
use client::{Asked, Close, Config, ConnId, Failure, TorrentEvent};
use common::{Host, bytes_of, content, fault, info};
use wire::metainfo::Info;
use wire::peer::{BLOCK_LEN, Message};

const PIECE: u32 = 2 * BLOCK_LEN;
const PIECES: u32 = 8;

fn torrent() -> (Vec<u8>, Info) {
    let content = content((PIECES * PIECE) as usize);
    let info = info(&content, PIECE);
    (content, info)
}

fn is_dormant(host: &Host) -> bool {
    host.session.stats(host.now, host.key).unwrap().dormant
}

fn told(host: &Host, event: &TorrentEvent) -> usize {
    host.events.iter().filter(|other| *other == event).count()
}

/// A seed that nobody has asked for anything yet.
fn dormant_seed() -> (Vec<u8>, Info, Host) {
    let (content, info) = torrent();
    let mut host = Host::seed(&info, &content);
    host.pass(2_000);
    assert!(is_dormant(&host));
    (content, info, host)
}

/// A leech that has all, and the peer that it has all from.
fn fetched(content: &[u8], info: &Info) -> (Host, ConnId) {
    let mut host = Host::leech(info);
    let conn = host.connect(info, 1);
    // It keeps a piece for itself until the end, so that it stays.
    for piece in 0..PIECES - 1 {
        host.say(conn, Message::Have(piece));
    }
    host.say(conn, Message::Unchoke);
    let mut last = None;
    while !host.is_complete() {
        let asked = host.requests(conn);
        if asked.is_empty() {
            assert_eq!(last.replace(PIECES - 1), None, "nothing is asked for");
            let other = host.connect(info, 2);
            host.say(other, Message::Have(PIECES - 1));
            host.say(other, Message::Unchoke);
            for block in host.requests(other) {
                host.send_block(other, block, bytes_of(content, block));
            }
            host.session.handle_closed(host.now, other, Close::Remote);
            host.drain();
        }
        for block in asked {
            host.send_block(conn, block, bytes_of(content, block));
        }
    }
    host.session.flush_torrent(host.now, host.key);
    host.drain();
    (host, conn)
}

#[test]
fn a_seed_that_nobody_asks_lets_go_of_all_and_is_due_for_nothing() {
    let (content, info, mut host) = dormant_seed();
    assert_eq!(host.open_files(), [""; 0]);
    assert!(host.session.torrent(host.key).unwrap().info().is_none());
    assert_eq!(
        host.session.poll_timeout(),
        None,
        "it has asked for peers, and waits for the answer"
    );
    assert_eq!(host.session.active().count(), 0);
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.name.as_deref(), stats.complete, stats.started), (Some("x"), true, true));
    assert_eq!(stats.total_len, content.len() as u64);
    assert_eq!(
        (stats.have_bytes, stats.wanted_bytes, stats.left_bytes),
        (info.total_len, info.total_len, 0)
    );
    // Between two announces there is nothing to do, either.
    let asked = Asked { found: 0, kept_by: 8 };
    host.session.handle_asked(host.now, host.key, asked);
    host.drain();
    let next = host.session.poll_timeout().unwrap().since(host.now);
    assert!(next.as_millis() >= 900, "{next:?}");
    let before = told(&host, &TorrentEvent::WantsPeers);
    host.pass(1_100);
    assert_eq!(told(&host, &TorrentEvent::WantsPeers), before + 1);
    assert!(is_dormant(&host));
}

#[test]
fn it_wakes_for_who_comes_and_serves_as_ever() {
    let (_, info, mut host) = dormant_seed();
    host.hold_info = true;
    let conn = host.connect(&info, 1);
    host.say(conn, Message::Interested);
    host.pass(25_000);
    assert_eq!(told(&host, &TorrentEvent::WantsInfo), 1, "once, for whoever comes");
    assert_eq!(host.heard(conn), [""; 0], "nothing but the handshake is sent before what we have");
    assert_eq!(host.session.active().count(), 1);
    host.give_info();
    let heard = host.heard(conn);
    assert!(heard[0].starts_with("Extended(0"), "{heard:?}");
    assert_eq!(heard[1], "HaveAll");
    assert_eq!(heard.last().unwrap(), "Unchoke");
    assert_eq!(heard.iter().filter(|message| message.starts_with("Have(")).count(), 0);
    assert!(!is_dormant(&host));
    let request = common::block(3, 0, BLOCK_LEN);
    host.say(conn, Message::Request(request));
    assert_eq!(host.heard(conn), [format!("Piece({request:?})")]);
    assert_eq!(told(&host, &TorrentEvent::Started), 1, "to its user it never went");
    assert_eq!(told(&host, &TorrentEvent::Complete), 1);
    assert_eq!(told(&host, &TorrentEvent::Woken), 1);
}

#[test]
fn after_the_last_peer_it_waits_a_while_before_it_lets_go_again() {
    let (_, info, mut host) = dormant_seed();
    let conn = host.connect(&info, 1);
    host.pass(5_000);
    assert!(!is_dormant(&host), "somebody is connected");
    host.session.handle_closed(host.now, conn, Close::Remote);
    let after = Config::default().dormant_after.as_millis() as u64;
    host.pass(after - 2_000);
    assert!(!is_dormant(&host));
    host.pass(4_000);
    assert!(is_dormant(&host));
    assert_eq!(host.open_files(), [""; 0]);
}

#[test]
fn a_download_lets_go_once_it_is_kept_and_wakes_by_its_journal() {
    let (content, info) = torrent();
    let (mut host, conn) = fetched(&content, &info);
    host.session.handle_closed(host.now, conn, Close::Remote);
    host.pass(70_000);
    assert!(is_dormant(&host));
    assert_eq!(host.open_files(), [""; 0], "nor the journal");
    let conn = host.connect(&info, 3);
    assert_eq!(host.heard(conn)[1], "HaveAll");
    assert_eq!(host.files["x"], content);
    assert_eq!(host.session.stats(host.now, host.key).unwrap().checked, (0, 0), "nothing is read");
}

#[test]
fn who_wakes_it_to_find_less_there_is_told_so() {
    let (content, info) = torrent();
    let (mut host, conn) = fetched(&content, &info);
    host.session.handle_closed(host.now, conn, Close::Remote);
    host.pass(70_000);
    host.files.get_mut("x").unwrap().truncate((5 * PIECE) as usize);
    let started = told(&host, &TorrentEvent::Started);
    let conn = host.connect(&info, 3);
    assert!(host.heard(conn)[1].starts_with("Bitfield"));
    assert_eq!(told(&host, &TorrentEvent::Started), started + 1, "it fetches again");
    assert!(!host.is_complete());
    host.say(conn, Message::HaveAll);
    assert!(host.heard(conn).contains(&"Interested".to_string()));
}

#[test]
fn whoever_was_let_go_as_a_seed_is_dialled_when_it_wakes_to_find_less() {
    let (content, info) = torrent();
    let (mut host, conn) = fetched(&content, &info);
    host.session.handle_closed(host.now, conn, Close::Remote);
    let addr = SocketAddr::from(([127, 0, 0, 9], 6881));
    host.session.add_candidates(host.now, host.key, Source::Dht, &[addr]);
    host.drain();
    let (seed, _) = host.dials[0];
    host.answer_dial(seed, &info, 9);
    host.say(seed, Message::HaveAll);
    assert_eq!(host.closed.get(&seed), Some(&Close::BothSeeds));
    host.pass(70_000);
    assert!(is_dormant(&host) && host.dials.len() == 1);
    host.files.get_mut("x").unwrap().truncate((5 * PIECE) as usize);
    host.connect(&info, 3);
    assert!(!host.is_complete());
    host.pass(2_000);
    assert_eq!(host.dials.get(1).map(|(_, dialled)| *dialled), Some(addr));
}

#[test]
fn what_is_said_too_early_is_heard_later_but_not_without_end() {
    let (_, info, mut host) = dormant_seed();
    host.hold_info = true;
    let (good, bad) = (host.connect(&info, 1), host.connect(&info, 2));
    host.say(good, Message::Extended(0, b"d1:md11:ut_metadatai1ee13:metadata_sizei100ee"));
    host.say(bad, Message::Bitfield(&[0xff, 0xff, 0xff]));
    assert_eq!(host.heard(good), [""; 0], "no request for the metadata");
    let request = common::block(1, 0, BLOCK_LEN);
    host.say(good, Message::Request(request));
    let flood = host.connect(&info, 3);
    let most = Config::default().output_bytes_max;
    let mut count = 0;
    while !host.closed.contains_key(&flood) {
        host.say(flood, Message::Have(1));
        count += 5;
        assert!(count < most, "without an end");
    }
    assert_eq!(fault(&host, flood), "it says too much before it hears anything");
    host.give_info();
    assert_eq!(fault(&host, bad), "a bitfield that does not fit");
    assert!(!host.closed.contains_key(&good));
    let heard = host.heard(good);
    assert_eq!(heard[1], "HaveAll", "first of all");
    assert_eq!(heard.last().unwrap(), &format!("Reject({request:?})"), "it is choked");
}

#[test]
fn who_has_all_too_is_let_go_once_it_is_awake() {
    let (_, info, mut host) = dormant_seed();
    let conn = host.connect(&info, 1);
    host.say(conn, Message::HaveAll);
    assert_eq!(host.closed.get(&conn), Some(&Close::BothSeeds));
    host.pass(70_000);
    assert!(is_dormant(&host));
    host.hold_info = true;
    let conn = host.connect(&info, 2);
    host.say(conn, Message::HaveAll);
    assert_eq!(host.closed.get(&conn), None, "what it wakes for is not known yet");
    host.give_info();
    assert_eq!(host.closed.get(&conn), Some(&Close::BothSeeds));
}

#[test]
fn whom_it_is_told_of_it_dials_and_wakes_when_one_answers() {
    let (_, info, mut host) = dormant_seed();
    let addr = SocketAddr::from(([127, 0, 0, 9], 6881));
    host.session.add_candidates(host.now, host.key, Source::Dht, &[addr]);
    host.drain();
    let (conn, _) = host.dials[0];
    assert!(is_dormant(&host));
    assert_eq!(told(&host, &TorrentEvent::WantsInfo), 0);
    host.answer_dial(conn, &info, 7);
    assert!(host.heard(conn).contains(&"HaveAll".to_string()));
    assert!(!is_dormant(&host));
}

#[test]
fn it_wakes_only_when_its_files_are_closed() {
    let (content, info) = torrent();
    let (mut host, conn) = fetched(&content, &info);
    host.session.handle_closed(host.now, conn, Close::Remote);
    host.hold = true;
    host.pass(70_000);
    assert!(is_dormant(&host));
    assert!(host.held() > 0, "the files are being closed");
    host.connect(&info, 3);
    assert_eq!(told(&host, &TorrentEvent::WantsInfo), 0);
    host.hold = false;
    while host.held() > 0 {
        host.work(0, false);
    }
    assert_eq!(told(&host, &TorrentEvent::WantsInfo), 1);
    assert_eq!(told(&host, &TorrentEvent::Woken), 1);
}

#[test]
fn pause_and_removal_end_it_in_every_state() {
    for state in 0..4 {
        let (content, info) = torrent();
        let (mut host, conn) = fetched(&content, &info);
        host.session.handle_closed(host.now, conn, Close::Remote);
        host.hold = state == 1;
        host.pass(70_000);
        assert!(is_dormant(&host));
        host.hold_info = true;
        if state >= 2 {
            host.connect(&info, 3);
        }
        if state == 3 {
            host.hold = true;
            host.give_info();
        }
        host.session.pause_torrent(host.now, host.key);
        host.drain();
        host.hold = false;
        while host.held() > 0 {
            host.work(0, false);
        }
        assert_eq!(told(&host, &TorrentEvent::Paused), 1, "state {state}");
        assert_eq!(host.open_files(), [""; 0], "state {state}");
        assert!(host.session.resume_torrent(host.now, host.key));
        host.give_info();
        assert!(host.is_complete() && !is_dormant(&host), "state {state}");
        host.session.remove_torrent(host.now, host.key);
        host.drain();
        assert_eq!(told(&host, &TorrentEvent::Removed), 1, "state {state}");
        assert_eq!(host.session.active().count(), 0, "state {state}");
    }
}

#[test]
fn who_comes_and_goes_at_once_does_not_keep_its_files_busy() {
    let (_, info, mut host) = dormant_seed();
    for name in 1..=20 {
        let conn = host.connect(&info, name);
        host.session.handle_closed(host.now, conn, Close::Remote);
        host.pass(2_000);
    }
    assert_eq!(told(&host, &TorrentEvent::Woken), 1);
    assert!(!is_dormant(&host));
    host.pass(70_000);
    assert!(is_dormant(&host), "and rests once they are gone");
}

#[test]
fn who_is_gone_before_it_is_awake_is_not_answered_and_others_are() {
    let (_, info, mut host) = dormant_seed();
    host.hold_info = true;
    let (gone, here) = (host.connect(&info, 1), host.connect(&info, 2));
    for conn in [gone, here] {
        host.say(conn, Message::Bitfield(&[0]));
        host.say(conn, Message::Interested);
    }
    host.session.handle_closed(host.now, gone, Close::Remote);
    // Under the peer id of one that is held: it says all anew.
    let twin = host.connect(&info, 2);
    assert_eq!(host.closed.get(&twin), Some(&Close::Duplicate));
    assert_eq!(host.session.poll_output(host.now, gone), None);
    assert_eq!(host.session.poll_output(host.now, here), None, "what we have is not known");
    host.give_info();
    assert_eq!(host.heard(gone), [""; 0]);
    assert_eq!(host.heard(here).last().unwrap(), "Unchoke");
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.peers, stats.seeds, stats.copies), (1, 0, 0.0));
}

#[test]
fn blocks_for_a_dormant_torrent_are_faults() {
    let (content, info, mut host) = dormant_seed();
    host.hold_info = true;
    let conn = host.connect(&info, 1);
    let block = common::block(0, 0, BLOCK_LEN);
    for _ in 0..Config::default().faults_max {
        host.send_block(conn, block, bytes_of(&content, block));
    }
    assert!(!host.closed.contains_key(&conn));
    host.send_block(conn, block, bytes_of(&content, block));
    assert_eq!(fault(&host, conn), "blocks that nobody asked for");
    let stats = host.session.stats(host.now, host.key).unwrap();
    assert_eq!((stats.held_bytes, stats.partial_bytes), (0, 0));
}

#[test]
fn one_that_comes_while_it_wakes_is_greeted_like_the_others() {
    let (_, info, mut host) = dormant_seed();
    host.hold = true;
    let first = host.connect(&info, 1);
    assert!(host.held() > 0, "its files are looked at");
    let second = host.connect(&info, 2);
    host.say(second, Message::HaveNone);
    let gone = host.connect(&info, 3);
    host.say(gone, Message::HaveAll);
    host.session.handle_closed(host.now, gone, Close::Remote);
    host.hold = false;
    while host.held() > 0 {
        host.work(0, false);
    }
    for conn in [first, second] {
        assert_eq!(host.heard(conn)[1], "HaveAll");
    }
    assert_eq!(host.session.stats(host.now, host.key).unwrap().seeds, 0);
}

#[test]
fn one_that_is_stopped_or_fails_before_it_is_awake_wants_nothing_more() {
    for fails in [false, true] {
        let (content, info) = torrent();
        let (mut host, conn) = fetched(&content, &info);
        host.session.handle_closed(host.now, conn, Close::Remote);
        host.hold = true;
        host.pass(70_000);
        let conn = host.connect(&info, 3);
        host.say(conn, Message::Interested);
        if fails {
            let message = "input/output error".into();
            let error = DiskError { kind: DiskErrorKind::Other, message };
            host.session.give_up(host.now, host.key, Failure::Disk(error));
        } else {
            host.session.pause_torrent(host.now, host.key);
        }
        host.drain();
        assert_eq!(host.closed.get(&conn), Some(&Close::Stopped));
        host.hold = false;
        while host.held() > 0 {
            host.work(0, false);
        }
        assert_eq!(told(&host, &TorrentEvent::WantsInfo), 0);
        assert_eq!(told(&host, &TorrentEvent::Paused), usize::from(!fails));
        let late = host.connect(&info, 4);
        assert_eq!(host.closed.get(&late), Some(&Close::Stopped));
        host.session.pause_torrent(host.now, host.key);
        host.drain();
        assert!(host.session.resume_torrent(host.now, host.key));
        host.give_info();
        assert!(host.is_complete() && !is_dormant(&host));
    }
}

#[test]
fn a_failure_while_it_wakes_ends_in_a_pause_that_closes_all() {
    let (_, info, mut host) = dormant_seed();
    host.hold = true;
    let conn = host.connect(&info, 1);
    assert!(host.held() > 0, "its files are looked at");
    host.work(0, true);
    host.hold = false;
    while host.held() > 0 {
        host.work(0, false);
    }
    assert!(host.events.iter().any(|event| matches!(event, TorrentEvent::Failed(_))));
    assert_eq!(host.closed.get(&conn), Some(&Close::Stopped));
    host.session.pause_torrent(host.now, host.key);
    host.drain();
    assert_eq!(told(&host, &TorrentEvent::Paused), 1);
    assert_eq!(host.open_files(), [""; 0]);
}

#[test]
fn a_piece_whose_blocks_are_all_there_is_hashed_when_it_wakes() {
    let (content, info) = torrent();
    // A run that was stopped when it had all blocks of a piece in the file and was to read one back.
    let mut stopped = Host::leech(&info);
    let conn = stopped.connect(&info, 1);
    stopped.say(conn, Message::HaveAll);
    stopped.say(conn, Message::Unchoke);
    let asked = stopped.requests(conn);
    stopped.send_block(conn, asked[0], bytes_of(&content, asked[0]));
    stopped.pass(12_000);
    stopped.hold = true;
    stopped.send_block(conn, asked[1], bytes_of(&content, asked[1]));
    assert_eq!(stopped.held(), 1, "the first block is read back");
    stopped.session.pause_torrent(stopped.now, stopped.key);
    stopped.drain();
    while stopped.held() > 1 {
        stopped.work(1, false);
    }
    let piece = asked[0].piece;
    assert!(!stopped.events.contains(&TorrentEvent::Piece(piece)));

    let (mut host, conn) = fetched(&content, &info);
    host.session.handle_closed(host.now, conn, Close::Remote);
    host.pass(70_000);
    assert!(is_dormant(&host));
    host.files = stopped.files.clone();
    host.events.clear();
    host.connect(&info, 3);
    assert!(!host.is_complete());
    assert!(host.events.contains(&TorrentEvent::Piece(piece)), "{:?}", host.events);
}
