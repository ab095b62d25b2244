//! `dht-node scrape`

use clap::Args;
use dht::Event;
use serde_json::json;
use wire::InfoHash;

use super::session::{Session, s};
use super::{Common, Failure, Patience, id};

#[derive(Args, Debug)]
#[command(after_help = "\
The counts are estimates (BEP 33): nodes tell which addresses they were told of, and these are
united. Few programs say that they seed; those that do not count as peers.

Example:
  dht-node scrape --bootstrap 127.0.0.1:6881 2c6b6858d61da9543d4231a71db4b1c9264b0685")]
pub(crate) struct Scrape {
    /// The torrent's info-hash: 40 hexadecimal digits.
    #[arg(value_name = "INFO_HASH", value_parser = id)]
    info_hash: InfoHash,
    #[command(flatten)]
    patience: Patience,
}

impl Scrape {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut session = Session::start(common, self.patience, true)?;
        let now = session.driver.now();
        let lookup = session.driver.node_mut().scrape(now, self.info_hash);
        let counted = session.until(lookup, |event| match event {
            Event::Scraped { nodes, seeds, peers, .. } => Some((nodes, seeds, peers)),
            _ => None,
        });
        let Some((nodes, seeds, peers)) = counted.await?.filter(|&(nodes, ..)| nodes > 0) else {
            return Err(session.nothing("no node knows of this torrent"));
        };
        let ms = session.elapsed_ms();
        let json = json!({
            "event": "scrape", "info_hash": self.info_hash.to_string(), "seeds": seeds,
            "peers": peers, "nodes": nodes, "elapsed_ms": ms,
        });
        let text = format!(
            "about {seeds} seed{} and {peers} other peer{}, as {nodes} node{} tell in {ms} ms",
            s(seeds),
            s(peers),
            s(nodes)
        );
        Ok(session.out.result(&text, json)?)
    }
}
