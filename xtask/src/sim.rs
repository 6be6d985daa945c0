//! `cargo xtask sim`: random traffic in virtual time, seed by seed.

use xshell::{Shell, cmd};

use crate::result::Result;

/// What `cargo xtask sim` hands on to the program that does it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds are run
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first of them: to run one again, name it here and ask for one
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many moves each of them makes
    #[arg(long, default_value_t = 5000)]
    steps: usize,
}

impl Args {
    /// As many as every change has to pass.
    pub(crate) fn for_every_change() -> Self {
        Args {
            seeds: 2000,
            first: 0,
            steps: 2000,
        }
    }
}

/// Runs the seeds; an error if one of them found something, which it has printed.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let [seeds, first, steps] = [args.seeds, args.first, args.steps as u64].map(|n| n.to_string());
    Ok(cmd!(
        sh,
        "cargo run --release -p connpool-testkit --example sim -- --seeds {seeds} --first {first} --steps {steps}"
    )
    .run()?)
}
