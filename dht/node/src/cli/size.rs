//! `dht-node size`

use clap::Args;
use dht::Event;
use serde_json::json;
use wire::Id;
use wire::compact::Family;

use super::session::Session;
use super::{Common, Failure, Patience};

#[derive(Args, Debug)]
#[command(after_help = "\
Looks for random ids: the nearer the nodes that answer lie to them, the more there are. Those that
do not answer are not counted. Of fewer than a hundred nodes the estimate is rough.

Example:
  dht-node size --bootstrap 127.0.0.1:6881 --lookups 32")]
pub(crate) struct Size {
    /// Look for so many ids; four times as many halve the interval.
    #[arg(long, value_name = "NUMBER", default_value = "16")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    lookups: u32,
    #[command(flatten)]
    patience: Patience,
}

impl Size {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut session = Session::start(common, self.patience, true)?;
        let mut asked_in_all = 0;
        for _ in 0..self.lookups {
            let now = session.driver.now();
            let lookup = session.driver.node_mut().find_node(now, Id(rand::random()));
            let asked = session.until(lookup, |event| match event {
                Event::LookupDone { asked, .. } => Some(asked),
                _ => None,
            });
            asked_in_all += asked.await?.unwrap_or_default();
        }
        let mut found = false;
        for (family, name) in [(Family::V4, "v4"), (Family::V6, "v6")] {
            let Some(size) = session.driver.node().network_size(family) else { continue };
            found = true;
            let whole = |number: f64| number.round() as u64;
            let (nodes, low, high) = (whole(size.nodes), whole(size.low), whole(size.high));
            let json = json!({
                "event": "size", "family": name, "nodes": nodes, "low": low, "high": high,
                "lookups": size.lookups, "asked": asked_in_all,
                "elapsed_ms": session.elapsed_ms(),
            });
            let text = format!(
                "about {nodes} nodes answer in the {name} DHT ({low} to {high} with 95 % certainty)"
            );
            session.out.result(&text, json)?;
        }
        match found {
            true => Ok(()),
            false => Err(session.nothing("fewer nodes answer than an estimate needs, which is 8")),
        }
    }
}
