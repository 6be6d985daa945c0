//! Calls that are held until the test releases them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::script::Behavior;

/// The held calls of one kind, oldest first.
#[derive(Debug, Default)]
pub(crate) struct HeldCalls(VecDeque<Weak<HeldCall>>);

#[derive(Debug, Default)]
struct HeldCall(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    released_as: Option<Behavior>,
    waker: Option<Waker>,
}

/// Resolves to the behavior that the test releases the call with. Dropping it removes the call.
#[derive(Debug)]
pub(crate) struct Release(Arc<HeldCall>);

impl HeldCalls {
    pub(crate) fn push(&mut self) -> Release {
        let release = Release(Arc::default());
        self.0.push_back(Arc::downgrade(&release.0));
        release
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().filter(|call| call.strong_count() > 0).count()
    }

    /// Releases the oldest call. Returns `None` if there is none, and otherwise its waker, which the
    /// caller must wake outside of any lock.
    pub(crate) fn release(&mut self, behavior: Behavior) -> Option<Option<Waker>> {
        while let Some(call) = self.0.pop_front() {
            if let Some(call) = call.upgrade() {
                let mut state = call.state();
                state.released_as = Some(behavior);
                return Some(state.waker.take());
            }
        }
        None
    }
}

impl HeldCall {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Release {
    type Output = Behavior;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Behavior> {
        let mut state = self.0.state();
        match state.released_as {
            Some(behavior) => Poll::Ready(behavior),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
