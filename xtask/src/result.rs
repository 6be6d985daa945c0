//! The result type of the commands.

use std::error::Error;

/// The result of a command. The error names the remedy.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;
