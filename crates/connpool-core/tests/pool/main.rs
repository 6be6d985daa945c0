//! The pool as its users see it, in virtual time.

mod breaker;
mod cancel;
mod checks;
mod close;
mod control;
mod errors;
mod extremes;
mod failures;
mod guard;
mod in_hand;
mod lend;
mod limits;
mod managers;
mod many;
mod meanwhile;
mod observer;
mod panics;
mod reconfigure;
mod runtime_ends;
mod stock;
mod support;
mod suspicion;
mod sweep;
mod threads;
mod trouble;
mod without_waiting;
