//! How a session is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use dht::driver::PUBLIC_BOOTSTRAP;
use tokio::sync::mpsc;

use super::events::Hub;
use super::{Session, SessionError, task};
use crate::Config;
use crate::driver::discovery::DhtOptions;
use crate::driver::engine::Options;

/// Commands that may wait for the session's thread; who has more waits.
pub(super) const COMMANDS_MAX: usize = 64;

/// Sets up a [`Session`]; made by [`Session::builder`].
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    config: Config,
    bind: Vec<SocketAddr>,
    dht: DhtOptions,
    uses_dht: bool,
    events_max: usize,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            config: Config::default(),
            bind: Vec::new(),
            dht: DhtOptions::default(),
            uses_dht: true,
            events_max: 1024,
        }
    }

    /// Listens at this address, for peers (TCP) and the DHT (UDP of the same port); repeatable, for
    /// IPv4 and IPv6, or for each address of a host. With port 0 the system chooses one, the same for
    /// all. Dials leave from these addresses, where they are no wildcards; where one is none, addresses of
    /// a family that is not among them are not dialled. Default: any port of all IPv4 addresses.
    pub fn bind(mut self, addr: SocketAddr) -> Builder {
        self.bind.push(addr);
        self
    }

    /// Names a DHT node to ask first, as `HOST:PORT`; repeatable. Default: none, which founds an
    /// overlay that others join.
    pub fn bootstrap(mut self, host_port: impl Into<String>) -> Builder {
        self.dht.bootstrap.push(host_port.into());
        self
    }

    /// Enters the public DHT by its well-known hosts, [`PUBLIC_BOOTSTRAP`].
    pub fn public(mut self) -> Builder {
        self.dht.bootstrap.extend(PUBLIC_BOOTSTRAP.map(String::from));
        self
    }

    /// Does without the DHT: only peers that are named, that come, or that other peers tell of.
    pub fn without_dht(mut self) -> Builder {
        self.uses_dht = false;
        self
    }

    /// Keeps the DHT's ids and contacts in this file: they are read at the start, and saved at the end
    /// and by [`Session::save`]. It need not exist; one that is damaged is set aside. Each session
    /// needs a file of its own. Default: nowhere.
    pub fn dht_state_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.dht.state_file = Some(path.into());
        self
    }

    /// Changes any number of the engine. Default: those of [`Config`].
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Builder {
        change(&mut self.config);
        self
    }

    /// Events that may wait for each who listens, at least one; more are lost and counted. Default
    /// 1,024.
    pub fn events_max(mut self, events: usize) -> Builder {
        self.events_max = events;
        self
    }

    /// Starts the session on a thread of its own, named `trackerless`. Returns once it listens, which
    /// waits for nothing but the state file. It needs no tokio runtime, and no other of the caller's.
    ///
    /// # Errors
    /// An address that cannot be listened on; a state file that cannot be read.
    pub fn start(self) -> Result<Session, SessionError> {
        let bind = match self.bind.is_empty() {
            true => vec![([0, 0, 0, 0], 0).into()],
            false => self.bind,
        };
        let dht = self.uses_dht.then_some(self.dht);
        let options = Options { config: self.config, bind, dht };
        let hub = Hub::new(self.events_max);
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let (started, listens) = sync_channel(1);
        thread::Builder::new()
            .name("trackerless".into())
            .spawn({
                let hub = hub.clone();
                move || task::run(options, hub, waiting, &started)
            })
            .map_err(SessionError::Thread)?;
        let listen_addrs = listens.recv().map_err(|_| SessionError::Stopped)??.into();
        Ok(Session { commands, hub, listen_addrs })
    }
}
