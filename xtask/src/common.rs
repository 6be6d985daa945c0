//! What all commands use.

use std::error::Error;

/// The runtimes that benchmarks and the soak run on.
pub(crate) const RUNTIMES: [&str; 2] = ["tokio", "smol"];

/// The result of a command. The error names the remedy.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;
