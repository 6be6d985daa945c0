//! What `cargo xtask bench` is asked for.

use clap::ValueEnum;

/// What to measure, how well, and what to do with it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One second for each benchmark instead of four, and no plots: to look at, not to quote
    #[arg(long)]
    pub(super) quick: bool,
    /// Only this runtime; with --peers, tokio unless named
    #[arg(long, value_enum)]
    pub(super) runtime: Option<Runtime>,
    /// Other pools as well, in the same workloads, and a report of all of it as a page
    #[arg(long)]
    pub(super) peers: bool,
    /// Put the tables into README.md and docs/BENCHMARKS.md, between their markers
    // Both hold the other pools and tokio: with less measured, what is there would be lost.
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn refusal(args: &[&str]) -> Option<String> {
        let parsed = Command::try_parse_from([&["bench"], args].concat());
        parsed.err().map(|error| error.to_string())
    }

    #[test]
    fn only_all_of_it_is_saved() {
        let alone = refusal(&["--save"]).expect("the other pools are missing");
        assert!(alone.contains("--peers"), "{alone}");
        let half = refusal(&["--save", "--peers", "--runtime", "smol"]).expect("half is missing");
        assert!(half.contains("--runtime"), "{half}");
        assert_eq!(refusal(&["--save", "--peers", "--quick"]), None);
    }
}
