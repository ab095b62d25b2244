//! `dht-node lookup`

use clap::Args;
use dht::Event;
use serde_json::json;
use wire::InfoHash;

use super::session::{Session, summary};
use super::{Common, Failure, Patience, id};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  dht-node lookup --bootstrap 127.0.0.1:6881 2c6b6858d61da9543d4231a71db4b1c9264b0685
  dht-node lookup --data-dir ./node 2c6b6858d61da9543d4231a71db4b1c9264b0685
      ... by the contacts that a node saved there, with no name to resolve")]
pub(crate) struct Lookup {
    /// The torrent's info-hash: 40 hexadecimal digits.
    #[arg(value_name = "INFO_HASH", value_parser = id)]
    info_hash: InfoHash,
    #[command(flatten)]
    patience: Patience,
}

impl Lookup {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut session = Session::start(common, self.patience, true)?;
        let now = session.driver.now();
        let lookup = session.driver.node_mut().get_peers(now, self.info_hash);
        let mut found = 0;
        while let Some(event) = session.next(Some(lookup)).await? {
            match event {
                Event::PeersFound { from, peers, .. } => {
                    let ms = session.elapsed_ms();
                    for peer in peers {
                        found += 1;
                        let json =
                            json!({"event": "peer", "addr": peer, "from": from, "elapsed_ms": ms});
                        session.out.result(&peer.to_string(), json)?;
                    }
                }
                Event::LookupDone { lookup: id, asked, answered, peers_found, closest, .. }
                    if id == lookup =>
                {
                    let ms = session.elapsed_ms();
                    let text = format!("{} in {ms} ms", summary(asked, answered, peers_found));
                    let json = json!({
                        "event": "done", "info_hash": self.info_hash.to_string(), "asked": asked,
                        "answered": answered, "peers": peers_found, "closest": closest.len(),
                        "elapsed_ms": ms,
                    });
                    session.out.summary(&text, json)?;
                    break;
                }
                _ => {}
            }
        }
        session.out.clear();
        match found {
            0 => Err(session.nothing("no peers found")),
            _ => Ok(()),
        }
    }
}
