//! A node in a task of its own, and the handle by which others ask it.

mod builder;
mod command;
mod error;
mod peers;
mod saver;
mod task;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use wire::{Id, InfoHash, NodeId};

use crate::{ContactInfo, Item, ItemKey, Snapshot};

pub use builder::Builder;
pub use command::{Announced, Info, LookupSummary, Pong, Samples, Scraped, Stored};
use command::{Command, Reply};
pub use error::DhtError;
pub use peers::Peers;

/// A handle of a DHT node that runs in a task of its own.
///
/// Clones ask the same node. When the last of them is dropped, or by [`Dht::shutdown`], the node
/// ends; what still waits for it then gets [`DhtError::Stopped`]. Dropping a future or [`Peers`]
/// cancels what it waits for.
///
/// ```
/// # async fn run() -> Result<(), dht::driver::DhtError> {
/// use dht::driver::{Dht, Testnet};
///
/// let testnet = Testnet::new(4).await?; // or Dht::builder().public() for the real one
/// let dht = Dht::builder().bootstrap(testnet.bootstrap_addrs()[0].to_string()).start()?;
/// dht.bootstrapped().await?;
///
/// let info_hash = dht::wire::Id([0x77; 20]);
/// dht.announce(info_hash, 6881).await?;
/// let mut peers = dht.get_peers(info_hash).await?;
/// assert_eq!(peers.next().await, Some("127.0.0.1:6881".parse().unwrap()));
/// # Ok(())
/// # }
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(run()).unwrap();
/// ```
#[derive(Clone)]
pub struct Dht {
    commands: mpsc::Sender<Command>,
    gone: Arc<Notify>,
    join_timeout: Duration,
    lookup_peers_max: usize,
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dht").finish_non_exhaustive()
    }
}

impl Dht {
    /// Sets up a node.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Waits until the node has joined the DHT. It is an error that there is nobody to ask, that no
    /// bootstrap host can be resolved, and that nobody answered within [`Builder::join_timeout`].
    /// The node itself goes on trying; lookups before it has joined wait for it.
    pub async fn bootstrapped(&self) -> Result<(), DhtError> {
        match timeout(self.join_timeout, self.ask(Command::Joined)).await {
            Ok(joined) => joined?,
            Err(_) => self.ask(Command::WhyNotJoined).await?,
        }
    }

    /// Looks for the peers of a torrent (BEP 5, "get_peers").
    ///
    /// While the node knows nobody, the lookup waits for up to
    /// [`crate::Config::lookup_wait_ms`]; then it ends without peers.
    pub async fn get_peers(&self, info_hash: InfoHash) -> Result<Peers, DhtError> {
        let (found, peers) = mpsc::channel(self.lookup_peers_max);
        let (end, ended) = self.answer();
        self.send(Command::GetPeers { info_hash, peers: found, end }).await?;
        Ok(Peers { peers, end: ended })
    }

    /// Tells the nodes closest to a torrent that we are a peer of it, on this TCP port or, by `None`
    /// or 0, on the UDP port that they see (BEP 5, "announce_peer", `implied_port`). They forget it
    /// after 30 to 45 minutes: announce again before.
    pub async fn announce(
        &self,
        info_hash: InfoHash,
        port: impl Into<Option<u16>>,
    ) -> Result<Announced, DhtError> {
        let (port, seed) = (port.into(), false);
        self.ask(|end| Command::Announce { info_hash, port, seed, end }).await?
    }

    /// Like [`Dht::announce`], for who has the whole torrent: scrapes count it as a seed, and it is
    /// told of no other seeds (BEP 33).
    pub async fn announce_seed(
        &self,
        info_hash: InfoHash,
        port: impl Into<Option<u16>>,
    ) -> Result<Announced, DhtError> {
        let (port, seed) = (port.into(), true);
        self.ask(|end| Command::Announce { info_hash, port, seed, end }).await?
    }

    /// Looks for an item (BEP 44), of a mutable one for the newest; `None` if no node has it, or with
    /// `seq`, none that is newer. What is returned was verified.
    pub async fn get(&self, key: ItemKey, seq: Option<i64>) -> Result<Option<Item>, DhtError> {
        self.ask(|end| Command::Get { key, seq, end }).await?
    }

    /// Has the nodes closest to an item store it (BEP 44); with `cas`, only in place of one with this
    /// sequence number. They forget it after two hours: put it again before. That nobody accepted it
    /// is no error: [`Stored`] tells why.
    pub async fn put(&self, item: Item, cas: Option<i64>) -> Result<Stored, DhtError> {
        self.ask(|end| Command::Put { item, cas, end }).await?
    }

    /// Counts the seeds and the peers of a torrent (BEP 33).
    pub async fn scrape(&self, info_hash: InfoHash) -> Result<Scraped, DhtError> {
        self.ask(|end| Command::Scrape { info_hash, end }).await?
    }

    /// Asks the nodes on the way to an id which torrents they know (BEP 51, "sample_infohashes"), each
    /// that gave samples before only after the interval that it told. That none gave any is no error,
    /// and that none answered is one.
    pub async fn sample_infohashes(&self, target: Id) -> Result<Vec<Samples>, DhtError> {
        self.ask(|end| Command::Sample { target, end }).await?
    }

    /// Looks for the nodes closest to an id (BEP 5, "find_node"), which the summary has. That no node
    /// answered is an error.
    pub async fn find_node(&self, target: NodeId) -> Result<LookupSummary, DhtError> {
        self.ask(|end| Command::FindNode { target, end }).await?
    }

    /// Asks one address whether a node is there (BEP 5, "ping"); no answer within
    /// [`crate::Config::hard_timeout_ms`] is an error.
    pub async fn ping(&self, addr: SocketAddr) -> Result<Pong, DhtError> {
        self.ask(|end| Command::Ping { addr, end }).await?
    }

    /// Names a further bootstrap contact as `HOST:PORT`.
    pub async fn bootstrap(&self, host_port: impl Into<String>) -> Result<(), DhtError> {
        self.send(Command::Bootstrap(host_port.into())).await
    }

    /// Tells of a node, as a peer's `port` message does (BEP 5, "BitTorrent Protocol Extension"); it
    /// becomes a contact if it answers.
    pub async fn add_node(&self, addr: SocketAddr) -> Result<(), DhtError> {
        self.send(Command::AddNode(addr)).await
    }

    /// What the node is and knows.
    pub async fn info(&self) -> Result<Info, DhtError> {
        self.ask(Command::Info).await
    }

    /// Every contact of the routing tables.
    pub async fn contacts(&self) -> Result<Vec<ContactInfo>, DhtError> {
        self.ask(Command::Contacts).await
    }

    /// Ids and contacts, for who keeps them elsewhere than in a state file.
    pub async fn snapshot(&self) -> Result<Snapshot, DhtError> {
        self.ask(Command::Snapshot).await
    }

    /// Saves ids and contacts to the state file; they are on stable storage when it returns.
    pub async fn save(&self) -> Result<(), DhtError> {
        self.ask(Command::Save).await?
    }

    /// Ends the node, for all clones: its sockets are closed and its state is saved when it returns.
    /// A node that has ended already is no error.
    pub async fn shutdown(self) -> Result<(), DhtError> {
        match self.ask(Command::Shutdown).await {
            Ok(saved) => saved,
            Err(_) => Ok(()),
        }
    }

    async fn send(&self, command: Command) -> Result<(), DhtError> {
        self.commands.send(command).await.map_err(|_| DhtError::Stopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, DhtError> {
        let (end, ended) = self.answer();
        self.send(command(end)).await?;
        ended.get().await
    }

    fn answer<T>(&self) -> (Reply<T>, Answer<T>) {
        let (end, ended) = oneshot::channel();
        (end, Answer { ended, _gone: Gone(self.gone.clone()) })
    }
}

/// What somebody waits for.
struct Answer<T> {
    // Dropped before the task is woken to look for it.
    ended: oneshot::Receiver<T>,
    _gone: Gone,
}

impl<T> Answer<T> {
    async fn get(mut self) -> Result<T, DhtError> {
        (&mut self.ended).await.map_err(|_| DhtError::Stopped)
    }
}

/// Wakes the task when it is dropped.
struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
