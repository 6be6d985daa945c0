//! What the examples share, a Redis server of one's own among it. And the README, so that every
//! example in it is compiled and run as a test.
#![doc = include_str!("../../README.md")]

pub mod args;
pub mod fault_server;
pub mod redis;
pub mod redis_server;
pub mod resp;
pub mod server;

use std::time::Duration;

use connpool_core::Runtime;

/// Waits for `time` on the runtime's own clock; for no time at all if that is past what the clock
/// can tell.
pub async fn pause(runtime: &dyn Runtime, time: Duration) {
    let end = runtime.now().checked_add(time);
    runtime.sleep_until(end.unwrap_or_default()).await;
}
