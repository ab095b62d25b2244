//! `dht-node bootstrap`

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use dht::driver::{Driver, DriverConfig, PUBLIC_BOOTSTRAP, StateFile};
use dht::{Event, Snapshot};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use wire::compact::Family;

use super::output::Output;
use super::session::{UNNAMED, bind};
use super::status::{StatusSocket, describe, own, words};
use super::store::Store;
use super::{Common, Failure};

/// The port that most nodes of the public DHT use.
const PORT: u16 = 6881;
/// How often ids and contacts are saved.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// The first time, so that others can start from a new node soon.
const FIRST_SAVE: Duration = Duration::from_secs(10);
/// A node that has not joined after this says why.
const DOUBT_AFTER: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
#[command(after_help = "\
Without --bootstrap and --public the node asks nobody but the contacts that it saved: it founds an
overlay of its own, which others join by naming its address. With --data-dir it keeps its ids and its
contacts, to start warm the next time; without, nothing. On SIGUSR1 it says how it is; with a
data folder `dht-node status` asks it.

On a host with several addresses name each with --bind: to others the node is one of its own at each
of them (BEP 45), and lookups go by them in turn. Name addresses in different networks (/24, v6: /64),
of each of which others count one, and not two ports of one address.

Examples:
  dht-node bootstrap --bind 127.0.0.1:6881 --data-dir ./first
  dht-node bootstrap --bind 127.0.0.1:6882 --data-dir ./second --bootstrap 127.0.0.1:6881
  dht-node bootstrap --public --data-dir ./node
  dht-node bootstrap --public --bind 192.0.2.1:6881 --bind 198.51.100.1:6881 --bind [2001:db8::1]:6881")]
pub(crate) struct Bootstrap {
    /// Join the public DHT by its well-known bootstrap hosts.
    #[arg(long, conflicts_with = "bootstrap")]
    public: bool,

    /// The address that the world sees the first --bind of its family at: the id there is made to fit it
    /// (BEP 42). Default, and for the others: learned from those who answer.
    #[arg(long, value_name = "IP")]
    external_ip: Option<IpAddr>,
}

impl Bootstrap {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        let data_dir = common.data_dir.as_deref();
        let store = data_dir.map(Store::open).transpose()?;
        let mut config = DriverConfig::default();
        config.node.external_ip = self.external_ip;
        config.bootstrap = match self.public {
            true => PUBLIC_BOOTSTRAP.map(String::from).to_vec(),
            false => common.bootstrap.clone(),
        };
        config.snapshot = store.as_ref().and_then(Store::load);
        let mut driver = bind(config, &common.bind, PORT)?;
        let mut signals = Signals::listen()?;
        // Not worth failing for: a folder's path may be too long for a socket.
        let status = data_dir.and_then(|folder| {
            StatusSocket::bind(folder)
                .inspect_err(|error| tracing::warn!(%error, "`dht-node status` will not work"))
                .ok()
        });
        // Whoever reads it may ask, and stop the node, at once.
        let mut out = Output::new(common);
        say_ready(&driver, &mut out)?;
        serve(&mut driver, &mut out, store.as_ref(), status.as_ref(), &mut signals).await;
        if let Some(store) = &store {
            store.file.save(&driver.node().snapshot())?;
        }
        say_end(&driver, &mut out);
        Ok(())
    }
}

/// What a running node is told.
struct Signals {
    status: Signal,
    interrupt: Signal,
    terminate: Signal,
    /// The terminal was closed.
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            status: signal(SignalKind::user_defined1())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Turns the driver until a signal comes.
async fn serve(
    driver: &mut Driver,
    out: &mut Output,
    store: Option<&Store>,
    status: Option<&StatusSocket>,
    signals: &mut Signals,
) {
    let started = Instant::now();
    let mut save_at = Instant::now() + FIRST_SAVE;
    let mut saving = None;
    let (doubt_at, mut told) = (started + DOUBT_AFTER, false);
    loop {
        tokio::select! {
            () = driver.turn() => {}
            _ = signals.status.recv() => {
                let json = describe(driver, started);
                let _ = out.summary(&words(&json), json);
            }
            stream = next_asker(status) => {
                StatusSocket::answer(stream, &describe(driver, started));
            }
            _ = signals.interrupt.recv() => break,
            _ = signals.terminate.recv() => break,
            _ = signals.hangup.recv() => break,
            () = sleep_until(doubt_at), if !told && !driver.node().is_bootstrapped() => {
                told = true;
                tell_doubt(driver);
            }
            () = sleep_until(save_at) => {
                save_at = Instant::now() + SAVE_EVERY;
                if let Some(store) = store {
                    let (file, snapshot) = (store.file.clone(), driver.node().snapshot());
                    // A disk may be slow, and the node must not wait for it.
                    saving = Some(tokio::task::spawn_blocking(move || save(&file, &snapshot)));
                }
            }
        }
        while let Some(event) = driver.poll_event() {
            if let Event::Bootstrapped { contacts } = event {
                let json = json!({"event": "joined", "contacts": contacts});
                let s = if contacts == 1 { "" } else { "s" };
                // A node serves on when nobody reads what it says.
                let _ = out.summary(&format!("joined the overlay: {contacts} contact{s}"), json);
            }
        }
    }
    if let Some(saving) = saving {
        let _ = saving.await;
    }
}

/// Says why it has not joined yet, if it is to.
fn tell_doubt(driver: &Driver) {
    for (name, error) in driver.unresolved() {
        let error = if error.is_empty() { UNNAMED } else { error };
        tracing::warn!("cannot resolve {name}: {error}; trying on");
    }
    if driver.node().stats().asked > 0 {
        tracing::warn!("nobody whom this node asked has answered yet; trying on");
    }
}

/// Who asks for the status next; nobody if there is no socket.
async fn next_asker(status: Option<&StatusSocket>) -> tokio::net::UnixStream {
    match status {
        Some(status) => status.asker().await,
        None => std::future::pending().await,
    }
}

fn save(file: &StateFile, snapshot: &Snapshot) {
    if let Err(error) = file.save(snapshot) {
        tracing::error!(%error, "cannot save the contacts; trying again later");
    }
}

fn say_ready(driver: &Driver, out: &mut Output) -> Result<(), Failure> {
    let known = driver.node().contacts().len();
    let at: Vec<_> = own(driver).map(|(id, addr)| format!("{id} listening on {addr}")).collect();
    let (ids, addrs): (Vec<_>, Vec<_>) = own(driver).unzip();
    let json = json!({"event": "ready", "ids": ids, "addrs": addrs, "saved_contacts": known});
    let text = format!("node {}", at.join(", "));
    out.result(&text, json)?;
    Ok(())
}

fn say_end(driver: &Driver, out: &mut Output) {
    let node = driver.node();
    let (v4, v6) = (node.table_len(Family::V4), node.table_len(Family::V6));
    let stats = node.stats();
    let (received, sent) = (stats.received, stats.sent);
    let text =
        format!("stopped with {} contacts after {received} datagrams in, {sent} out", v4 + v6);
    let json = json!({
        "event": "stopped", "contacts_v4": v4, "contacts_v6": v6, "received": received, "sent": sent,
    });
    let _ = out.summary(&text, json);
}
