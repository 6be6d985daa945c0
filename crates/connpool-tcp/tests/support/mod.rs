//! Support for tests over real TCP on any runtime: both ends of a connection, and a macro for lists
//! of tests.
//!
//! A test target that includes this module provides in its root: `adapter`, the crate under test,
//! and `spawn`, which spawns a task and returns a future of its result. No test waits for a fixed
//! time: tests wait for events of the kernel or the pool, with a limit of ten seconds so that a
//! failure ends.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test target uses a part of this module"
)]

pub(crate) mod client;
pub(crate) mod server;

/// Defines a test for each name in a list. Each calls `$run` with the async function of that name
/// in `$crate::$list::$module`.
macro_rules! tests {
    ($run:path; $list:ident; $($(#[$attribute:meta])* $module:ident { $($name:ident)* })*) => {
        $($(#[$attribute])* mod $module {
            $(#[test]
            fn $name() {
                $run($crate::$list::$module::$name);
            })*
        })*
    };
}

pub(crate) use tests;
