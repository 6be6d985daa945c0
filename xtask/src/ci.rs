//! `cargo xtask ci`: runs all checks but `cargo test`, and stops at the first failure.

use std::time::Instant;

use xshell::{Shell, cmd};

use crate::common::{RUNTIMES, Result};
use crate::examples;
use crate::model;
use crate::seeded_bugs;
use crate::sim;
use crate::soak;

/// Packages that the core must not depend on: runtimes, sockets, randomness.
const NOT_IN_THE_CORE: &[&str] =
    &["async-executor", "async-io", "mio", "polling", "rand", "smol", "socket2", "tokio"];

/// The packages that `cargo test` tests: the default members of the workspace.
const TESTED_BEFORE: &[&str] = &[
    "--exclude=connpool-conformance",
    "--exclude=connpool-core",
    "--exclude=connpool-examples",
    "--exclude=connpool-fuzz",
    "--exclude=connpool-smol",
    "--exclude=connpool-tcp",
    "--exclude=connpool-testkit",
    "--exclude=connpool-tokio",
    "--exclude=suites",
];

/// Runs every step after `cargo test`, in order.
pub(crate) fn run(sh: &Shell) -> Result {
    step("format", || Ok(cmd!(sh, "cargo fmt --all --check").run()?))?;
    step("lints", || lints(sh))?;
    step("dependencies", || dependencies(sh))?;
    step("features", || features(sh))?;
    step("tests", || tests(sh))?;
    step("other systems", || portable(sh))?;
    step("benches", || benches(sh))?;
    step("instructions", || counts(sh))?;
    step("simulation", || sim::seeds(sh, 2000, 0, 2000))?;
    step("fleet", || sim::fleet(sh, 100, false))?;
    step("seeded bugs", || seeded_bugs::run(sh, &seeded_bugs::Args::default()))?;
    step("loom", || model::loom(sh, &model::Loom::default()))?;
    step("shuttle", || model::shuttle(sh, &model::Shuttle::default()))?;
    step("stateright", || model::stateright(sh, &model::Stateright::default()))?;
    step("docs", || docs(sh))?;
    step("examples", || examples::run(sh))?;
    step("soak", || soak::soak(sh, 20, &RUNTIMES))?;
    step("packages", || packages(sh))?;
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result) -> Result {
    println!("\n==> {name}");
    let start = Instant::now();
    work().map_err(|error| format!("the step `{name}` failed: {error}"))?;
    println!("<== {name}: {} s", start.elapsed().as_secs());
    Ok(())
}

fn lints(sh: &Shell) -> Result {
    cmd!(sh, "cargo clippy --workspace --all-targets --all-features -- -D warnings").run()?;
    Ok(())
}

/// Checks that no dependency is unused, and that the core needs no runtime.
fn dependencies(sh: &Shell) -> Result {
    // By its own name: as a subcommand it takes its name for a folder when xtask runs under cargo.
    cmd!(sh, "cargo-machete").run()?;
    let tree =
        cmd!(sh, "cargo tree -p connpool-core -e normal --all-features --target all --prefix none")
            .quiet()
            .read()?;
    let mut names = tree.lines().filter_map(|line| line.split_whitespace().next());
    match names.find(|name| NOT_IN_THE_CORE.contains(name)) {
        Some(name) => Err(format!("connpool-core depends on {name}").into()),
        None => Ok(()),
    }
}

/// Builds the published crates with every combination of their features.
fn features(sh: &Shell) -> Result {
    let published = ["--workspace", "--ignore-private"];
    cmd!(sh, "cargo hack clippy {published...} --feature-powerset --lib -- -D warnings").run()?;
    Ok(())
}

/// Runs what `cargo test` leaves out: the packages that it does not build, and in the core the
/// features that are off by default.
fn tests(sh: &Shell) -> Result {
    cmd!(sh, "cargo nextest run -p connpool-core --all-features --profile ci").run()?;
    cmd!(sh, "cargo test -p connpool-core --all-features --doc").run()?;
    cmd!(sh, "cargo nextest run --workspace {TESTED_BEFORE...} --profile ci").run()?;
    Ok(())
}

/// Tests the code paths for systems other than Linux, as far as they compile on Linux.
fn portable(sh: &Shell) -> Result {
    let packages =
        ["-p", "connpool-tcp", "-p", "connpool-tokio", "-p", "connpool-smol", "-p", "suites"];
    // A separate target directory: the cfg would rebuild everything else.
    cmd!(sh, "cargo nextest run {packages...} --profile ci --target-dir target/portable")
        .env("RUSTFLAGS", "--cfg connpool_portable -D warnings")
        .run()?;
    Ok(())
}

/// Runs every benchmark once without measuring, to check that it works.
fn benches(sh: &Shell) -> Result {
    // Built like the tests, so that nothing is built twice.
    cmd!(sh, "cargo test --workspace {TESTED_BEFORE...} --bench *").run()?;
    Ok(())
}

/// Counts instructions with valgrind. `benches/counts.rs` has the limits.
pub(crate) fn counts(sh: &Shell) -> Result {
    // This package alone: building the whole workspace would enable tokio's test clock, which is
    // slower.
    cmd!(sh, "cargo bench -p connpool-benches --bench counts").run()?;
    Ok(())
}

fn docs(sh: &Shell) -> Result {
    cmd!(sh, "cargo doc --workspace --all-features --no-deps")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(())
}

/// Packs and builds what would be published.
fn packages(sh: &Shell) -> Result {
    cmd!(sh, "cargo publish --dry-run --workspace --allow-dirty")
        // A package has no profile of its own, and the default one builds slowly.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .run()?;
    Ok(())
}

/// Checks that a release can be published: its address, its interface and its packages.
pub(crate) fn release(sh: &Shell) -> Result {
    if sh.read_file("Cargo.toml")?.contains("/OWNER/") {
        return Err("Cargo.toml: fill in `repository`".into());
    }
    cmd!(sh, "cargo semver-checks --workspace").run()?;
    packages(sh)
}
