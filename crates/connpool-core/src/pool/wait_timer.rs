//! Runs the timer that waits share.
//!
//! No task runs it: its waker marks the waiters whose time is up, wakes them, and sets it again. So it works as
//! long as the timers of the runtime do, whatever becomes of single tasks and waiters.

use std::mem;
use std::task::{Context, Wake, Waker};

use crate::machine::wait_timer::DueTimer;
use crate::manager::Manager;
use crate::pool::shared::Shared;
use crate::time::Instant;
use crate::util::panic::catch_panic;
use crate::util::sync::{Arc, Weak};

/// The waker of a timer.
struct OnTime<M: Manager> {
    shared: Weak<Shared<M>>,
    number: u64,
}

impl<M: Manager> Wake for OnTime<M> {
    fn wake(self: Arc<Self>) {
        // The caller is the runtime. A panic is not its fault, nor one of the last owner's drop.
        let _ = catch_panic(|| {
            let Some(shared) = self.shared.upgrade() else { return };
            let now = shared.runtime.now();
            if let Some(due) = fired(&shared, self.number, now) {
                set(&shared, due);
            }
        });
    }
}

/// Sets the timer. The caller holds no lock.
#[cold]
pub(crate) fn set<M: Manager>(shared: &Shared<M>, mut due: DueTimer) {
    // One that is ready at once has passed meanwhile, or its runtime has ended.
    while !start(shared, due) {
        // By now more deadlines may have passed. One timer for each of them might never catch up.
        match fired(shared, due.number, due.at.max(shared.runtime.now())) {
            Some(next) => due = next,
            None => return,
        }
    }
}

/// Starts a timer. Returns `false` if it is ready at once.
fn start<M: Manager>(shared: &Shared<M>, DueTimer { at, number }: DueTimer) -> bool {
    // A runtime without timers panics. The next wait tries again.
    let unset = Unset { shared, number };
    let mut timer = shared.runtime.wait_timer(at);
    let waker = Waker::from(Arc::new(OnTime { shared: Weak::clone(&shared.weak_self), number }));
    let mut is_ready = false;
    // A task that has used up its budget would be told to poll again.
    shared.runtime.unconstrained(&mut || {
        is_ready = timer.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    });
    mem::forget(unset);
    if !is_ready {
        drop(shared.wait_timer.keep(number, timer));
    }
    !is_ready
}

/// A timer that is being started. Dropped in a panic, it is not set.
struct Unset<'a, M: Manager> {
    shared: &'a Shared<M>,
    number: u64,
}

impl<M: Manager> Drop for Unset<'_, M> {
    fn drop(&mut self) {
        self.shared.peek(|state| state.machine.wait_timer.fired(self.number));
    }
}

/// Tells the waiters whose deadline has passed at `now`. Returns the timer for the others.
fn fired<M: Manager>(shared: &Shared<M>, number: u64, now: Instant) -> Option<DueTimer> {
    shared.with(|locked| {
        for cell in locked.state.machine.wait_timer_fired(number, now) {
            locked.actions.wake(cell.expire());
        }
        locked.state.machine.wait_timer.take_due()
    })
}
