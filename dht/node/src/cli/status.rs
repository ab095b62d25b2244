//! What a running node says of itself: on SIGUSR1, and to `dht-node status` over a socket in its data
//! folder.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use dht::Status as Contact;
use dht::driver::Driver;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;
use wire::compact::Family;

use super::output::Output;
use super::{Common, Failure};

/// The socket's name in the data folder.
const SOCKET: &str = "status.sock";
/// More than a node says.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// A node that turns answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  dht-node bootstrap --data-dir ./node &
  dht-node status --data-dir ./node --json")]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let Some(folder) = &common.data_dir else {
            return Err(Failure::Usage("status needs the --data-dir of the running node".into()));
        };
        let path = folder.join(SOCKET);
        let failed = |error: io::Error| {
            let hint = "is a `dht-node bootstrap --data-dir` of this folder running?";
            Failure::Nothing(format!("{}: {error}\n  {hint}", path.display()))
        };
        let stream = StdStream::connect(&path).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(failed)?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(failed)?;
        let json: Value = serde_json::from_str(&answer)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Ok(Output::new(common).result(&words(&json), json)?)
    }
}

/// What the node says, as JSON.
pub(super) fn describe(driver: &Driver, started: Instant) -> Value {
    let node = driver.node();
    let (stats, (torrents, peers), (items, item_bytes)) =
        (node.stats(), node.stored(), node.stored_items());
    let (ids, addrs): (Vec<_>, Vec<_>) = own(driver).unzip();
    let queries = stats.queries_ping
        + stats.queries_find_node
        + stats.queries_get_peers
        + stats.queries_announce
        + stats.queries_get
        + stats.queries_put
        + stats.queries_sample;
    let dropped = stats.dropped_quota + stats.dropped_budget + stats.dropped_busy;
    let size = |family| node.network_size(family).map(|size| size.nodes.round() as u64);
    let external_ips: Vec<_> = node.sockets().map(|socket| node.external_ip(socket)).collect();
    let bad = node.contacts().iter().filter(|contact| contact.status == Contact::Bad).count();
    let down: Vec<_> = node.sockets().map(|socket| node.is_down(socket)).collect();
    json!({
        "event": "status", "ids": ids, "addrs": addrs, "external_ips": external_ips, "down": down,
        "uptime_s": started.elapsed().as_secs(), "joined": node.is_bootstrapped(),
        "contacts_v4": node.table_len(Family::V4), "contacts_v6": node.table_len(Family::V6),
        "contacts_bad": bad,
        "nodes_v4": size(Family::V4), "nodes_v6": size(Family::V6),
        "torrents": torrents, "peers": peers, "items": items, "item_bytes": item_bytes,
        "queries": queries, "refused": dropped, "asked": stats.asked,
        "answered": stats.answered, "timeouts": stats.timeouts, "held": node.held(),
        "in_flight": node.in_flight(), "received": stats.received,
        "received_bytes": stats.received_bytes, "sent": stats.sent, "sent_bytes": stats.sent_bytes,
    })
}

/// The node's id at each of its sockets, and where that is.
pub(super) fn own(driver: &Driver) -> impl Iterator<Item = (String, String)> {
    let ids = driver.node().ids().iter().map(ToString::to_string);
    ids.zip(driver.local_addrs().map(|addr| addr.to_string()))
}

/// The same in a line.
pub(super) fn words(json: &Value) -> String {
    let n = |key: &str| json[key].as_u64().unwrap_or(0);
    let joined = if json["joined"] == true { "joined" } else { "not joined yet" };
    let down = (0..).zip(json["down"].as_array().into_iter().flatten());
    let down = down.filter(|(_, down)| **down == true).map(|(n, _): (usize, _)| {
        format!("; nobody answers by {}", json["addrs"][n].as_str().unwrap_or("?"))
    });
    let down: String = down.collect();
    let list = |key: &str| {
        let values = json[key].as_array().into_iter().flatten();
        values.map(|value| value.as_str().unwrap_or("?")).collect::<Vec<_>>()
    };
    let at = list("ids").into_iter().zip(list("addrs"));
    let at: Vec<_> = at.map(|(id, addr)| format!("{id} at {addr}")).collect();
    format!(
        "node {} up {} s, {joined}: {} contacts that answer, {} that do not; keeps {} peers of {} \
         torrents and {} items; answered {} queries, refused {}; asked {}, {} without answer{down}",
        at.join(", "),
        n("uptime_s"),
        n("contacts_v4") + n("contacts_v6") - n("contacts_bad"),
        n("contacts_bad"),
        n("peers"),
        n("torrents"),
        n("items"),
        n("queries"),
        n("refused"),
        n("asked"),
        n("timeouts"),
    )
}

/// The socket by which a node tells its status.
pub(super) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Listens in the data folder, which nobody else uses: what is there is left over.
    pub(super) fn bind(folder: &Path) -> io::Result<StatusSocket> {
        let path = folder.join(SOCKET);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(StatusSocket { listener, path })
    }

    /// Who asks next.
    pub(super) async fn asker(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                // Out of descriptors: not at once again.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// Tells one who asks. It fits into the socket's buffer: who does not read holds nobody up.
    pub(super) fn answer(stream: UnixStream, json: &Value) {
        let _ = stream.try_write(format!("{json}\n").as_bytes());
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
