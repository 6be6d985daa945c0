//! The whole pool under a model checker: every schedule of a few threads by loom, many random ones
//! of many tasks by shuttle. `cargo xtask loom` and `cargo xtask shuttle` run them.
//!
//! The checkers switch threads where these take a lock or touch an atomic of [`sync`](crate::util::sync),
//! and nowhere else. `event-listener` has locks of std's, and wakes while it holds them: what
//! listens to the pool's events is therefore woken by wakers that do not switch.

#[cfg(connpool_loom)]
mod every_schedule;
mod fake;
#[cfg(connpool_shuttle)]
mod random_schedules;
