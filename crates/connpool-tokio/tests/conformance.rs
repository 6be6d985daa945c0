//! The conformance suite on tokio: on one thread, on two, and on a paused clock.

use std::sync::Arc;

use connpool_testkit::conformance::Scenario;
use connpool_tokio::TokioRuntime;
use tokio::runtime::Builder;

fn run(builder: &mut Builder, scenario: Scenario) {
    let runtime = builder.enable_all().build().unwrap();
    // `TokioRuntime` must be created inside of the tokio runtime.
    runtime.block_on(async { scenario(Arc::new(TokioRuntime::new())).await });
}

mod current_thread {
    connpool_testkit::conformance!(|scenario| {
        super::run(&mut super::Builder::new_current_thread(), scenario);
    });
}

mod two_workers {
    connpool_testkit::conformance!(|scenario| {
        super::run(super::Builder::new_multi_thread().worker_threads(2), scenario);
    });
}

#[cfg(feature = "test-util")]
mod paused_clock {
    connpool_testkit::conformance!(|scenario| {
        super::run(super::Builder::new_current_thread().start_paused(true), scenario);
    });
}
