//! The command line argument of every example.

use clap::{Parser, ValueEnum};

/// An example of connpool
#[derive(Debug, Parser)]
pub struct Args {
    /// The runtime that the clients and the pool run on
    #[arg(long, value_enum, default_value = "tokio")]
    pub runtime: Which,
}

/// A supported runtime.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Which {
    /// tokio
    Tokio,
    /// smol
    Smol,
}
