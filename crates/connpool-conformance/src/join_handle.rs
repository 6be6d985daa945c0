//! Spawned tasks of a scenario that can be awaited.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Resolves to the output of a task. Everything the task did happened before the output arrives.
pub(crate) struct JoinHandle<T>(Arc<Shared<T>>);

/// Completes a [`JoinHandle`]. Dropped before [`complete`](Completer::complete), it makes the handle
/// panic.
pub(crate) struct Completer<T>(Arc<Shared<T>>);

struct Shared<T>(Mutex<State<T>>);

enum State<T> {
    Running(Option<Waker>),
    Ended(T),
    /// The task panicked, the runtime dropped it, or the output was taken.
    Gone,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new() -> (Self, Completer<T>) {
        let shared = Arc::new(Shared(Mutex::new(State::Running(None))));
        (JoinHandle(Arc::clone(&shared)), Completer(shared))
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.0.state(), State::Ended(_))
    }
}

impl<T> Completer<T> {
    pub(crate) fn complete(self, output: T) {
        self.0.finish(State::Ended(output));
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        self.0.finish(State::Gone);
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the final state. Later calls have no effect.
    fn finish(&self, end: State<T>) {
        let mut state = self.state();
        let State::Running(waker) = &mut *state else {
            return;
        };
        let waker = waker.take();
        *state = end;
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.state();
        if let State::Running(waker) = &mut *state {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Gone) {
            State::Ended(output) => Poll::Ready(output),
            State::Running(_) | State::Gone => {
                drop(state);
                panic!("a task of the scenario panicked, or the runtime dropped it")
            }
        }
    }
}
