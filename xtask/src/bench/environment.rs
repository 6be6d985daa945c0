//! The environment of a measurement.

use std::env;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::SystemTime;

use xshell::{Shell, cmd};

/// Describes the machine and its load, the compiler, the commit, the date and the command. Call this
/// after the build and before the measurement, for a meaningful load.
pub(super) fn describe(sh: &Shell) -> String {
    let cores = available_parallelism().map_or(0, NonZero::get);
    let rustc = cmd!(sh, "rustc --version").quiet().read();
    let commit = cmd!(sh, "git describe --always --dirty --exclude *").quiet();
    let second = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let typed: Vec<_> = env::args().skip(1).collect();
    let parts = [
        Some(processor(sh).unwrap_or_else(|| "unknown processor".to_owned())),
        Some(format!("{cores} cores")),
        load(sh).map(|load| format!("load {load} at the start")),
        rustc.ok(),
        commit.read().ok().map(|commit| format!("commit {commit}")),
        second.split('T').next().map(str::to_owned),
        Some(format!("`cargo xtask {}`", typed.join(" "))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns the model of the first processor, if known.
fn processor(sh: &Shell) -> Option<String> {
    let cpu_info = sh.read_file("/proc/cpuinfo").ok()?;
    let line = cpu_info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the average number of runnable tasks of the last minute, if known.
fn load(sh: &Shell) -> Option<String> {
    let averages = sh.read_file("/proc/loadavg").ok()?;
    averages.split_whitespace().next().map(str::to_owned)
}
