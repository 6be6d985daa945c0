//! `cargo xtask deny`: checks the dependencies against `deny.toml`.

use xshell::{Shell, cmd};

use crate::result::Result;

/// Checks the bans, licenses and sources of the dependency tree.
pub(crate) fn run(sh: &Shell) -> Result {
    if !is_installed(sh) {
        return Err(
            "cargo-deny is not installed; `cargo install --locked cargo-deny` installs it".into()
        );
    }
    Ok(cmd!(sh, "cargo deny check bans licenses sources").run()?)
}

/// Returns whether the cargo subcommand `deny` is installed.
pub(crate) fn is_installed(sh: &Shell) -> bool {
    cmd!(sh, "cargo deny --version").quiet().ignore_stderr().read().is_ok()
}
