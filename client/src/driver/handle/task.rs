//! The thread of a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::SessionError;
use super::command::{Command, Reply};
use super::events::{Ends, Hub};
use crate::TorrentKey;
use crate::driver::engine::{Engine, Options, Prepared, prepare};

/// Torrents whose folders and journals are looked at, at a time; more commands wait meanwhile.
const PREPARING_MAX: usize = 16;

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

/// The engine, and torrents that are about to be added to it.
struct Task {
    engine: Engine,
    hub: Arc<Hub>,
    preparing: JoinSet<(Result<Prepared, SessionError>, Reply<TorrentKey>)>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Ended {
        let end = loop {
            tokio::select! {
                () = self.engine.reactor.event_wake.notified() => {}
                command = commands.recv(), if self.preparing.len() < PREPARING_MAX => match command {
                    None => break None,
                    Some(Command::Shutdown(end)) => break Some(end),
                    Some(command) => self.on_command(command),
                },
                Some(Ok((key, info))) = self.engine.loading.join_next() => {
                    self.engine.on_loaded(key, info);
                }
                // What panicked has told so, and drops who waits.
                Some(Ok((prepared, end))) = self.preparing.join_next() => {
                    let _ = end.send(prepared.and_then(|prepared| self.engine.add(prepared)));
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

    fn on_command(&mut self, command: Command) {
        let engine = &mut self.engine;
        // Who asked may be gone by now.
        match command {
            Command::Add(add, end) => {
                self.preparing.spawn_blocking(|| (prepare(*add), end));
            }
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
            Command::Shutdown(_) => {}
        }
    }
}
