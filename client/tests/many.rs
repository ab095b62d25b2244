//! Many torrents in one session.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use client::{Config, Identity, Session, TorrentKey};
use common::Bytes;
use wire::Id;
use wire::time::Time;

fn session(torrents: u8) -> (Session<Bytes>, Vec<TorrentKey>) {
    let us = Identity { peer_id: [1; 20], listen_port: None, dht_port: None };
    let mut session = Session::new(Config::default(), us, [7; 32]);
    let keys = (0..torrents)
        .map(|n| session.add_torrent(Time::from_secs(u64::from(n) / 7), Id([n; 20])).unwrap())
        .collect();
    (session, keys)
}

#[test]
fn a_session_is_due_when_the_first_of_its_torrents_is() {
    let (mut session, keys) = session(50);
    let mut handled = 0;
    for step in 0..200 {
        let all = keys.iter().filter_map(|key| session.torrent(*key)?.poll_timeout());
        let first = all.min();
        assert_eq!(session.poll_timeout(), first, "after {step} steps");
        let Some(now) = first else { break };
        match step {
            20..60 => session.pause_torrent(now, keys[step % 10]),
            60..80 => _ = session.resume_torrent(now, keys[step % 10]),
            80..100 => session.remove_torrent(now, keys[step % 30]),
            _ => {}
        }
        session.handle_timeout(now);
        handled += 1;
        while session.poll_event().is_some() {}
    }
    assert_eq!(handled, 200);
    keys.iter().for_each(|key| session.remove_torrent(Time::from_secs(900), *key));
    assert_eq!(session.poll_timeout(), None);
    assert!(session.wants_read());
}
