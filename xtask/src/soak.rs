//! `cargo xtask soak`: clients of a server that misbehaves, for as long as one likes.
//!
//! The program is a package of its own, `xtask/soak`: it needs both adapters, as no published crate
//! may; it is not to be imitated, as an example is; and this one has to build when the pool does
//! not.

use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::result::Result;

/// What `cargo xtask soak` is asked for.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct Args {
    /// How long, in minutes
    #[arg(long, default_value_t = 3)]
    minutes: u64,
    /// How long, in seconds
    #[arg(long)]
    seconds: Option<u64>,
    #[command(flatten)]
    on: On,
}

/// Where to soak.
#[derive(clap::Args)]
struct On {
    /// The runtime; both, one after the other, if none is named
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Runtime {
    Tokio,
    Smol,
}

impl Args {
    /// Long enough to see that it works, on both runtimes.
    pub(crate) fn short() -> Args {
        Args {
            minutes: 0,
            seconds: Some(20),
            on: On { runtime: None },
        }
    }
}

/// Soaks, and wants everything to hold.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let seconds = args.seconds.unwrap_or(args.minutes * 60).to_string();
    cmd!(sh, "cargo build --release -p soak").run()?;
    let runtimes = match args.on.runtime {
        Some(Runtime::Tokio) => &["tokio"][..],
        Some(Runtime::Smol) => &["smol"],
        None => &["tokio", "smol"],
    };
    for runtime in runtimes {
        cmd!(
            sh,
            "cargo run --quiet --release -p soak -- --seconds {seconds} --runtime {runtime}"
        )
        .env("SMOL_THREADS", "2")
        .run()?;
    }
    Ok(())
}
