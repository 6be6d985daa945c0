//! What was decided under the lock and is done outside of it.

use std::task::Waker;

use event_listener::Event as Signal;

use crate::pool::conn::Entry;
use crate::pool::shared::Shared;
use crate::{CloseReason, Event, Manager};

/// Everything that runs foreign code: collected while the books are locked, performed when they
/// are not.
#[must_use]
pub(crate) struct Effects<M: Manager> {
    // The one that a hand-over wakes, without an allocation; the others are rare.
    waker: Option<Waker>,
    wakers: Vec<Waker>,
    destroyed: Vec<(Entry<M>, CloseReason)>,
    events: Vec<Event<'static>>,
    watched: bool,
    /// The driver has something to do.
    pub(crate) rouse_driver: bool,
    /// Something that `build`, `close` or `get_many` waits for has happened.
    pub(crate) progress: bool,
    /// The pool has just been closed: connects under way end.
    pub(crate) closing: bool,
    /// So many wait for a slot that a goodbye may hold.
    pub(crate) hurry: usize,
}

impl<M: Manager> Effects<M> {
    pub(crate) fn new(watched: bool) -> Self {
        Effects {
            waker: None,
            wakers: Vec::new(),
            destroyed: Vec::new(),
            events: Vec::new(),
            watched,
            rouse_driver: false,
            progress: false,
            closing: false,
            hurry: 0,
        }
    }

    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        match self.waker {
            None => self.waker = Some(waker),
            Some(_) => self.wakers.push(waker),
        }
    }

    pub(crate) fn destroy(&mut self, entry: Entry<M>, reason: CloseReason) {
        self.destroyed.push((entry, reason));
    }

    /// Has whoever watches told, if anybody does.
    pub(crate) fn tell(&mut self, event: Event<'static>) {
        if self.watched {
            self.events.push(event);
        }
    }

    #[inline]
    pub(crate) fn perform(self, shared: &Shared<M>) {
        let quiet = self.events.is_empty()
            && self.destroyed.is_empty()
            && self.wakers.is_empty()
            && !(self.rouse_driver || self.progress || self.closing)
            && self.hurry == 0;
        match self.waker {
            None if quiet => {}
            Some(waker) if quiet => drop(shared.catch("wake", || waker.wake())),
            waker => Effects { waker, ..self }.perform_all(shared),
        }
    }

    #[cold]
    fn perform_all(self, shared: &Shared<M>) {
        for event in self.events {
            shared.announce(&event);
        }
        for (entry, reason) in self.destroyed {
            shared.destroy(entry, reason);
        }
        // A waker that panics must not keep the others from being woken, nor leave a drop. Those of
        // the events are woken by `notify` itself.
        for waker in self.waker.into_iter().chain(self.wakers) {
            shared.catch("wake", || waker.wake());
        }
        let notify = |signal: &Signal, listeners: usize| {
            if listeners > 0 {
                shared.catch("wake", || signal.notify(listeners));
            }
        };
        let all_if = |holds: bool| if holds { usize::MAX } else { 0 };
        notify(&shared.closing, all_if(self.closing));
        notify(&shared.hurry, self.hurry);
        notify(&shared.progress, all_if(self.progress));
        notify(&shared.work, usize::from(self.rouse_driver));
    }
}
