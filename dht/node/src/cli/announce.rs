//! `dht-node announce`

use std::time::Duration;

use clap::Args;
use dht::Event;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use wire::InfoHash;

use super::session::{Session, interrupted, s};
use super::{Common, Failure, Patience, id, note};

#[derive(Args, Debug)]
#[command(after_help = "\
Others forget an announce after 30 to 45 minutes: repeat it while the peer runs, or let --every do it,
which tells on SIGUSR1 how it is.

Examples:
  dht-node announce --port 6881 --every 1200 2c6b6858d61da9543d4231a71db4b1c9264b0685
      each 20 minutes, until Ctrl-C
  dht-node announce --bootstrap 127.0.0.1:6881 --port 6881 2c6b6858d61da9543d4231a71db4b1c9264b0685")]
pub(crate) struct Announce {
    /// The torrent's info-hash: 40 hexadecimal digits.
    #[arg(value_name = "INFO_HASH", value_parser = id)]
    info_hash: InfoHash,

    /// The TCP port on which the peer listens.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(required_unless_present = "implied_port")]
    port: Option<u16>,

    /// Announce the UDP port that the nodes see instead, as behind a NAT; use it with --bind.
    #[arg(long, conflicts_with = "port")]
    implied_port: bool,

    /// The peer is a seed: scrapes count it as one.
    #[arg(long)]
    seed: bool,

    /// Announce again each so many seconds, until Ctrl-C; others forget after 30 to 45 minutes.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(10..=86_400))]
    every: Option<u64>,

    /// Ask afterwards how many nodes tell of it.
    #[arg(long, requires = "port")]
    check: bool,

    #[command(flatten)]
    patience: Patience,
}

impl Announce {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut session = Session::start(common, self.patience, true)?;
        match self.every {
            None => self.announce(&mut session).await,
            Some(secs) => tokio::select! {
                failed = self.repeat(&mut session, Duration::from_secs(secs)) => Err(failed),
                ended = interrupted() => Ok(ended?),
            },
        }
    }

    /// Announces again and again. One that nobody took is worth a word, not the end.
    /// SIGUSR1 asks how often it went well.
    async fn repeat(&self, session: &mut Session, every: Duration) -> Failure {
        let mut status = match signal(SignalKind::user_defined1()) {
            Ok(status) => status,
            Err(error) => return error.into(),
        };
        let (mut tries, mut done) = (0, 0);
        loop {
            tries += 1;
            match self.announce(session).await {
                Err(failure @ Failure::Nothing(_)) => note(&format!("{failure}\n")),
                Err(failure) => return failure,
                Ok(()) => done += 1,
            }
            let next = Instant::now() + every;
            loop {
                tokio::select! {
                    () = session.idle(next) => break,
                    _ = status.recv() => {
                        let secs = (next - Instant::now()).as_secs();
                        note(&format!("announced {done} times of {tries}; again in {secs} s\n"));
                    }
                }
            }
        }
    }

    async fn announce(&self, session: &mut Session) -> Result<(), Failure> {
        let now = session.driver.now();
        let lookup = session.driver.node_mut().announce(now, self.info_hash, self.port, self.seed);
        let accepted = session.until(lookup, |event| match event {
            Event::Announced { accepted, .. } => Some(accepted),
            _ => None,
        });
        let Some(accepted) = accepted.await?.filter(|&accepted| accepted > 0) else {
            return Err(session.nothing("no node accepted the announce"));
        };
        // Our other addresses are announced after the first.
        session.turn_while(|node| node.is_announcing(&self.info_hash)).await;
        let ms = session.elapsed_ms();
        let mut holders = None;
        if let (true, Some(port)) = (self.check, self.port) {
            let now = session.driver.now();
            let lookup = session.driver.node_mut().count_peer(now, self.info_hash, port);
            holders = session.holders(lookup).await?;
        }
        let json = json!({
            "event": "announced", "info_hash": self.info_hash.to_string(),
            "port": self.port, "accepted": accepted, "holders": holders, "elapsed_ms": ms,
        });
        let live = holders.map(|n| format!("; {n} tell of it on asking")).unwrap_or_default();
        let text = format!("announced to {accepted} node{} in {ms} ms{live}", s(accepted));
        Ok(session.out.result(&text, json)?)
    }
}
