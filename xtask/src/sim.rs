//! `cargo xtask sim`: runs random operations, or a fleet of pools, in virtual time.

use xshell::{Shell, cmd};

use crate::Result;

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

impl Args {
    /// Returns the arguments for `cargo xtask ci`.
    pub(crate) fn for_every_change() -> Self {
        Args { seeds: 2000, first: 0, steps: 2000, fleet: false, save: false, pools: 0 }
    }
}

/// Runs a tenth of the fleet, for `cargo xtask ci`.
pub(crate) fn small_fleet(sh: &Shell) -> Result {
    fleet(sh, 100, false)
}

/// Runs the seeds. Fails if a seed violates an invariant, after printing it; or runs the fleet, and fails if
/// a target is missed.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    if args.fleet {
        return fleet(sh, args.pools, args.save);
    }
    let [seeds, first, steps] = [args.seeds, args.first, args.steps as u64].map(|n| n.to_string());
    Ok(cmd!(
        sh,
        "cargo run --release -p connpool-fuzz -- --seeds {seeds} --first {first} --steps {steps}"
    )
    .run()?)
}

fn fleet(sh: &Shell, pools: usize, save: bool) -> Result {
    let (pools, save) = (pools.to_string(), save.then_some("--save"));
    Ok(cmd!(sh, "cargo run --release -p fleet -- --pools {pools} {save...}").run()?)
}
