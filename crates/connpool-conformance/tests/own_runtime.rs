//! Runs the conformance suite on a minimal custom runtime.

use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{self, Duration};

use async_io::Timer;
use connpool_conformance::Scenario;
use connpool_core::{BoxFuture, Instant, Runtime};
use futures_lite::future::block_on;

/// Runs each task on its own thread, with the timers of `async-io`.
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
        // If no thread can be spawned the task is dropped, which the contract allows.
        let _ = thread::Builder::new().spawn(move || block_on(task));
    }

    fn random(&self) -> u64 {
        // `RandomState` has new random keys at each call.
        RandomState::new().hash_one(())
    }
}

fn run(scenario: Scenario) {
    let epoch = time::Instant::now();
    block_on(scenario(Arc::new(Threads { epoch })));
}

fn main() -> ExitCode {
    connpool_conformance::main(&[("threads", run)])
}
