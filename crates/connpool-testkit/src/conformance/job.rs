//! A task of a scenario, whose end can be awaited.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a task comes to. Whoever has the output has seen all that the task did.
pub(super) struct Job<T>(Arc<Place<T>>);

/// The task's end of it. Dropped without an output, the task is lost.
pub(super) struct Promise<T>(Arc<Place<T>>);

struct Place<T>(Mutex<State<T>>);

enum State<T> {
    Running(Option<Waker>),
    Ended(T),
    /// It panicked, its runtime dropped it, or its output was taken.
    Gone,
}

impl<T> Job<T> {
    pub(super) fn new() -> (Self, Promise<T>) {
        let place = Arc::new(Place(Mutex::new(State::Running(None))));
        (Job(Arc::clone(&place)), Promise(place))
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(*self.0.state(), State::Ended(_))
    }
}

impl<T> Promise<T> {
    pub(super) fn keep(self, output: T) {
        self.0.end(State::Ended(output));
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.end(State::Gone);
    }
}

impl<T> Place<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts.
    fn end(&self, end: State<T>) {
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

impl<T> Future for Job<T> {
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
