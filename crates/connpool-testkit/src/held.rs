//! Calls that wait for the test's word.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::Behavior;

/// The calls of one kind that are held, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Weak<Call>>);

#[derive(Debug, Default)]
struct Call(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    word: Option<Behavior>,
    waker: Option<Waker>,
}

/// A call that is held, until the word is given. Dropped, it is held no more.
#[derive(Debug)]
pub(crate) struct Held(Arc<Call>);

impl Queue {
    pub(crate) fn join(&mut self) -> Held {
        let held = Held(Arc::default());
        self.0.push_back(Arc::downgrade(&held.0));
        held
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().filter(|call| call.strong_count() > 0).count()
    }

    /// Gives the first one the word. Its waker comes back, to be used outside of any lock.
    pub(crate) fn release(&mut self, act: Behavior) -> Option<Option<Waker>> {
        while let Some(call) = self.0.pop_front() {
            if let Some(call) = call.upgrade() {
                let mut state = call.state();
                state.word = Some(act);
                return Some(state.waker.take());
            }
        }
        None
    }
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Held {
    type Output = Behavior;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Behavior> {
        let mut state = self.0.state();
        match state.word {
            Some(act) => Poll::Ready(act),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
