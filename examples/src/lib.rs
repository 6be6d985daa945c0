//! Shared code of the examples. Includes the README, whose code blocks run as doctests.
#![doc = include_str!("../../README.md")]

pub mod args;
pub mod fault_server;
pub mod redis;
pub mod redis_server;
pub mod resp;
pub mod server;

use std::time::Duration;

use connpool_core::Runtime;

/// Waits for `time` on the clock of `runtime`. Returns at once if the end is not representable.
pub async fn pause(runtime: &dyn Runtime, time: Duration) {
    let end = runtime.now().checked_add(time);
    runtime.sleep_until(end.unwrap_or_default()).await;
}
