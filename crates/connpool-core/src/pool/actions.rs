//! The actions that are decided under the pool's lock and performed after it.

use std::task::Waker;

use event_listener::Event as Signal;

use crate::observe::close_reason::CloseReason;
use crate::observe::event::Event;
use crate::pool::events::EventSink;

/// Everything that runs foreign code or spawns. Collected under the lock, performed without it.
///
/// `C` is a connection.
#[must_use]
pub(crate) struct Actions<C> {
    // A hand-over wakes one task, without an allocation. More are rare.
    waker: Option<Waker>,
    wakers: Vec<Waker>,
    discarded: Vec<(C, CloseReason)>,
    events: Vec<Event<'static>>,
    observed: bool,
    /// The maintenance task has something to do.
    pub(crate) notify_maintenance: bool,
    /// Something happened that `build`, `close` or `get_many` waits for.
    pub(crate) state_changed: bool,
    /// The pool was just closed.
    pub(crate) closing: bool,
    /// Some connects under way are to end.
    pub(crate) connects_end: bool,
    /// The number of callers that wait for a slot that a graceful close may hold.
    pub(crate) expedite_close: usize,
    /// For polled futures only, since drops never spawn.
    pub(crate) spawns: Spawns,
}

/// The kinds of tasks to be spawned.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spawns {
    /// Connects were decided.
    pub(crate) connects: bool,
    pub(crate) maintenance: bool,
}

/// The events that the tasks of a pool wait for.
#[derive(Default)]
pub(crate) struct Signals {
    pub(crate) maintenance: Signal,
    /// The maintenance task runs.
    pub(crate) answered: Signal,
    pub(crate) state_changed: Signal,
    pub(crate) closing: Signal,
    pub(crate) connects_end: Signal,
    pub(crate) expedite_close: Signal,
}

impl<C> Actions<C> {
    pub(crate) fn new(observed: bool) -> Self {
        Actions {
            waker: None,
            wakers: Vec::new(),
            discarded: Vec::new(),
            events: Vec::new(),
            observed,
            notify_maintenance: false,
            state_changed: false,
            closing: false,
            connects_end: false,
            expedite_close: 0,
            spawns: Spawns::default(),
        }
    }

    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        match self.waker {
            None => self.waker = Some(waker),
            Some(_) => self.wakers.push(waker),
        }
    }

    pub(crate) fn discard(&mut self, conn: C, reason: CloseReason) {
        self.discarded.push((conn, reason));
    }

    pub(crate) fn tell(&mut self, event: Event<'static>) {
        if self.observed {
            self.events.push(event);
        }
    }

    /// Performs everything but the spawns, which it returns.
    #[inline]
    pub(crate) fn perform(
        self,
        events: &EventSink,
        signals: &Signals,
        discard: impl Fn(C, CloseReason),
    ) -> Spawns {
        let quiet = self.events.is_empty()
            && self.discarded.is_empty()
            && self.wakers.is_empty()
            && !(self.notify_maintenance || self.state_changed || self.connects_end)
            && self.expedite_close == 0;
        match self.waker {
            None if quiet => self.spawns,
            Some(waker) if quiet => {
                events.wake(waker);
                self.spawns
            }
            waker => Actions { waker, ..self }.perform_all(events, signals, discard),
        }
    }

    #[cold]
    fn perform_all(
        self,
        sink: &EventSink,
        signals: &Signals,
        discard: impl Fn(C, CloseReason),
    ) -> Spawns {
        for event in self.events {
            sink.announce(&event);
        }
        for (conn, reason) in self.discarded {
            discard(conn, reason);
        }
        // A waker that panics must not keep the others from being woken, nor leave a drop. `notify`
        // wakes its listeners itself.
        for waker in self.waker.into_iter().chain(self.wakers) {
            sink.wake(waker);
        }
        // `notify(n)` counts listeners that were notified before and have not run yet. That is meant: a
        // graceful close that was asked to hurry need not be asked again. `notify_additional` would
        // differ.
        let notify = |signal: &Signal, listeners: usize| {
            if listeners > 0 {
                sink.notify(signal, listeners);
            }
        };
        let all_if = |holds: bool| if holds { usize::MAX } else { 0 };
        notify(&signals.closing, all_if(self.closing));
        notify(&signals.connects_end, all_if(self.connects_end));
        notify(&signals.expedite_close, self.expedite_close);
        notify(&signals.state_changed, all_if(self.state_changed));
        // All, since a task that was replaced may listen as well, on a runtime that does not run it.
        notify(&signals.maintenance, all_if(self.notify_maintenance));
        self.spawns
    }
}
