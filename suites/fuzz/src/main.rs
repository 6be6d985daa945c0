//! Runs `fuzz` for a range of seeds. Called by `cargo xtask sim`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::Parser;
use connpool_fuzz::fuzz;

/// Runs random operations against a pool and checks all invariants after every step.
#[derive(Parser)]
struct Args {
    /// Number of seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Steps per seed
    #[arg(long, default_value_t = 5_000)]
    steps: usize,
    /// Seeds run in parallel
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Each violation carries its panic message; minimizing would print it a thousand times.
    std::panic::set_hook(Box::new(|_| ()));
    let next = AtomicU64::new(0);
    let run = || {
        let (mut trace, mut violations) = (0_u64, 0_u64);
        loop {
            let nth = next.fetch_add(1, Ordering::SeqCst);
            if nth >= args.seeds {
                return (trace, violations);
            }
            let seed = args.first.saturating_add(nth);
            match fuzz(seed, args.steps) {
                // The sum does not depend on the order in which the seeds end.
                Ok(hash) => trace = trace.wrapping_add(hash),
                Err(violation) => {
                    violations += 1;
                    println!("{violation}");
                }
            }
        }
    };
    let (trace, violations) = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads.max(1)).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("fuzz catches panics"))
            .fold((0_u64, 0), |(trace, violations), more| {
                (trace.wrapping_add(more.0), violations + more.1)
            })
    });
    println!(
        "{} seeds of {} steps: {violations} violations, trace hash {trace:016x}",
        args.seeds, args.steps
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
