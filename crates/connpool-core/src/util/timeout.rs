//! Running foreign code: within a limit, interruptible, and without its panics.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future::or;

use crate::time::Nanos;
use crate::{BoxFuture, Instant, Runtime};

/// How [`bounded`] work ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End<T> {
    Done(T),
    /// Its own limit passed.
    OutOfTime,
    /// The interrupt came first.
    Interrupted,
    /// It panicked with this message.
    Panicked(String),
}

/// Runs `work` for at most `limit`, or until `interrupt` is ready, and catches its panics.
///
/// The work is always looked at first: what is ready counts, however late the timer. No timer is
/// made for work that is ready at once.
pub(crate) async fn bounded<T>(
    runtime: &dyn Runtime,
    limit: Option<Duration>,
    interrupt: impl Future<Output = ()>,
    work: impl Future<Output = T>,
) -> End<T> {
    let mut work = pin!(Some(work));
    let mut interrupt = pin!(interrupt);
    let mut limit = Deadline::new(limit);
    let end = poll_fn(|cx| {
        if let Some(work) = work.as_mut().as_pin_mut() {
            match catch(|| work.poll(cx)) {
                Ok(Poll::Ready(done)) => return Poll::Ready(End::Done(done)),
                Ok(Poll::Pending) => {}
                Err(message) => return Poll::Ready(End::Panicked(message)),
            }
        }
        if interrupt.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Interrupted);
        }
        let passed = limit.poll_passed(cx, runtime, || runtime.now());
        passed.map(|()| End::OutOfTime)
    })
    .await;
    // What was given up half way may own a connection, and the drop of that may panic as well.
    let _ = catch(|| work.set(None));
    end
}

/// Waits for `event` or `timer`, and says whether it was the timer. The event is looked at first.
pub(crate) async fn timer_came_first(
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

/// Runs `act` and turns a panic into its message.
#[inline]
pub(crate) fn catch<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever was being changed when it panicked is destroyed, not used again.
    catch_unwind(AssertUnwindSafe(act)).map_err(message)
}

fn message(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Ok(text) = payload.downcast::<String>() {
        *text
    } else {
        String::from("(a panic without a message)")
    }
}

/// A point in time by which something must be over, fixed when it is first asked for.
///
/// The timer is made when somebody first has to wait, and only then.
pub(crate) struct Deadline {
    limit: Nanos,
    start: Option<Instant>,
    at: Option<Instant>,
    timer: Option<BoxFuture>,
    passed: bool,
}

impl Deadline {
    /// `limit` from the first [`begin`](Deadline::begin) on; or never.
    #[inline]
    pub(crate) fn new(limit: impl Into<Nanos>) -> Self {
        Deadline {
            limit: limit.into(),
            start: None,
            at: None,
            timer: None,
            passed: false,
        }
    }

    /// Fixes the deadline if it is not fixed yet, and tells it.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Instant> {
        if self.start.is_none() {
            self.start = Some(now);
            self.at = self.limit.after(now);
        }
        self.at
    }

    /// How long ago it began.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        self.start.map_or(Duration::ZERO, |start| now.since(start))
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
            let Some(at) = self.begin(now) else {
                return Poll::Pending;
            };
            if now < at {
                self.timer = Some(runtime.sleep_until(at));
            }
        }
        self.passed = self
            .timer
            .as_mut()
            .is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        if self.passed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) async fn passed(&mut self, runtime: &dyn Runtime) {
        poll_fn(|cx| self.poll_passed(cx, runtime, || runtime.now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let caught = [
            catch(|| panic!("plain")),
            catch(|| panic!("number {}", 7)),
            catch(|| std::panic::panic_any(7)),
        ];
        std::panic::set_hook(quiet);
        let expected = ["plain", "number 7", "(a panic without a message)"];
        assert_eq!(caught, expected.map(|text| Err::<(), _>(text.to_owned())));
    }
}
