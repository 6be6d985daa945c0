//! `cargo xtask soak`: runs clients against a faulty server for a long time.
//!
//! The program is the package `xtask/soak`. It depends on both adapters, which no published crate
//! may do; it is not an example to copy; and `xtask` must build when the pool does not.

use xshell::{Shell, cmd};

use crate::{RUNTIMES, Result};

/// The arguments of `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The duration in minutes
    #[arg(long, default_value_t = 3, conflicts_with = "seconds")]
    minutes: u64,
    /// The duration in seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// The runtime; the default is both, one after the other
    #[arg(long, value_parser = RUNTIMES)]
    runtime: Option<String>,
}

impl Args {
    /// Returns the arguments for `cargo xtask ci`.
    pub(crate) fn short() -> Args {
        Args { minutes: 0, seconds: Some(20), runtime: None }
    }
}

/// Runs the soak and fails if a check fails.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let seconds = args.seconds.unwrap_or(args.minutes * 60).to_string();
    cmd!(sh, "cargo build --release -p soak").run()?;
    let runtimes = args.runtime.as_deref().map_or(RUNTIMES.to_vec(), |runtime| vec![runtime]);
    for runtime in runtimes {
        cmd!(sh, "cargo run --quiet --release -p soak -- --seconds {seconds} --runtime {runtime}")
            .env("SMOL_THREADS", "2")
            .run()?;
    }
    Ok(())
}
