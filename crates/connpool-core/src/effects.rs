//! What was decided under the lock and is done outside of it.

use std::task::Waker;

use event_listener::Event;

use crate::bounded::catch;
use crate::entry::Entry;
use crate::shared::Shared;
use crate::{CloseReason, Manager};

/// Everything that runs foreign code: collected while the books are locked, performed when they
/// are not.
#[must_use]
pub(crate) struct Effects<M: Manager> {
    // The one that a hand-over wakes, without an allocation; the others are rare.
    waker: Option<Waker>,
    wakers: Vec<Waker>,
    destroyed: Vec<(Entry<M>, CloseReason)>,
    /// The driver has something to do.
    pub(crate) rouse_driver: bool,
    /// Something that `build` or `close` waits for has happened.
    pub(crate) progress: bool,
    /// The pool has just been closed: connects under way end.
    pub(crate) closing: bool,
    /// So many wait for a slot that a goodbye may hold.
    pub(crate) hurry: usize,
}

impl<M: Manager> Effects<M> {
    pub(crate) fn new() -> Self {
        Effects {
            waker: None,
            wakers: Vec::new(),
            destroyed: Vec::new(),
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

    pub(crate) fn perform(self, shared: &Shared<M>) {
        for (entry, reason) in self.destroyed {
            shared.destroy(entry, reason);
        }
        // A waker that panics must not keep the others from being woken, nor leave a drop. Those of
        // the events are woken by `notify` itself.
        for waker in self.waker.into_iter().chain(self.wakers) {
            let _ = catch(|| waker.wake());
        }
        let notify = |event: &Event, listeners: usize| {
            if listeners > 0 {
                let _ = catch(|| event.notify(listeners));
            }
        };
        let all_if = |holds: bool| if holds { usize::MAX } else { 0 };
        notify(&shared.closing, all_if(self.closing));
        notify(&shared.hurry, self.hurry);
        notify(&shared.progress, all_if(self.progress));
        notify(&shared.work, usize::from(self.rouse_driver));
    }
}
