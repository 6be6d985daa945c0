//! A runtime of one's own, in the shortest form, and the suite that proves it.

use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread;
use std::time::{self, Duration};

use async_io::Timer;
use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_testkit::conformance::Scenario;
use futures_lite::future::block_on;

/// A thread for each task, and the timers of `async-io`.
struct Threads {
    epoch: time::Instant,
}

impl Runtime for Threads {
    fn now(&self) -> Instant {
        let elapsed = self.epoch.elapsed();
        Instant::ORIGIN.checked_add(elapsed).unwrap_or_default()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        match self.epoch.checked_add(Duration::from_nanos(at.as_nanos())) {
            Some(at) => Box::pin(async move { _ = Timer::at(at).await }),
            None => Box::pin(pending()),
        }
    }

    fn spawn(&self, task: BoxFuture) {
        // If there is no thread to be had, the task is dropped: a legal answer.
        let _ = thread::Builder::new().spawn(move || block_on(task));
    }

    fn random(&self) -> u64 {
        // Keyed at random, and differently each time.
        RandomState::new().hash_one(())
    }
}

fn run(scenario: Scenario) {
    let epoch = time::Instant::now();
    block_on(scenario(Arc::new(Threads { epoch })));
}

connpool_testkit::conformance!(run);
