//! The environment of a measurement.

use std::env;
use std::fmt::{self, Display};
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::SystemTime;

use xshell::{Shell, cmd};

/// The machine and its load, the compiler, the commit, the date and the command.
pub(super) struct Environment(Vec<String>);

impl Environment {
    /// Describes the current environment. Call this after the build and before the measurement, for
    /// a meaningful load.
    pub(super) fn now(sh: &Shell) -> Self {
        let cores = available_parallelism().map_or(0, NonZero::get);
        let rustc = cmd!(sh, "rustc --version").quiet().read();
        let commit = cmd!(sh, "git describe --always --dirty --exclude *").quiet();
        let second = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let typed: Vec<_> = env::args().skip(1).collect();
        let parts = [
            Some(processor(sh)),
            Some(format!("{cores} cores")),
            load(sh).map(|load| format!("load {load} at the start")),
            rustc.ok(),
            commit.read().ok().map(|commit| format!("commit {commit}")),
            second.split('T').next().map(str::to_owned),
            Some(format!("`cargo xtask {}`", typed.join(" "))),
        ];
        Environment(parts.into_iter().flatten().collect())
    }

    #[cfg(test)]
    pub(super) fn of<const N: usize>(parts: [&str; N]) -> Self {
        Environment(parts.map(str::to_owned).to_vec())
    }
}

impl Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Returns the model of the processor, if known.
fn processor(sh: &Shell) -> String {
    let cpu_info = sh.read_file("/proc/cpuinfo").unwrap_or_default();
    cpu_model(&cpu_info).unwrap_or("unknown processor").to_owned()
}

/// Returns the average number of runnable tasks of the last minute, if known.
fn load(sh: &Shell) -> Option<String> {
    let averages = sh.read_file("/proc/loadavg").ok()?;
    averages.split_whitespace().next().map(str::to_owned)
}

/// Returns the first model in Linux' `/proc/cpuinfo`.
fn cpu_model(cpu_info: &str) -> Option<&str> {
    let line = cpu_info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}
