//! What a handle asks of the session's thread.

use std::sync::Arc;

use tokio::sync::oneshot;
use wire::metainfo::Info;

use super::{Add, SessionError};
use crate::driver::SearchProgress;
use crate::driver::engine::Change;
use crate::{TorrentKey, TorrentStats};

/// Where a result is waited for.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SessionError>>;

/// What a handle asks of the session's thread.
pub(super) enum Command {
    Add(Box<Add>, Reply<TorrentKey>),
    Pause(TorrentKey, Reply<()>),
    Resume(TorrentKey, Reply<()>),
    Remove(TorrentKey, Reply<()>),
    Relocate(TorrentKey, Change, Reply<()>),
    Info(TorrentKey, Reply<Option<Arc<Info>>>),
    Stats(TorrentKey, Reply<TorrentStats>),
    List(Reply<Vec<(TorrentKey, TorrentStats)>>),
    Active(Reply<Vec<(TorrentKey, TorrentStats)>>),
    Search(TorrentKey, Reply<SearchProgress>),
    Unresolved(Reply<Vec<(String, String)>>),
    Save(Reply<()>),
    Shutdown(Reply<()>),
}
