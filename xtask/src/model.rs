//! `cargo xtask loom` and `cargo xtask shuttle`: the core under its model checkers.

use std::path::PathBuf;

use xshell::{Shell, cmd};

use crate::result::Result;

/// How far loom goes.
#[derive(clap::Args, Default)]
pub(crate) struct Loom {
    /// The most preemptions in a schedule, instead of 2; with 3 it takes half an hour
    #[arg(long)]
    preemptions: Option<usize>,
    /// Arguments for the tests, such as a part of their names
    #[arg(last = true)]
    harness: Vec<String>,
}

/// How long shuttle tries.
#[derive(clap::Args, Default)]
pub(crate) struct Shuttle {
    /// How many schedules each test tries, instead of 10,000
    #[arg(long)]
    iterations: Option<usize>,
    /// A file with the schedule that a failure has printed: tries only that one
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Arguments for the tests, such as a part of their names
    #[arg(last = true)]
    harness: Vec<String>,
}

/// Tries every schedule of the small models.
pub(crate) fn loom(sh: &Shell, args: &Loom) -> Result {
    let preemptions = args.preemptions.map(|most| most.to_string());
    let env = [("LOOM_MAX_PREEMPTIONS", preemptions)];
    run(sh, "loom", &args.harness, env)
}

/// Tries random schedules of the large model.
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
    let env = [
        ("CONNPOOL_ITERATIONS", iterations),
        ("CONNPOOL_REPLAY", replay),
    ];
    run(sh, "shuttle", &args.harness, env)
}

fn run<const N: usize>(
    sh: &Shell,
    checker: &str,
    harness: &[String],
    env: [(&str, Option<String>); N],
) -> Result {
    // The library's other tests are not for a checker, whose locks work in its models only.
    let names_none = harness.iter().all(|arg| arg.starts_with('-'));
    let models = names_none.then_some("models::");
    // A target folder of its own: the cfg would have everything else built again.
    let mut test = cmd!(
        sh,
        "cargo test -p connpool-core --lib --release --target-dir target/{checker}
         -- --nocapture {models...} {harness...}"
    )
    .env("RUSTFLAGS", format!("--cfg connpool_{checker} -D warnings"));
    for (name, value) in env {
        if let Some(value) = value {
            test = test.env(name, value);
        }
    }
    test.run()?;
    Ok(())
}
