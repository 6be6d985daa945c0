//! What every test over real TCP needs, on any runtime: the two ends of a connection, and a list
//! of tests that is written once.
//!
//! A test target that includes this brings, in its root: `adapter`, the crate under test; `spawn`,
//! a task of the runtime whose end can be awaited. Nothing here waits for time to pass: it waits
//! for what the kernel or the pool reports, and a limit of ten seconds on that is there only so
//! that a failure ends.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test target uses its own part of it"
)]

pub(crate) mod client;
pub(crate) mod server;

/// Makes a test of every name in a list, which is an `async fn` of that name in
/// `$crate::$list::$module`, run by `$run`.
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
