//! The result type of this program.

use std::error::Error;

/// A result whose error can cross threads.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
