//! `cargo xtask loom`, `cargo xtask shuttle` and `cargo xtask stateright`: run the core under its model
//! checkers.

use std::path::PathBuf;

use xshell::{Shell, cmd};

use crate::common::Result;

/// The arguments of `cargo xtask loom`.
#[derive(clap::Args, Default)]
pub(crate) struct Loom {
    /// The maximum number of preemptions per schedule, instead of 2; 3 takes half an hour
    #[arg(long)]
    preemptions: Option<usize>,
    /// Arguments for the tests, such as a part of their names
    #[arg(last = true)]
    harness: Vec<String>,
}

/// The arguments of `cargo xtask shuttle`.
#[derive(clap::Args, Default)]
pub(crate) struct Shuttle {
    /// The number of schedules per test, instead of 10,000
    #[arg(long)]
    iterations: Option<usize>,
    /// A file with a schedule that a failure printed; runs only that schedule
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Arguments for the tests, such as a part of their names
    #[arg(last = true)]
    harness: Vec<String>,
}

/// The arguments of `cargo xtask stateright`.
#[derive(clap::Args, Default)]
pub(crate) struct Stateright {
    /// Run the searches that are too large for every change; they take minutes and gigabytes
    #[arg(long)]
    large: bool,
    /// The depth of the searches that do not end by themselves, instead of 8, or 10 with `--large`
    #[arg(long)]
    depth: Option<usize>,
    /// Arguments for the tests, such as a part of their names
    #[arg(last = true)]
    harness: Vec<String>,
}

/// Checks the small models in every schedule.
pub(crate) fn loom(sh: &Shell, args: &Loom) -> Result {
    let preemptions = args.preemptions.map(|most| most.to_string());
    run(sh, "loom", &args.harness, &[("LOOM_MAX_PREEMPTIONS", preemptions)])
}

/// Checks the large model in random schedules.
pub(crate) fn shuttle(sh: &Shell, args: &Shuttle) -> Result {
    let iterations = args.iterations.map(|number| number.to_string());
    let replay = match &args.replay {
        Some(path) => {
            let absolute = path.canonicalize();
            let absolute = absolute.map_err(|error| format!("{}: {error}", path.display()))?;
            Some(absolute.display().to_string())
        }
        None => None,
    };
    let env = [("CONNPOOL_ITERATIONS", iterations), ("CONNPOOL_REPLAY", replay)];
    run(sh, "shuttle", &args.harness, &env)
}

/// Checks the machine of the pool in every state.
pub(crate) fn stateright(sh: &Shell, args: &Stateright) -> Result {
    let depth = args.depth.map(|depth| depth.to_string());
    let large = args.large.then(|| "1".to_owned());
    let env = [("CONNPOOL_DEPTH", depth), ("CONNPOOL_LARGE", large)];
    run(sh, "stateright", &args.harness, &env)
}

fn run(sh: &Shell, checker: &str, harness: &[String], env: &[(&str, Option<String>)]) -> Result {
    // Other tests would fail: the checker's locks work only in its models.
    let names_none = harness.iter().all(|arg| arg.starts_with('-'));
    let models = names_none.then_some("model_tests::");
    // A separate target directory: the cfg would rebuild everything else.
    Ok(cmd!(
        sh,
        "cargo test -p connpool-core --lib --release --target-dir target/{checker}
         -- --nocapture {models...} {harness...}"
    )
    .env("RUSTFLAGS", format!("--cfg connpool_{checker} -D warnings"))
    .envs(env.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))))
    .run()?)
}
