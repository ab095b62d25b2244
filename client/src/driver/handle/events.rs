//! What a session tells, to whoever listens.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::{TorrentEvent, TorrentKey};

/// What a session tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Something about one torrent.
    Torrent(TorrentKey, TorrentEvent),
    /// So many events came faster than they were taken, and are lost. What they said shows in
    /// [`Session::list`](super::Session::list).
    Lagged(u64),
}

/// The events of a session from the moment of [`Session::events`](super::Session::events) on, until
/// it ends.
///
/// Take them by [`Events::next`] or as a [`Stream`]. A slow taker holds nobody up: at most
/// [`Builder::events_max`](super::Builder::events_max) events wait, then the oldest are lost and
/// counted.
pub struct Events {
    queue: Arc<Queue>,
    hub: Arc<Hub>,
}

impl Events {
    /// The next event; `None` once the session has ended and all were taken. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.queue.poll(cx)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut hub = lock(&self.hub.queues);
        hub.queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.hub.listeners.store(hub.queues.len(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Events that wait for one listener.
struct Queue {
    state: Mutex<Waiting>,
    /// The listener wants to hear of each piece, too.
    pieces: bool,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// Events that were lost before these.
    lost: u64,
    waker: Option<Waker>,
    is_over: bool,
}

impl Queue {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut waiting = lock(&self.state);
        if waiting.lost > 0 {
            return Poll::Ready(Some(Event::Lagged(std::mem::take(&mut waiting.lost))));
        }
        match waiting.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if waiting.is_over => Poll::Ready(None),
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn push(&self, event: Event, max: usize) {
        let mut waiting = lock(&self.state);
        if waiting.events.len() >= max {
            waiting.events.pop_front();
            waiting.lost += 1;
        }
        waiting.events.push_back(event);
        wake(waiting);
    }

    fn close(&self) {
        let mut waiting = lock(&self.state);
        waiting.is_over = true;
        wake(waiting);
    }
}

/// Wakes who waits, after the lock is let go: it will want it at once.
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    waker.into_iter().for_each(Waker::wake);
}

/// All who listen to a session.
pub(super) struct Hub {
    queues: Mutex<Queues>,
    /// How many; so that where nobody listens nothing is locked.
    listeners: AtomicUsize,
    events_max: usize,
}

#[derive(Default)]
struct Queues {
    queues: Vec<Arc<Queue>>,
    is_over: bool,
}

impl Hub {
    /// At most `events_max` events, and at least one, are to wait for each listener.
    pub(super) fn new(events_max: usize) -> Arc<Hub> {
        let events_max = events_max.max(1);
        Arc::new(Hub { queues: Mutex::default(), listeners: AtomicUsize::new(0), events_max })
    }

    pub(super) fn listen(self: &Arc<Hub>, pieces: bool) -> Events {
        let mut hub = lock(&self.queues);
        let state = Mutex::new(Waiting { is_over: hub.is_over, ..Waiting::default() });
        let queue = Arc::new(Queue { state, pieces });
        hub.queues.push(queue.clone());
        self.listeners.store(hub.queues.len(), Ordering::Relaxed);
        Events { queue, hub: self.clone() }
    }

    pub(super) fn tell(&self, key: TorrentKey, event: &TorrentEvent) {
        // A listener that comes in this moment hears of the next one.
        if self.listeners.load(Ordering::Relaxed) == 0 {
            return;
        }
        let is_piece = matches!(event, TorrentEvent::Piece(_));
        for queue in lock(&self.queues).queues.iter().filter(|queue| queue.pieces || !is_piece) {
            queue.push(Event::Torrent(key, event.clone()), self.events_max);
        }
    }
}

/// Ends the events of a session when it is dropped, also where its thread panics.
pub(super) struct Ends(pub(super) Arc<Hub>);

impl Drop for Ends {
    fn drop(&mut self) {
        let mut hub = lock(&self.0.queues);
        hub.is_over = true;
        hub.queues.iter().for_each(|queue| queue.close());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TorrentKey = TorrentKey(7);

    fn next(events: &mut Events) -> Poll<Option<Event>> {
        events.queue.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn event(n: usize) -> Poll<Option<Event>> {
        Poll::Ready(Some(Event::Torrent(KEY, TorrentEvent::Announced { kept_by: n })))
    }

    fn tell(hub: &Hub, n: usize) {
        hub.tell(KEY, &TorrentEvent::Announced { kept_by: n });
    }

    #[test]
    fn who_is_slow_loses_the_oldest_and_is_told_how_many() {
        let hub = Hub::new(3);
        let (mut slow, mut quick) = (hub.listen(false), hub.listen(false));
        for n in 0..10 {
            tell(&hub, n);
            assert_eq!(next(&mut quick), event(n));
        }
        assert_eq!(next(&mut slow), Poll::Ready(Some(Event::Lagged(7))));
        assert_eq!([7, 8, 9].map(|_| next(&mut slow)), [7, 8, 9].map(event));
        assert_eq!([next(&mut slow), next(&mut quick)], [Poll::Pending, Poll::Pending]);
        tell(&hub, 10);
        assert_eq!(next(&mut slow), event(10));
    }

    #[test]
    fn pieces_are_told_to_who_asked_for_them() {
        let hub = Hub::new(3);
        let (mut all, mut fewer) = (hub.listen(true), hub.listen(false));
        hub.tell(KEY, &TorrentEvent::Piece(5));
        tell(&hub, 1);
        let piece = Event::Torrent(KEY, TorrentEvent::Piece(5));
        assert_eq!(next(&mut all), Poll::Ready(Some(piece)));
        assert_eq!([next(&mut all), next(&mut fewer)], [event(1), event(1)]);
    }

    #[test]
    fn nothing_is_kept_for_who_has_gone_and_all_ends_with_the_session() {
        let hub = Hub::new(3);
        let (gone, mut stays) = (hub.listen(true), hub.listen(false));
        let queue = gone.queue.clone();
        drop(gone);
        tell(&hub, 1);
        assert_eq!(Arc::strong_count(&queue), 1);
        assert!(lock(&queue.state).events.is_empty());
        drop(Ends(hub.clone()));
        assert_eq!(next(&mut stays), event(1), "what waits is still taken");
        assert_eq!(next(&mut stays), Poll::Ready(None));
        assert_eq!(next(&mut hub.listen(false)), Poll::Ready(None), "it comes too late");
    }
}
