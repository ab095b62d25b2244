//! `dht-node find-node`

use clap::Args;
use dht::Event;
use serde_json::json;
use wire::NodeId;

use super::session::{Session, summary};
use super::{Common, Failure, Patience, id};

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dht-node find-node --bootstrap 127.0.0.1:6881 2c6b6858d61da9543d4231a71db4b1c9264b0685")]
pub(crate) struct FindNode {
    /// The id: 40 hexadecimal digits.
    #[arg(value_name = "ID", value_parser = id)]
    target: NodeId,
    #[command(flatten)]
    patience: Patience,
}

impl FindNode {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut session = Session::start(common, self.patience, true)?;
        let now = session.driver.now();
        let lookup = session.driver.node_mut().find_node(now, self.target);
        while let Some(event) = session.next(Some(lookup)).await? {
            let Event::LookupDone { lookup: id, asked, answered, closest, .. } = event else {
                continue;
            };
            if id != lookup || closest.is_empty() {
                continue;
            }
            for node in &closest {
                let bits = node.id.common_prefix(&self.target);
                let json = json!({
                    "event": "node", "id": node.id.to_string(), "addr": node.addr,
                    "common_prefix_bits": bits,
                });
                session.out.result(&format!("{} {}", node.id, node.addr), json)?;
            }
            let ms = session.elapsed_ms();
            let json = json!({
                "event": "done", "target": self.target.to_string(), "asked": asked,
                "answered": answered, "nodes": closest.len(), "elapsed_ms": ms,
            });
            let text = summary(asked, answered, 0).replace(", 0 peers found", "");
            session.out.summary(&format!("{text} in {ms} ms"), json)?;
            return Ok(());
        }
        session.out.clear();
        Err(session.nothing("no nodes found"))
    }
}
