//! The tests of parity with the Go library on tokio, each on one thread and then on two.

use std::future::Future;

use connpool_tokio as adapter;
use connpool_tokio::TokioRuntime as RealRuntime;
use executor::{on_one_thread, on_two_threads, spawn};

mod executor;
#[path = "../../connpool-tcp/tests/go_parity/mod.rs"]
mod go_parity;
#[path = "../../connpool-tcp/tests/support/mod.rs"]
mod support;

fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
    // Shown only if the test fails.
    println!("on one thread");
    on_one_thread(&test);
    println!("on two threads");
    on_two_threads(&test);
}

go_parity::go_parity_on!(crate::on_both);
