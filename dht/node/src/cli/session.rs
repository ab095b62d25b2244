//! A node that lives for one command.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dht::driver::{Driver, DriverConfig, PUBLIC_BOOTSTRAP};
use dht::{Event, LookupId, Node};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};
use wire::Id;
use wire::scope::is_unicast;

use super::output::Output;
use super::store::{not_saved, saved};
use super::{Common, Failure, Patience};

/// How often the line of progress is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Why a name has no address when time is up.
pub(crate) const UNNAMED: &str = "the name server does not answer";

/// A read-only node (BEP 43), the command's deadline, and where its results go.
pub(crate) struct Session {
    pub(crate) driver: Driver,
    pub(crate) out: Output,
    started: Instant,
    deadline: Instant,
    /// Bootstrap contacts, while nobody else is known.
    named: usize,
}

impl Session {
    /// Binds the sockets and names the saved and the bootstrap contacts; `needs_contacts` is false for
    /// a command that says itself whom to ask.
    pub(crate) fn start(
        common: &Common,
        patience: Patience,
        needs_contacts: bool,
    ) -> Result<Session, Failure> {
        let timeout = Duration::from_secs_f64(patience.timeout);
        let mut config = DriverConfig::default();
        config.node.read_only = true;
        config.node.lookup_wait_ms = timeout.as_millis() as u64;
        let folder = common.data_dir.as_deref().filter(|_| needs_contacts);
        config.snapshot = folder.map(saved).transpose()?.flatten();
        // The node that saved its contacts may run.
        config.node.id = Some(Id(rand::random()));
        let known = config.snapshot.as_ref().is_some_and(|saved| !saved.contacts.is_empty());
        config.bootstrap = match &common.bootstrap[..] {
            _ if !needs_contacts => Vec::new(),
            [] if known => Vec::new(),
            [] => match folder {
                Some(folder) => return Err(not_saved(folder)),
                None => PUBLIC_BOOTSTRAP.map(String::from).to_vec(),
            },
            given => given.to_vec(),
        };
        let named = if known { 0 } else { config.bootstrap.len() };
        if named > 0 {
            check_families(&config.bootstrap, &common.bind)?;
        }
        let started = Instant::now();
        Ok(Session {
            driver: bind(config, &common.bind, 0)?,
            out: Output::new(common),
            started,
            deadline: started + timeout,
            named,
        })
    }

    /// Milliseconds since the start.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The next event, or `None` once time is up. Draws the progress of `lookup` meanwhile.
    pub(crate) async fn next(
        &mut self,
        lookup: Option<LookupId>,
    ) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.driver.poll_event() {
                return Ok(Some(event));
            }
            if Instant::now() >= self.deadline {
                return Ok(None);
            }
            self.check_names()?;
            let tick = Instant::now() + PROGRESS_EVERY;
            let _ = timeout_at(tick.min(self.deadline), self.driver.turn()).await;
            if let Some(progress) = lookup.and_then(|lookup| self.driver.node().progress(lookup)) {
                let text = match progress.waiting {
                    true => "waiting for a bootstrap contact".to_owned(),
                    false => summary(progress.asked, progress.answered, progress.peers_found),
                };
                self.out.progress(&format!("asking the DHT: {text}"));
            }
        }
    }

    /// Lets the node do what it has to, until that is done or time is up.
    pub(crate) async fn turn_while(&mut self, busy: impl Fn(&Node) -> bool) {
        while busy(self.driver.node())
            && timeout_at(self.deadline, self.driver.turn()).await.is_ok()
        {}
    }

    /// Lets the node be until `end`, and starts the time of the next lookup.
    pub(crate) async fn idle(&mut self, end: Instant) {
        let patience = self.deadline - self.started;
        while timeout_at(end, self.driver.turn()).await.is_ok() {
            while self.driver.poll_event().is_some() {}
        }
        self.started = Instant::now();
        self.deadline = self.started + patience;
    }

    /// Waits for what `wanted` makes of an event of `lookup`; `None` if time was up.
    pub(crate) async fn until<T>(
        &mut self,
        lookup: LookupId,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        while let Some(event) = self.next(Some(lookup)).await? {
            if event.lookup() == Some(lookup)
                && let Some(found) = wanted(event)
            {
                self.out.clear();
                return Ok(Some(found));
            }
        }
        self.out.clear();
        Ok(None)
    }

    /// How many nodes a lookup found to have something; `None` if time was up.
    pub(crate) async fn holders(&mut self, lookup: LookupId) -> Result<Option<u32>, Failure> {
        let holders = |event| match event {
            Event::LookupDone { holders, .. } => Some(holders),
            _ => None,
        };
        self.until(lookup, holders).await
    }

    /// Fails once every bootstrap name was tried in vain.
    fn check_names(&self) -> Result<(), Failure> {
        let failed: Vec<_> =
            self.driver.unresolved().filter(|(_, error)| !error.is_empty()).collect();
        if self.named == 0 || failed.len() < self.named {
            return Ok(());
        }
        Err(unresolved(failed))
    }

    /// Why nothing came.
    pub(crate) fn nothing(&self, what: &str) -> Failure {
        let stats = self.driver.node().stats();
        if self.named > 0 && self.driver.unresolved().count() == self.named {
            let why = self.driver.unresolved().map(|(name, error)| match error {
                "" => (name, UNNAMED),
                _ => (name, error),
            });
            return unresolved(why);
        }
        let mut text = what.to_owned();
        if stats.answered + stats.errors == 0 {
            let secs = self.started.elapsed().as_secs_f64();
            text = format!("{what}: none of {} queries answered in {secs:.1} s", stats.asked);
            let unsent = self.driver.stats().send_errors;
            text += &match unsent {
                0 => "\n  is the bootstrap contact up? name another with --bootstrap HOST:PORT, \
                      or wait longer with --timeout"
                    .to_owned(),
                _ => format!("\n  {unsent} could not even be sent: can --bind reach the others?"),
            };
        }
        Failure::Nothing(text)
    }
}

/// Fails if no bootstrap contact can be asked from any of these addresses.
fn check_families(bootstrap: &[String], bind: &[SocketAddr]) -> Result<(), Failure> {
    let asked = |contact: &String| match contact.parse::<SocketAddr>() {
        Ok(addr) => {
            is_unicast(addr)
                && (bind.is_empty() || bind.iter().any(|own| own.is_ipv4() == addr.is_ipv4()))
        }
        Err(_) => true,
    };
    if bootstrap.iter().any(asked) {
        return Ok(());
    }
    let text = format!(
        "--bootstrap {}: nobody can be asked there from {}\n  name a node of the same family, with its \
         port",
        bootstrap.join(" "),
        bind.iter().map(|own| format!("--bind {own}")).collect::<Vec<_>>().join(" ")
    );
    Err(Failure::Usage(text))
}

/// No bootstrap contact has an address, for these reasons.
fn unresolved<'a>(names: impl IntoIterator<Item = (&'a str, &'a str)>) -> Failure {
    let line = |(name, error): (&str, &str)| format!("cannot resolve {name}: {error}");
    let lines: Vec<_> = names.into_iter().map(line).collect();
    let hint = "check the network, or name a node by address with --bootstrap";
    Failure::Network(format!("{}\n  {hint}", lines.join("\n       ")))
}

/// Counters of a lookup in words.
pub(crate) fn summary(asked: u32, answered: u32, peers: u32) -> String {
    format!("{asked} node{} asked, {answered} answered, {peers} peer{} found", s(asked), s(peers))
}

/// The plural's ending.
pub(crate) fn s(n: u32) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Waits for Ctrl-C, or to be told to end.
pub(crate) async fn interrupted() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Binds the given addresses, or `port` of all addresses of each family that the host has.
pub(crate) fn bind(
    config: DriverConfig,
    given: &[SocketAddr],
    port: u16,
) -> Result<Driver, Failure> {
    let twice = |(n, addr): (usize, &SocketAddr)| {
        (addr.port() != 0 && given[..n].contains(addr)).then_some(*addr)
    };
    if let Some(addr) = given.iter().enumerate().find_map(twice) {
        return Err(Failure::Usage(format!("--bind {addr} is given twice")));
    }
    match given {
        [] => Ok(Driver::bind_all(config, port)?),
        _ => Ok(Driver::bind(config, given)?),
    }
}
