//! The one argument that every example takes.

use clap::{Parser, ValueEnum};

/// An example of connpool, which runs by itself.
#[derive(Debug, Parser)]
pub struct Args {
    /// The runtime that the clients and the pool run on
    #[arg(long, value_enum, default_value = "tokio")]
    pub runtime: Which,
}

/// Which runtime.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Which {
    /// tokio
    Tokio,
    /// smol
    Smol,
}
