//! Runs foreign code within a time limit.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future::or;

use crate::runtime::{BoxFuture, Runtime};
use crate::time::{Instant, Nanos};
use crate::util::panic::catch_panic;

/// How guarded work ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Completion<T> {
    Done(T),
    TimedOut,
    /// The interrupt came first.
    Interrupted,
    /// The work panicked with this message.
    Panicked(String),
}

/// Runs `work` for at most `limit()`, or until `interrupt` is ready, and catches its panics.
///
/// The work is polled first: a result that is ready counts, however late the timer. Work that is
/// ready at once creates no timer, and does not ask for the limit.
pub(crate) async fn run_guarded<T>(
    runtime: &dyn Runtime,
    limit: impl FnOnce() -> Option<Duration>,
    interrupt: impl Future<Output = ()>,
    work: impl Future<Output = T>,
) -> Completion<T> {
    let mut work = pin!(Some(work));
    let mut interrupt = pin!(interrupt);
    let (mut limit, mut deadline) = (Some(limit), None);
    let completion = poll_fn(|cx| {
        if let Some(work) = work.as_mut().as_pin_mut() {
            match catch_panic(|| work.poll(cx)) {
                Ok(Poll::Ready(done)) => return Poll::Ready(Completion::Done(done)),
                Ok(Poll::Pending) => {}
                Err(message) => return Poll::Ready(Completion::Panicked(message)),
            }
        }
        if interrupt.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Completion::Interrupted);
        }
        if let Some(limit) = limit.take() {
            deadline = Some(Deadline::new(limit()));
        }
        let Some(deadline) = &mut deadline else { return Poll::Pending };
        let passed = deadline.poll_passed(cx, runtime, || runtime.now());
        passed.map(|()| Completion::TimedOut)
    })
    .await;
    // Abandoned work may own a connection, and dropping that may panic as well.
    let _ = catch_panic(|| work.set(None));
    completion
}

/// Waits for `event` or `timer` and returns whether the timer came first. The event is polled first.
pub(crate) async fn timed_out(
    event: impl Future<Output = ()>,
    timer: impl Future<Output = ()>,
) -> bool {
    let event = async {
        event.await;
        false
    };
    let timer = async {
        timer.await;
        true
    };
    or(event, timer).await
}

/// A deadline that is fixed when it is first needed, with a timer that is created by the first wait.
///
/// `NEVER` stands for what is not fixed yet and for what never comes: an `Option` would be twice as large.
pub(crate) struct Deadline {
    limit: Nanos,
    start: Instant,
    at: Instant,
    timer: Option<BoxFuture>,
    passed: bool,
}

impl Deadline {
    /// Creates a deadline `limit` after the first [`begin`](Deadline::begin), or never.
    #[inline]
    pub(crate) fn new(limit: impl Into<Nanos>) -> Self {
        let (limit, start, at) = (limit.into(), Instant::NEVER, Instant::NEVER);
        Deadline { limit, start, at, timer: None, passed: false }
    }

    /// Returns the same deadline, with a timer of its own.
    pub(crate) fn again(&self) -> Self {
        Deadline { timer: None, ..*self }
    }

    /// Fixes the deadline if it is not fixed yet, and returns it; `NEVER` if there is none.
    pub(crate) fn begin(&mut self, now: Instant) -> Instant {
        if self.start == Instant::NEVER {
            self.start = now;
            self.at = self.limit.after(now).unwrap_or(Instant::NEVER);
        }
        self.at
    }

    /// Returns how much of it is left: all of it before it begins; `None` if it never passes.
    pub(crate) fn left(&self) -> impl Fn(Instant) -> Option<Duration> + use<> {
        let Deadline { limit, start, at, .. } = *self;
        move |now| match start {
            Instant::NEVER => limit.as_duration(),
            _ if at == Instant::NEVER => None,
            _ => Some(at.since(now)),
        }
    }

    /// Returns how long ago it began.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.since(self.start)
    }

    pub(crate) fn poll_passed(
        &mut self,
        cx: &mut Context<'_>,
        runtime: &dyn Runtime,
        now: impl FnOnce() -> Instant,
    ) -> Poll<()> {
        if self.passed {
            return Poll::Ready(());
        }
        if self.timer.is_none() {
            let now = now();
            let at = self.begin(now);
            if at == Instant::NEVER {
                return Poll::Pending;
            }
            if now < at {
                self.timer = Some(runtime.sleep_until(at));
            }
        }
        self.passed = self.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        if self.passed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits until the deadline has passed.
    pub(crate) async fn passed(&mut self, runtime: &dyn Runtime) {
        poll_fn(|cx| self.poll_passed(cx, runtime, || runtime.now())).await;
    }
}
