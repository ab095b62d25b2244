//! The thread of a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::builder::COMMANDS_MAX;
use super::command::{Command, Reply};
use super::events::{Ends, Hub};
use super::{Add, SessionError};
use crate::TorrentKey;
use crate::driver::engine::{Engine, Options, Prepared, prepare};

/// Threads that look at the folders and journals of what is to be added; with more commands wait.
const PREPARING_MAX: usize = 16;
/// Torrents that one of them looks at: a wake costs more than one look.
const PREPARED_TOGETHER: usize = 4;

/// How a session ended, and who waits for that.
type Ended = (Result<(), SessionError>, Option<Reply<()>>);

/// Runs a session until it is told to end, or nobody is left to tell it anything. `started` hears
/// where it listens.
pub(super) fn run(
    options: Options,
    hub: Arc<Hub>,
    commands: mpsc::Receiver<Command>,
    started: &SyncSender<Result<Vec<SocketAddr>, SessionError>>,
) {
    let ends = Ends(hub.clone());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(SessionError::Thread(error)))),
    };
    let local = LocalSet::new();
    let ended: Option<Ended> = local.block_on(&runtime, async {
        let engine = match Engine::start(options) {
            Ok((engine, addrs)) => {
                let _ = started.send(Ok(addrs));
                engine
            }
            Err(error) => {
                let _ = started.send(Err(error));
                return None;
            }
        };
        Some(Task { engine, hub, preparing: JoinSet::new() }.run(commands).await)
    });
    // Closes the sockets, and ends the disk's threads with what they were given.
    drop(local);
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    drop(ends);
    match ended {
        Some((result, Some(end))) => drop(end.send(result)),
        Some((Err(error), None)) => tracing::warn!(%error, "the session did not end well"),
        _ => {}
    }
}

/// What may be added, and who waits for that.
type Ready = (Result<Prepared, SessionError>, Reply<TorrentKey>);

/// The engine, and torrents that are about to be added to it.
struct Task {
    engine: Engine,
    hub: Arc<Hub>,
    preparing: JoinSet<Vec<Ready>>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Ended {
        let mut taken = Vec::new();
        let end = 'run: loop {
            tokio::select! {
                () = self.engine.reactor.event_wake.notified() => {}
                count = commands.recv_many(&mut taken, COMMANDS_MAX),
                    if self.preparing.len() < PREPARING_MAX =>
                {
                    if count == 0 {
                        break None;
                    }
                    let mut adding = Vec::new();
                    for command in taken.drain(..) {
                        match command {
                            Command::Shutdown(end) => break 'run Some(end),
                            Command::Add(add, end) => adding.push((*add, end)),
                            command => self.on_command(command),
                        }
                    }
                    self.prepare(adding);
                }
                Some(Ok((key, info))) = self.engine.loading.join_next() => {
                    self.engine.on_loaded(key, info);
                }
                // What panicked has told so, and drops who waits.
                Some(Ok(prepared)) = self.preparing.join_next() => {
                    for (prepared, end) in prepared {
                        let _ = end.send(prepared.and_then(|prepared| self.engine.add(prepared)));
                    }
                }
            }
            self.tell_events();
        };
        // Who waits hears of the end before the disk is waited for.
        drop(commands);
        self.preparing.abort_all();
        (self.end().await, end)
    }

    /// Ends all connections and brings all that is there to stable storage.
    async fn end(&mut self) -> Result<(), SessionError> {
        self.tell_events();
        self.engine.stop();
        loop {
            self.tell_events();
            if self.engine.is_stopped() {
                break;
            }
            self.engine.reactor.event_wake.notified().await;
        }
        let saved = self.engine.save_dht().await;
        match self.engine.trouble() {
            Some(failure) => Err(SessionError::Failed(failure.clone())),
            None => saved,
        }
    }

    fn tell_events(&mut self) {
        while let Some((key, event)) = self.engine.poll_event() {
            self.hub.tell(key, &event);
        }
    }

    /// Looks at the folders and journals of what is to be added.
    fn prepare(&mut self, mut adding: Vec<(Add, Reply<TorrentKey>)>) {
        while !adding.is_empty() {
            let rest = adding.split_off(adding.len().min(PREPARED_TOGETHER));
            let now = std::mem::replace(&mut adding, rest).into_iter();
            self.preparing.spawn_blocking(|| now.map(|(add, end)| (prepare(add), end)).collect());
        }
    }

    fn on_command(&mut self, command: Command) {
        let engine = &mut self.engine;
        // Who asked may be gone by now.
        match command {
            Command::Pause(key, end) => engine.pause(key, Some(end)),
            Command::Resume(key, end) => engine.resume(key, end),
            Command::Remove(key, end) => engine.remove(key, end),
            Command::Relocate(key, change, end) => engine.relocate(key, change, end),
            Command::Info(key, end) => engine.info(key, end),
            Command::Stats(key, end) => drop(end.send(engine.stats(key))),
            Command::List(end) => drop(end.send(Ok(engine.list()))),
            Command::Active(end) => drop(end.send(Ok(engine.active()))),
            Command::Search(key, end) => drop(end.send(engine.search(key))),
            Command::Unresolved(end) => drop(end.send(Ok(engine.unresolved()))),
            Command::Save(end) => engine.save(end),
            Command::Add(..) | Command::Shutdown(_) => {}
        }
    }
}
