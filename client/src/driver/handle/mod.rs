//! A session on a thread of its own, and the handle by which others ask it.

mod add;
mod builder;
mod command;
mod error;
mod events;
mod task;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use wire::metainfo::Info;

use super::SearchProgress;
use super::engine::Change;
use crate::{TorrentKey, TorrentStats};

pub use add::Add;
pub(super) use add::What;
pub use builder::Builder;
use command::{Command, Reply};
pub use error::SessionError;
use events::Hub;
pub use events::{Event, Events};

/// A handle of a session: torrents, their peers and a DHT node, on a thread of their own.
///
/// Clones ask the same session, from any thread and any asynchronous runtime. By
/// [`Session::shutdown`], or when the last clone is dropped, it ends in good order: connections end,
/// what is verified reaches stable storage, files are closed, the DHT's contacts are saved. Who drops
/// it does not wait for that, and a process that ends meanwhile cuts it short, as a kill would (what
/// was not kept by then is checked at the next start); who calls `shutdown` waits. What still waits
/// for a session that has ended gets [`SessionError::Stopped`].
///
/// Dropping a future gives up its result and nothing else: a torrent that was to be added, paused or
/// removed will be, if the session's thread has been asked already.
///
/// ```
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use client::TorrentEvent;
/// use client::driver::{Add, Event, Session, hash_path};
///
/// # let folder = tempfile::tempdir()?;
/// # let (shared, downloads) = (folder.path().join("shared.bin"), folder.path().join("got"));
/// # std::fs::write(&shared, [7; 100_000])?;
/// // One serves a file, here without the DHT.
/// let seed = Session::builder().bind("127.0.0.1:0".parse()?).without_dht().start()?;
/// let hashed = hash_path(&shared, None, |_, _| {})?;
/// let info_hash = hashed.info.info_hash;
/// seed.add(Add::seed(hashed)).await?;
///
/// // Another fetches it by the info-hash alone; Session::builder().public() asks the public DHT.
/// let leech = Session::builder().bind("127.0.0.1:0".parse()?).without_dht().start()?;
/// let mut events = leech.events();
/// let add = Add::info_hash(info_hash, &downloads).peer(seed.listen_addrs()[0].to_string());
/// let key = leech.add(add).await?;
/// while let Some(event) = events.next().await {
///     match event {
///         Event::Torrent(_, TorrentEvent::Flushed) if leech.stats(key).await?.complete => break,
///         Event::Torrent(_, TorrentEvent::Failed(failure)) => return Err(failure.into()),
///         _ => {}
///     }
/// }
/// leech.shutdown().await?;
/// assert_eq!(std::fs::read(downloads.join("shared.bin"))?, [7; 100_000]);
/// # Ok(())
/// # }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(run()).unwrap();
/// ```
#[derive(Clone)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    hub: Arc<Hub>,
    listen_addrs: Arc<[SocketAddr]>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addrs = &self.listen_addrs;
        f.debug_struct("Session").field("listen_addrs", addrs).finish_non_exhaustive()
    }
}

impl Session {
    /// Sets up a session.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Where it listens, with the port that the system chose.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen_addrs
    }

    /// What happens from now on to all torrents, but for
    /// [`TorrentEvent::Piece`](crate::TorrentEvent::Piece): whoever only shows how far a torrent is
    /// would be woken for nothing.
    #[must_use = "events are told to who takes them"]
    pub fn events(&self) -> Events {
        self.hub.listen(false)
    }

    /// Like [`Session::events`], and each piece is told of as soon as it can be read.
    #[must_use = "events are told to who takes them"]
    pub fn events_and_pieces(&self) -> Events {
        self.hub.listen(true)
    }

    /// Adds a torrent and begins. Returns once its folder was made and looked at; what comes then is
    /// told by [`Session::events`].
    ///
    /// # Errors
    /// The torrent is there already, or private; its folder cannot be made.
    pub async fn add(&self, add: Add) -> Result<TorrentKey, SessionError> {
        self.ask(|end| Command::Add(Box::new(add), end)).await
    }

    /// Pauses a torrent: its connections end, nobody is dialled and nobody asked for peers, what is
    /// verified reaches stable storage and its files are closed. All of that is done when it returns.
    /// One that is paused already is no error.
    ///
    /// # Errors
    /// There is no such torrent; what the disk said against it, and the torrent is paused all the same.
    pub async fn pause(&self, key: TorrentKey) -> Result<(), SessionError> {
        self.ask(|end| Command::Pause(key, end)).await
    }

    /// Lets a torrent go on that is paused, or about to be; also one that failed, once it is paused.
    /// It begins as if it had just been added. One that is not paused is no error.
    ///
    /// # Errors
    /// There is no such torrent.
    pub async fn resume(&self, key: TorrentKey) -> Result<(), SessionError> {
        self.ask(|end| Command::Resume(key, end)).await
    }

    /// Pauses a torrent and forgets it; its files stay, and so does its journal, by which it could be
    /// added again. All of that is done when it returns.
    ///
    /// # Errors
    /// There is no such torrent; what the disk said against it, and the torrent is gone all the same.
    pub async fn remove(&self, key: TorrentKey) -> Result<(), SessionError> {
        self.ask(|end| Command::Remove(key, end)).await
    }

    /// Moves what is there of a torrent beneath the folder `new_root`, which is made: its files, what is
    /// kept of files that are not wanted, and its journal. It is paused for as long as that takes, and
    /// goes on from there; one that is paused stays so. Add it with `new_root` at the next start.
    ///
    /// Files are linked to their new names where both folders are on one file system, and copied where
    /// not; the old ones go when all of it is on stable storage in the new place. If that fails it goes
    /// on from where it was, with all that it had; so does one whose session is ended meanwhile. A crash
    /// leaves it whole in the old folder or in the new one. Where a file system has no links a file is
    /// renamed, and a crash can then leave some in each: none of them is lost, and what is missing in
    /// a folder does not count as kept there.
    ///
    /// # Errors
    /// There is no such torrent; its files are being moved or renamed already; there is something in
    /// the place of one of them, before anything is moved; no space, or what else the disk says.
    pub async fn move_storage(
        &self,
        key: TorrentKey,
        new_root: impl Into<PathBuf>,
    ) -> Result<(), SessionError> {
        let change = Change::Root(new_root.into());
        self.ask(|end| Command::Relocate(key, change, end)).await
    }

    /// Gives a file another path beneath the torrent's folder: its elements, joined by `/`. `file` is its
    /// number in the info dict, from 0, and it need not be there yet. The torrent is paused for as long
    /// as that takes, and goes on if it was not. The next start finds the file under that path, by a
    /// record in the folder `.trackerless`; [`Session::info`] gives the torrent's own.
    ///
    /// # Errors
    /// There is no such torrent or file; the info dict is not known yet; its files are being moved or
    /// renamed already; no torrent could have that path, or another file of it is there, or something
    /// else; what the disk says. The file is where it was then.
    pub async fn rename_file(
        &self,
        key: TorrentKey,
        file: u32,
        path: impl Into<String>,
    ) -> Result<(), SessionError> {
        let change = Change::Name { file, path: path.into() };
        self.ask(|end| Command::Relocate(key, change, end)).await
    }

    /// The info dict of a torrent; `None` while it is not known. Of a dormant torrent it is read from
    /// its journal.
    ///
    /// # Errors
    /// There is no such torrent; its journal cannot be read.
    pub async fn info(&self, key: TorrentKey) -> Result<Option<Arc<Info>>, SessionError> {
        self.ask(|end| Command::Info(key, end)).await
    }

    /// Figures of a torrent.
    ///
    /// # Errors
    /// There is no such torrent.
    pub async fn stats(&self, key: TorrentKey) -> Result<TorrentStats, SessionError> {
        self.ask(|end| Command::Stats(key, end)).await
    }

    /// All torrents with their figures, in the order in which they were added.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn list(&self) -> Result<Vec<(TorrentKey, TorrentStats)>, SessionError> {
        self.ask(Command::List).await
    }

    /// Like [`Session::list`], but of the torrents of which anything may change: all but those that
    /// have all, and of which nobody wants anything.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn active(&self) -> Result<Vec<(TorrentKey, TorrentStats)>, SessionError> {
        self.ask(Command::Active).await
    }

    /// How the search for a torrent's peers goes in the DHT.
    ///
    /// # Errors
    /// There is no such torrent.
    pub async fn search(&self, key: TorrentKey) -> Result<SearchProgress, SessionError> {
        self.ask(|end| Command::Search(key, end)).await
    }

    /// Names of bootstrap nodes that have no address yet, each with the resolver's last error: what to
    /// tell a user who waits. They are tried again.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn unresolved(&self) -> Result<Vec<(String, String)>, SessionError> {
        self.ask(Command::Unresolved).await
    }

    /// Brings what is verified of all torrents to stable storage, and saves the DHT's contacts, if
    /// there is a file for them. Torrents do the first by themselves too, within a few seconds and when
    /// they are complete.
    ///
    /// # Errors
    /// What the disk said against it.
    pub async fn save(&self) -> Result<(), SessionError> {
        self.ask(Command::Save).await
    }

    /// Ends the session, for all clones; its sockets and files are closed and all is saved when it
    /// returns. A session that has ended already is no error.
    ///
    /// # Errors
    /// What the disk said against it; the session has ended all the same.
    pub async fn shutdown(self) -> Result<(), SessionError> {
        match self.ask(Command::Shutdown).await {
            Err(SessionError::Stopped) => Ok(()),
            ended => ended,
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, SessionError> {
        let (end, ended) = oneshot::channel();
        self.commands.send(command(end)).await.map_err(|_| SessionError::Stopped)?;
        ended.await.map_err(|_| SessionError::Stopped)?
    }
}
