//! `cargo xtask sim`: runs random operations, or a fleet of pools, in virtual time.

use xshell::{Shell, cmd};

use crate::common::Result;

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
    steps: u64,
    /// Run a thousand pools and one backend instead, and check the targets
    #[arg(long, conflicts_with_all = ["seeds", "first", "steps"])]
    fleet: bool,
    /// With `--fleet`: write the table and the plot to the documents
    #[arg(long, requires = "fleet")]
    save: bool,
    /// With `--fleet`: the number of pools
    #[arg(long, requires = "fleet", default_value_t = 1000)]
    pools: usize,
}

/// Runs the seeds, or the fleet.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    match args.fleet {
        true => fleet(sh, args.pools, args.save),
        false => seeds(sh, args.seeds, args.first, args.steps),
    }
}

/// Runs random operations from each seed. Fails if a seed violates an invariant, after printing it.
pub(crate) fn seeds(sh: &Shell, seeds: u64, first: u64, steps: u64) -> Result {
    let [seeds, first, steps] = [seeds, first, steps].map(|number| number.to_string());
    Ok(cmd!(
        sh,
        "cargo run --release -p connpool-fuzz -- --seeds {seeds} --first {first} --steps {steps}"
    )
    .run()?)
}

/// Runs the fleet. Fails if a target is missed.
pub(crate) fn fleet(sh: &Shell, pools: usize, save: bool) -> Result {
    let (pools, save) = (pools.to_string(), save.then_some("--save"));
    Ok(cmd!(sh, "cargo run --release -p fleet -- --pools {pools} {save...}").run()?)
}
