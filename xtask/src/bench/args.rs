//! The arguments of `cargo xtask bench`.

use clap::ValueEnum;

/// The arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One second per benchmark instead of four and no plots, for a quick look
    #[arg(long)]
    pub(super) quick: bool,
    /// Only this runtime. With --peers the default is tokio
    #[arg(long, value_enum)]
    pub(super) runtime: Option<Runtime>,
    /// Measure other pools in the same workloads, and write a report page
    #[arg(long)]
    pub(super) peers: bool,
    /// Put the tables into README.md and docs/BENCHMARKS.md, between their markers
    // Requires all data that the documents contain: otherwise saving would lose the rest.
    #[arg(long, requires = "peers", conflicts_with = "runtime")]
    pub(super) save: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Runtime {
    Tokio,
    Smol,
}

impl Runtime {
    pub(super) fn name(self) -> &'static str {
        match self {
            Runtime::Tokio => "tokio",
            Runtime::Smol => "smol",
        }
    }
}
