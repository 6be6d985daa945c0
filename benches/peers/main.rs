//! Compares connpool with the other connection pools for Rust, in one process and in rounds.
//! docs/BENCHMARKS.md describes the workloads and how each pool is used.

#![forbid(unsafe_code)]

mod budget;
mod comparison;
mod competitor;
mod context;
mod kind;
mod pools;
mod record;
mod round;
mod sockets;
mod transport;
mod workloads;

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::{panic, thread};

use clap::Parser;

use budget::Budget;
use record::{Outcome, Report};
use sockets::Runtime;

/// Compares connpool with other pools.
#[derive(Parser)]
struct Args {
    /// Three minutes instead of twelve, for a quick look
    #[arg(long)]
    quick: bool,
    /// The runtime
    #[arg(long, value_enum, default_value = "tokio")]
    runtime: Runtime,
    /// Run only workloads whose name contains this
    #[arg(long, value_name = "SUBSTRING")]
    only: Option<String>,
    /// Run only these pools
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pools: Vec<String>,
    /// List the workloads and exit
    #[arg(long)]
    list: bool,
    /// Write the records to this file instead of printing a table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run a few operations of each workload and measure nothing
    #[arg(long)]
    smoke: bool,
    /// Passed by `cargo bench`. Without it, as from `cargo test`, nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
    /// May be passed by `cargo test`
    #[arg(long, hide = true)]
    test: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut workloads = workloads::all(args.runtime);
    if let Some(only) = &args.only {
        workloads.retain(|workload| workload.name.contains(only));
    }
    if args.list {
        for workload in &workloads {
            println!("{}", workload.name);
        }
        return Ok(());
    }

    let smoke = args.smoke || args.test || !args.bench;
    let budget = match (smoke, args.quick) {
        (true, _) => Budget::SMOKE,
        (false, true) => Budget::QUICK,
        (false, false) => Budget::FULL,
    };
    quieten_panics();
    let mut records = Vec::new();
    for workload in &workloads {
        eprintln!("Measuring {}", workload.name);
        let done = comparison::run(workload, args.runtime, budget, &args.pools);
        if args.json.is_none() && !smoke {
            println!("{}\n", record::lines(&done).join("\n"));
        }
        records.extend(done);
    }

    let ours = records.iter().filter(|record| record.pool == "connpool");
    let failed: Vec<_> = ours
        .filter(|record| record.outcome != Outcome::Ok)
        .map(|record| format!("{}: {:?} {:?}", record.workload, record.outcome, record.note))
        .collect();
    if let Some(path) = &args.json {
        serde_json::to_writer_pretty(File::create(path)?, &Report { records })?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("connpool itself: {}", failed.join(", ")).into())
}

/// Silences panics in rounds, which are recorded instead.
fn quieten_panics() {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name() == Some("main") {
            loud(panic);
        }
    }));
}
