//! `cargo xtask sim`: runs random operations in virtual time.

use xshell::{Shell, cmd};

use crate::result::Result;

/// The arguments of `cargo xtask sim`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number of seeds
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed; to repeat a seed, name it here with `--seeds 1`
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// The number of steps per seed
    #[arg(long, default_value_t = 5000)]
    steps: usize,
}

impl Args {
    /// Returns the arguments for `cargo xtask ci`.
    pub(crate) fn for_every_change() -> Self {
        Args { seeds: 2000, first: 0, steps: 2000 }
    }
}

/// Runs the seeds. Fails if a seed violates an invariant, after printing it.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let [seeds, first, steps] = [args.seeds, args.first, args.steps as u64].map(|n| n.to_string());
    Ok(cmd!(
        sh,
        "cargo run --release -p connpool-fuzz -- --seeds {seeds} --first {first} --steps {steps}"
    )
    .run()?)
}
