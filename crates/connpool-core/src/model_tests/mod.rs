//! The pool under model checkers: every schedule of a few threads by loom, many random ones of many
//! tasks by shuttle, and every state of the pure machine by stateright. `cargo xtask loom`,
//! `cargo xtask shuttle` and `cargo xtask stateright` run them.
//!
//! loom and shuttle switch threads where these take a lock or touch an atomic of [`sync`](crate::util::sync),
//! and nowhere else. `event-listener` has locks of std's, and wakes while it holds them: what
//! listens to the pool's events is therefore woken by wakers that do not switch.

#[cfg(connpool_loom)]
mod every_schedule;
#[cfg(connpool_stateright)]
mod every_state;
#[cfg(any(connpool_loom, connpool_shuttle))]
mod fake;
#[cfg(connpool_shuttle)]
mod random_schedules;
