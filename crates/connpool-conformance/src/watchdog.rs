//! A time limit for scenarios that does not depend on the timers of the runtime under test.

use std::future::poll_fn;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

#[derive(Default)]
struct Expiry {
    expired: bool,
    waker: Option<Waker>,
}

/// Panics after `limit` of real time, measured by a separate thread. Dropping the future ends the
/// thread.
pub(crate) async fn panic_after(limit: Duration) {
    let expiry = Arc::new(Mutex::new(Expiry::default()));
    let (_alive, dropped) = channel::<()>();
    let for_thread = Arc::clone(&expiry);
    thread::spawn(move || {
        if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let waker = {
                let mut expiry = lock(&for_thread);
                expiry.expired = true;
                expiry.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    });
    poll_fn(|cx| {
        let mut expiry = lock(&expiry);
        if expiry.expired {
            return Poll::Ready(());
        }
        expiry.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
    panic!(
        "the scenario has not ended after {limit:?}: a timer never fired, or a wake-up was lost"
    );
}

fn lock(expiry: &Mutex<Expiry>) -> MutexGuard<'_, Expiry> {
    expiry.lock().unwrap_or_else(PoisonError::into_inner)
}
