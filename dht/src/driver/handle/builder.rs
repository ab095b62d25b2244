//! How a node with a handle is set up.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};
use wire::NodeId;

use super::saver::Saver;
use super::task::Task;
use super::{Dht, DhtError};
use crate::Config;
use crate::driver::socket::Socket;
use crate::driver::{Driver, DriverConfig, PUBLIC_BOOTSTRAP, StateFile};

/// Commands that may wait for the node's task; who has more waits.
const COMMANDS_MAX: usize = 64;

/// A socket that the caller names.
enum Given {
    Address(SocketAddr),
    Std(std::net::UdpSocket),
    Tokio(UdpSocket),
}

/// Sets up a [`Dht`]; made by [`Dht::builder`].
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    driver: DriverConfig,
    sockets: Vec<Given>,
    state_file: Option<StateFile>,
    save_every: Duration,
    join_timeout: Duration,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            driver: DriverConfig::default(),
            sockets: Vec::new(),
            state_file: None,
            save_every: Duration::from_secs(300),
            join_timeout: Duration::from_secs(15),
        }
    }

    /// Binds a UDP socket to this address; repeatable, up to 255 times. To others the node is one of its
    /// own at each (BEP 45): name addresses, not ports of one. Default: a port that the system chooses,
    /// on all addresses of IPv4 and, where the host has it, of IPv6.
    pub fn bind(mut self, addr: SocketAddr) -> Builder {
        self.sockets.push(Given::Address(addr));
        self
    }

    /// Takes a socket that is bound already, and reads it alone; repeatable. One of IPv6 must carry
    /// IPv6 only.
    pub fn socket(mut self, socket: std::net::UdpSocket) -> Builder {
        self.sockets.push(Given::Std(socket));
        self
    }

    /// Like [`Builder::socket`], with a socket of tokio.
    pub fn tokio_socket(mut self, socket: UdpSocket) -> Builder {
        self.sockets.push(Given::Tokio(socket));
        self
    }

    /// Names a node to ask first, as `HOST:PORT`; repeatable. Default: none, which founds an overlay
    /// that others join.
    pub fn bootstrap(mut self, host_port: impl Into<String>) -> Builder {
        self.driver.bootstrap.push(host_port.into());
        self
    }

    /// Joins the public DHT by its well-known hosts, [`PUBLIC_BOOTSTRAP`].
    pub fn public(mut self) -> Builder {
        self.driver.bootstrap.extend(PUBLIC_BOOTSTRAP.map(String::from));
        self
    }

    /// Keeps ids and contacts in this file: they are read at the start, and saved from time to time
    /// and at the end. It need not exist; one that is damaged is set aside. Each node needs a file of its
    /// own. Default: nowhere.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.state_file = Some(StateFile::new(path));
        self
    }

    /// Time between two saves, at least 10 ms. Default 300 s.
    pub fn save_every(mut self, pause: Duration) -> Builder {
        self.save_every = pause;
        self
    }

    /// Asks and does not answer (BEP 43), for who lives shortly or cannot be reached. Default false.
    pub fn read_only(mut self, read_only: bool) -> Builder {
        self.driver.node.read_only = read_only;
        self
    }

    /// The address that the world sees the first socket of its family at; the id there is made to fit it
    /// (BEP 42). Default: learned from those who answer.
    pub fn external_ip(mut self, ip: IpAddr) -> Builder {
        self.driver.node.external_ip = Some(ip);
        self
    }

    /// The node's id at its first socket; those at others differ from it in their highest bits. Default:
    /// the saved ones, else random ones.
    pub fn id(mut self, id: NodeId) -> Builder {
        self.driver.node.id = Some(id);
        self
    }

    /// How long [`Dht::bootstrapped`] waits. Default 15 s; the node itself never gives up.
    pub fn join_timeout(mut self, limit: Duration) -> Builder {
        self.join_timeout = limit;
        self
    }

    /// Changes any number of the node; `sockets` is filled in later. Default: those of [`Config`].
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Builder {
        change(&mut self.driver.node);
        self
    }

    /// Starts the node in a task of the current tokio runtime, which must have time and I/O enabled.
    /// Reads the state file before it returns.
    pub fn start(mut self) -> Result<Dht, DhtError> {
        let runtime = Handle::try_current().map_err(|_| DhtError::NoRuntime)?;
        if let Some(file) = &self.state_file {
            self.driver.snapshot = file.load_or_set_aside()?;
        }
        // A channel has bounds of its own.
        let lookup_peers_max = self.driver.node.lookup_peers_max.clamp(1, Semaphore::MAX_PERMITS);
        let driver = match &self.sockets[..] {
            [] => Driver::bind_all(self.driver, 0)?,
            _ => {
                let room = self.driver.receive_buffer_bytes;
                let sockets = self.sockets.into_iter().map(|given| open(given, room));
                let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
                Driver::start(self.driver, sockets)?
            }
        };
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let gone = Arc::new(Notify::new());
        let saver = self.state_file.map(|file| Saver::new(file, self.save_every));
        runtime.spawn(Task::new(driver, gone.clone(), saver).run(waiting));
        Ok(Dht { commands, gone, join_timeout: self.join_timeout, lookup_peers_max })
    }
}

fn open(given: Given, receive_buffer: usize) -> Result<Socket, DhtError> {
    let socket = match given {
        Given::Address(addr) => return Ok(Socket::bind(addr, receive_buffer)?),
        Given::Std(socket) => {
            socket.set_nonblocking(true).map_err(DhtError::Socket)?;
            UdpSocket::from_std(socket).map_err(DhtError::Socket)?
        }
        Given::Tokio(socket) => socket,
    };
    Socket::new(socket, receive_buffer).map_err(DhtError::Socket)
}
