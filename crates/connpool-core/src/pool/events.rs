//! Delivers events to the observer and to `tracing`, and catches the panics of foreign code.

use std::cell::Cell;
use std::task::Waker;

use event_listener::Event as Signal;

use crate::observe::event::{Event, EventKinds, Observer};
use crate::observe::tracing;
use crate::util::panic::catch_panic;
use crate::util::sync::Arc;

/// Where the events of a pool go.
pub(crate) struct EventSink {
    pub(crate) pool: Arc<str>,
    observer: Option<Box<dyn Observer>>,
    /// What the observer receives.
    kinds: EventKinds,
}

/// How deep calls of an observer may nest that cause events themselves.
const MAX_DEPTH: u8 = 4;

thread_local! {
    /// The number of nested calls of observers in this thread.
    static DEPTH: Cell<u8> = const { Cell::new(0) };
}

impl EventSink {
    pub(crate) fn new(pool: Arc<str>, observer: Option<Box<dyn Observer>>) -> Self {
        let kinds = observer.as_ref().map_or(EventKinds::NONE, |observer| observer.kinds());
        EventSink { pool, observer, kinds }
    }

    /// Returns whether an observer receives the events of each `get`. Those of `tracing` are another matter.
    pub(crate) fn observes_gets(&self) -> bool {
        self.kinds.intersects(EventKinds::GETS)
    }

    /// Returns whether the events of a `get` are delivered.
    #[inline]
    pub(crate) fn tells_of_gets(&self) -> bool {
        self.observes_gets() || tracing::receives_gets()
    }

    /// Returns whether events are delivered. If not, nothing is measured for them.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.kinds != EventKinds::NONE || tracing::is_on()
    }

    /// Delivers an event. Must not be called under the pool's lock.
    #[inline]
    pub(crate) fn tell<'e>(&self, event: impl FnOnce() -> Event<'e>) {
        if self.is_observed() {
            self.announce(&event());
        }
    }

    #[cold]
    pub(crate) fn announce(&self, event: &Event<'_>) {
        let depth = DEPTH.get();
        if depth >= MAX_DEPTH {
            return;
        }
        DEPTH.set(depth.saturating_add(1));
        // The caller may be dropping a guard or a future. A panic of an observer is not its fault.
        let receives = self.kinds.intersects(event.kind());
        if let Some(observer) = self.observer.as_ref().filter(|_| receives) {
            let _ = catch_panic(|| observer.on_event(&self.pool, event));
        }
        let _ = catch_panic(|| tracing::emit(&self.pool, event));
        DEPTH.set(depth);
    }

    /// Runs code of the manager, a connection or a waker. A panic is caught and reported.
    #[inline]
    pub(crate) fn guarded<T>(&self, step: &'static str, act: impl FnOnce() -> T) -> Option<T> {
        match catch_panic(act) {
            Ok(result) => Some(result),
            Err(message) => {
                self.panicked(step, &message);
                None
            }
        }
    }

    #[inline]
    pub(crate) fn wake(&self, waker: Waker) {
        self.guarded("wake", || waker.wake());
    }

    pub(crate) fn notify(&self, signal: &Signal, listeners: usize) {
        self.guarded("wake", || signal.notify(listeners));
    }

    #[cold]
    pub(crate) fn panicked(&self, step: &'static str, message: &str) {
        self.tell(|| Event::Panicked { step, message });
    }
}
