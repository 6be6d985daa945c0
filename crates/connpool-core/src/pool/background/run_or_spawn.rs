//! Runs what usually ends at once without a task of its own.

use futures_lite::future::poll_once;

use crate::runtime::{BoxFuture, Runtime};

/// Runs `work` of the maintenance task, as a task of its own if it takes time.
pub(super) async fn run_or_spawn(runtime: &dyn Runtime, mut work: BoxFuture) {
    // Polled here once and then by another task: `spawn` polls it again, which registers that task's waker.
    if poll_once(&mut work).await.is_none() {
        runtime.spawn(work);
    }
}
