//! The shell: it owns connections, wakers and the lock, asks `machine` what to do, and does it.
//!
//! Imports run one way: `conn`, `connecting`, `idle`, `snapshot`, `waiter`, `events` and `actions` know nothing of
//! the pool; `shared` is made of them; everything else works on `shared`.

// First, so that rustdoc lists its `impl Pool` first.
pub(crate) mod handle;

pub(crate) mod acquire;
mod actions;
pub(crate) mod admin;
pub(crate) mod background;
mod batch;
pub(crate) mod close;
mod conn;
mod connect;
mod connecting;
mod events;
pub(crate) mod guard;
mod idle;
mod release;
mod report;
pub(crate) mod shared;
mod snapshot;
mod timer_slot;
mod wait_timer;
mod waiter;
