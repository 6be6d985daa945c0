//! Runs the fleet. Called by `cargo xtask sim --fleet`.

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use clap::Parser;
use fleet::{Fleet, Overflow, Run, Scenario, svg, table};

const PLOT: &str = "docs/fleet.svg";
const DOCUMENT: &str = "docs/VERIFICATION.md";
const BEGIN: &str = "<!-- fleet:begin -->";
const END: &str = "<!-- fleet:end -->";

/// Runs a thousand pools and one backend in virtual time, and checks the targets
#[derive(Parser)]
struct Args {
    /// The number of pools
    #[arg(long, default_value_t = 1000)]
    pools: usize,
    /// The seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the table and the plot to the documents
    #[arg(long)]
    save: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let fleet = Fleet { pools: args.pools, size: 20, seed: args.seed };
    let runs = run_all(fleet);
    let figures: Vec<_> = runs.iter().map(Run::figures).collect();
    let table = table(&figures);
    println!("{table}");
    let misses: Vec<_> = figures.iter().flat_map(|figures| figures.misses()).collect();
    misses.iter().for_each(|miss| println!("missed: {miss}"));
    if args.save {
        fs::write(PLOT, svg(&runs)?)?;
        fs::write(DOCUMENT, put(&fs::read_to_string(DOCUMENT)?, &table)?)?;
        println!("Saved: {PLOT}, {DOCUMENT}");
    }
    Ok(if misses.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all scenarios on two threads, and returns the runs in order.
fn run_all(fleet: Fleet) -> Vec<Run> {
    let all = Scenario::ALL.iter().flat_map(|scenario| {
        [Overflow::Refuse, Overflow::Wait].map(|overflow| (*scenario, overflow))
    });
    let all: Vec<_> = all.collect();
    let next = AtomicUsize::new(0);
    let take = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        all.get(at).map(|(scenario, overflow)| (at, fleet.run(*scenario, *overflow)))
    };
    let mut runs: Vec<_> = thread::scope(|scope| {
        let threads =
            [(); 2].map(|()| scope.spawn(|| std::iter::from_fn(take).collect::<Vec<_>>()));
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a run does not panic"))
            .collect()
    });
    runs.sort_by_key(|(at, _)| *at);
    runs.into_iter().map(|(_, run)| run).collect()
}

/// Replaces the text between the markers.
fn put(document: &str, table: &str) -> Result<String, String> {
    let split = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
    });
    split.ok_or_else(|| format!("{DOCUMENT}: no lines `{BEGIN}` and `{END}` around the table"))
}
