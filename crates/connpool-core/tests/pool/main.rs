//! The pool as its users see it, in virtual time.

mod cancel;
mod checks;
mod close;
mod control;
mod extremes;
mod failures;
mod guard;
mod lend;
mod limits;
mod many;
mod meanwhile;
mod observer;
mod panics;
mod reconfigure;
mod runtime_ends;
mod stock;
mod support;
mod sweep;
mod threads;
mod trouble;
mod without_waiting;
