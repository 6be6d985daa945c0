//! The decisions of a pool, as pure state machines.
//!
//! Values in, values out: no connection, future, lock, waker or clock. Time, random draws and the
//! outcome of I/O are arguments; what the shell has to do is returned. These modules import only
//! `time`, `config` and the plain enums of the crate, and a test holds that.
//!
//! | module           | decides                                                    |
//! |------------------|------------------------------------------------------------|
//! | `health`         | the check of one connection                                |
//! | `check_doubt`    | whether a check is wrong itself                            |
//! | `check_limit`    | how long a ping or a reset may take                        |
//! | `disposition`    | what happens to a connection that comes back               |
//! | `wait_queue`     | which waiter is served next                                |
//! | `capacity`       | how many connects may start, and what is surplus           |
//! | `connects`       | which connects hang, and how many more may start           |
//! | `backoff`        | when to connect again after failures, and who hears of it  |
//! | `contention`     | how far apart connects are that fail and succeed by turns  |
//! | `breaker`        | whether the backend is used or only probed                 |
//! | `failure_burst`  | whether several broken connections make the others suspect |
//! | `clock_leap`     | whether time has passed that the clock did not count       |
//! | `home`           | on which runtime the pool is maintained, and connects      |
//! | `sweep_schedule` | when the maintenance task sweeps                           |
//! | `pool`           | all of it together, as `PoolMachine`                       |

pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod capacity;
pub(crate) mod check_doubt;
pub(crate) mod check_limit;
pub(crate) mod clock_leap;
pub(crate) mod connects;
pub(crate) mod contention;
pub(crate) mod count;
pub(crate) mod disposition;
pub(crate) mod failure_burst;
pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod pool;
#[cfg(test)]
pub(crate) mod projection;
pub(crate) mod resets;
pub(crate) mod sweep_schedule;
pub(crate) mod wait_queue;
pub(crate) mod wait_timer;
