//! The conformance suite on tokio: on one thread, on two, and on a paused clock.

use std::process::ExitCode;
use std::sync::Arc;

use connpool_conformance::Scenario;
use connpool_tokio::TokioRuntime;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    connpool_conformance::main(&[
        ("one_thread", |scenario| run(&mut Builder::new_current_thread(), scenario)),
        ("two_threads", |scenario| run(Builder::new_multi_thread().worker_threads(2), scenario)),
        #[cfg(feature = "test-util")]
        ("paused_clock", |scenario| {
            run(Builder::new_current_thread().start_paused(true), scenario);
        }),
    ])
}

fn run(builder: &mut Builder, scenario: Scenario) {
    let runtime = builder.enable_all().build().unwrap();
    // `TokioRuntime` must be created inside of the tokio runtime.
    runtime.block_on(async { scenario(Arc::new(TokioRuntime::new())).await });
}
