//! `dht-node ping`

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use dht::Event;
use serde_json::json;
use tokio::time::timeout;

use super::session::{Session, UNNAMED};
use super::{Common, Failure, Patience, host_port};

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dht-node ping 127.0.0.1:6881")]
pub(crate) struct Ping {
    /// The node to ask.
    #[arg(value_name = "HOST:PORT", value_parser = host_port)]
    node: String,
    #[command(flatten)]
    patience: Patience,
}

impl Ping {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let addr = resolve(&self.node, self.patience).await?;
        let mut session = Session::start(common, self.patience, false)?;
        let now = session.driver.now();
        let mut ping = session.driver.node_mut().ping(now, addr);
        while let Some(event) = session.next(None).await? {
            match event {
                Event::PingReply { ping: id, node, rtt } if id == ping => {
                    let ms = rtt.as_secs_f64() * 1e3;
                    let json = json!({
                        "event": "pong", "id": node.id.to_string(), "addr": node.addr, "rtt_ms": ms,
                    });
                    session.out.result(&format!("{} {} {ms:.3} ms", node.id, node.addr), json)?;
                    return Ok(());
                }
                Event::PingFailed { .. } if session.driver.stats().send_errors > 0 => break,
                // A datagram may be lost: asked again until time is up.
                Event::PingFailed { ping: id, .. } if id == ping => {
                    let now = session.driver.now();
                    ping = session.driver.node_mut().ping(now, addr);
                }
                _ => {}
            }
        }
        Err(session.nothing(&format!("no answer from {addr}")))
    }
}

async fn resolve(name: &str, patience: Patience) -> Result<SocketAddr, Failure> {
    let failed = |error: &str| {
        Failure::Network(format!("cannot resolve {name}: {error}\n  give the node's IP address"))
    };
    let limit = Duration::from_secs_f64(patience.timeout);
    let found = timeout(limit, tokio::net::lookup_host(name)).await;
    let mut addrs = found.map_err(|_| failed(UNNAMED))?.map_err(|e| failed(&e.to_string()))?;
    addrs.next().ok_or_else(|| failed("no address"))
}
