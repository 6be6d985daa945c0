//! The bench target that compares pools.

use xshell::{Shell, cmd};

use super::Args;
use super::record::{self, Record};
use crate::common::Result;

const TARGET: &[&str] = &["--package", "connpool-peers", "--bench", "peers"];

/// Builds the target first, so that the output of cargo stays visible.
pub(super) fn build(sh: &Shell) -> Result {
    Ok(cmd!(sh, "cargo bench {TARGET...} --no-run").run()?)
}

/// Measures one workload after another, on all pools.
pub(super) fn measure(sh: &Shell, args: &Args) -> Result<Vec<Record>> {
    let options = args.quick.then_some("--quick");
    let runtime = args.runtime.iter().flat_map(|runtime| ["--runtime", runtime]);
    let json = sh.create_dir(super::target("bench")?)?.join("peers.json");
    cmd!(sh, "cargo bench --quiet {TARGET...} -- {options...} {runtime...} --json {json}").run()?;
    record::read(sh, &json)
}
