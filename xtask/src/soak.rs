//! `cargo xtask soak`: runs clients against a faulty server for a long time.
//!
//! The program is the package `xtask/soak`. It depends on both adapters, which no published crate
//! may do; it is not an example to copy; and `xtask` must build when the pool does not.

use xshell::{Shell, cmd};

use crate::common::{RUNTIMES, Result};

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

/// Runs the soak as long and on the runtimes as the arguments say.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let seconds = args.seconds.unwrap_or(args.minutes * 60);
    match &args.runtime {
        Some(runtime) => soak(sh, seconds, &[runtime]),
        None => soak(sh, seconds, &RUNTIMES),
    }
}

/// Runs the soak on one runtime after another, and fails if a check fails.
pub(crate) fn soak(sh: &Shell, seconds: u64, runtimes: &[&str]) -> Result {
    let seconds = seconds.to_string();
    cmd!(sh, "cargo build --release -p soak").run()?;
    for runtime in runtimes {
        cmd!(sh, "cargo run --quiet --release -p soak -- --seconds {seconds} --runtime {runtime}")
            .env("SMOL_THREADS", "2")
            .run()?;
    }
    Ok(())
}
