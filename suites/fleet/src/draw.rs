//! Random durations.

use std::time::Duration;

use connpool_core::Runtime;
use connpool_testkit::SimRuntime;

/// Draws a duration from a range.
pub(crate) fn between(sim: &SimRuntime, [shortest, longest]: [Duration; 2]) -> Duration {
    let part = sim.random() as f64 / u64::MAX as f64;
    shortest + (longest - shortest).mul_f64(part)
}
