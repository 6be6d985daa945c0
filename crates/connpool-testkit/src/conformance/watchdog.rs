//! What ends a scenario that hangs, be it for the fault of the runtime's own timers.

use std::future::poll_fn;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

#[derive(Default)]
struct Watch {
    is_over: bool,
    waker: Option<Waker>,
}

/// Waits, on a thread of its own and by the clock of the machine, until `limit` has passed, and
/// panics. Dropped, it lets the thread go.
pub(super) async fn panic_after(limit: Duration) {
    let watch = Arc::new(Mutex::new(Watch::default()));
    let (_leash, let_go) = channel::<()>();
    let watched = Arc::clone(&watch);
    thread::spawn(move || {
        if let_go.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let waker = {
                let mut watch = lock(&watched);
                watch.is_over = true;
                watch.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    });
    poll_fn(|cx| {
        let mut watch = lock(&watch);
        if watch.is_over {
            return Poll::Ready(());
        }
        watch.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
    panic!(
        "the scenario has not ended after {limit:?}: a timer never fired, or a wake-up was lost"
    );
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}
