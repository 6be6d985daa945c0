//! `cargo xtask bench`: measures this pool, and optionally other pools, and prints tables.

mod comparison;
mod criterion;
mod environment;
mod figures;
mod footnotes;
mod html;
mod peers;
mod plot;
mod record;
mod save;
mod table;
mod units;

use std::env;
use std::path::{PathBuf, absolute};

use xshell::Shell;

use crate::common::{RUNTIMES, Result};

/// The arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One second per benchmark instead of four and no plots, for a quick look
    #[arg(long)]
    quick: bool,
    /// Only this runtime. With --peers the default is tokio
    #[arg(long, value_parser = RUNTIMES)]
    runtime: Option<String>,
    /// Measure other pools in the same workloads, and write a report page
    #[arg(long)]
    peers: bool,
    /// Put the tables into README.md and docs/BENCHMARKS.md, between their markers
    // Requires all data that the documents contain: otherwise saving would lose the rest.
    #[arg(long, requires = "peers", conflicts_with = "runtime")]
    save: bool,
}

/// Runs the benchmarks and prints the tables.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    if args.save {
        save::check(sh)?;
    }
    criterion::build(sh)?;
    if args.peers {
        peers::build(sh)?;
    }
    let environment = environment::describe(sh);

    let measured = criterion::measure(sh, args)?;
    let records = match args.peers {
        true => peers::measure(sh, args)?,
        false => Vec::new(),
    };
    let mut tables = vec![figures::table(&measured)];
    tables.extend(comparison::tables(&records));
    for table in &tables {
        println!("{}\n", table.terminal());
    }
    println!("docs/BENCHMARKS.md says what each row includes.\n{environment}");

    if args.peers || !args.quick {
        let mut plots = figures::plots(&measured);
        plots.extend(comparison::plots(&records));
        let report = html::Report {
            tables: &tables,
            plots,
            has_criterion_report: !args.quick,
            environment: &environment,
        };
        println!("Report: {}", report.write(sh)?.display());
    }
    if args.save {
        save::all(sh, &tables, &records, &environment)?;
    }
    Ok(())
}

/// Returns a path below the target directory of cargo. It is absolute, since cargo runs a
/// benchmark in the directory of its package.
fn target(path: &str) -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(absolute(PathBuf::from(target).join(path))?)
}
