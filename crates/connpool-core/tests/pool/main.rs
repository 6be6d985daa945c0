//! The pool as its users see it, in virtual time.

mod breaker;
mod cancel;
mod checks;
mod close;
mod control;
mod extremes;
mod failures;
mod guard;
mod keepalive;
mod lend;
mod limits;
mod meanwhile;
mod panics;
mod pause;
mod runtime_ends;
mod support;
mod suspicion;
mod sweep;
mod threads;
mod trouble;
mod without_waiting;
