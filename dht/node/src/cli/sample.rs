//! `dht-node sample`

use std::collections::BTreeSet;

use clap::Args;
use dht::Event;
use serde_json::json;
use wire::Id;

use super::session::Session;
use super::{Common, Failure, Patience, id};

#[derive(Args, Debug)]
#[command(after_help = "\
A node tells a few of the torrents that it knows peers of, and others after six hours or less
(BEP 51).

Examples:
  dht-node sample --bootstrap 127.0.0.1:6881
      from the nodes on the way to a random id
  dht-node sample --bootstrap 127.0.0.1:6881 2c6b6858d61da9543d4231a71db4b1c9264b0685
      ... to this one")]
pub(crate) struct Sample {
    /// Ask the nodes on the way to this id: 40 hexadecimal digits. A random one if none is given.
    #[arg(value_name = "ID", value_parser = id)]
    target: Option<Id>,
    #[command(flatten)]
    patience: Patience,
}

impl Sample {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut session = Session::start(common, self.patience, true)?;
        let now = session.driver.now();
        let target = self.target.unwrap_or_else(|| Id(rand::random()));
        let lookup = session.driver.node_mut().sample_infohashes(now, target);
        let (mut told, mut nodes) = (BTreeSet::new(), 0);
        while let Some(event) = session.next(Some(lookup)).await? {
            match event {
                Event::SamplesFound { from, num, interval_secs, info_hashes, .. } => {
                    nodes += 1;
                    let new = info_hashes.into_iter().filter(|hash| told.insert(*hash));
                    for info_hash in new.collect::<Vec<_>>() {
                        let json = json!({
                            "event": "sample", "info_hash": info_hash.to_string(),
                            "from": from.addr, "num": num, "interval_s": interval_secs,
                        });
                        session.out.result(&info_hash.to_string(), json)?;
                    }
                }
                Event::LookupDone { lookup: id, asked, answered, .. } if id == lookup => {
                    let (ms, len) = (session.elapsed_ms(), told.len());
                    let json = json!({
                        "event": "done", "target": target.to_string(), "asked": asked,
                        "answered": answered, "nodes": nodes, "info_hashes": len,
                        "elapsed_ms": ms,
                    });
                    let text = format!(
                        "{len} info-hashes of {nodes} nodes; {asked} asked, {answered} answered, in {ms} ms"
                    );
                    session.out.summary(&text, json)?;
                    break;
                }
                _ => {}
            }
        }
        session.out.clear();
        match told.len() {
            0 => Err(session.nothing("no node gave samples")),
            _ => Ok(()),
        }
    }
}
