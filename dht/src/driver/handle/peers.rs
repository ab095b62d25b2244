//! The peers of a lookup, as they come.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::{Answer, DhtError, LookupSummary};

/// The peers that a lookup finds, each once, as they come. It ends with the lookup; dropping it
/// cancels the lookup.
///
/// Take them by [`Peers::next`] or as a [`Stream`]. A slow taker holds nobody up: at most
/// [`crate::Config::lookup_peers_max`] peers wait, and more are not reported.
#[must_use = "dropping it cancels the lookup"]
pub struct Peers {
    // Dropped before `end`, which wakes the task.
    pub(super) peers: mpsc::Receiver<SocketAddr>,
    pub(super) end: Answer<Result<LookupSummary, DhtError>>,
}

impl Peers {
    /// The next peer; `None` once the lookup is done and all were taken.
    pub async fn next(&mut self) -> Option<SocketAddr> {
        self.peers.recv().await
    }

    /// Waits until the lookup is done and tells how it went; peers not taken yet are dropped.
    ///
    /// That no node answered, and the node itself had no peer to tell, is an error.
    pub async fn finish(mut self) -> Result<LookupSummary, DhtError> {
        self.peers.close();
        while self.peers.try_recv().is_ok() {}
        self.end.get().await?
    }
}

impl Stream for Peers {
    type Item = SocketAddr;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SocketAddr>> {
        self.peers.poll_recv(cx)
    }
}
