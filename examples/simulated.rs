//! Simulates a day of traffic, including an outage of the backend, in less than a second. The pool
//! is the real one; time and the backend are simulated.
//!
//! $ cargo run --release --example simulated
//! $ cargo run --release --example simulated -- --seed 7

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use connpool_core::{GetError, Pool, Runtime};
use connpool_testkit::{Behavior, Call, FaultyManager, SimRuntime};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const CONNECT: Behavior = Behavior::Take(Duration::from_millis(5));
const CLIENTS: usize = 24;

/// Simulates a day of traffic.
#[derive(Parser)]
struct Args {
    /// The seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Results of the clients in one hour.
#[derive(Clone, Copy, Default)]
struct Hour {
    served: usize,
    failed: usize,
    longest_wait: Duration,
    most_open: usize,
}

type Day = Arc<Mutex<[Hour; 24]>>;

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let sim = SimRuntime::new(Args::parse().seed);
    let backend = FaultyManager::new(sim.clone());
    backend.always(Call::Connect, CONNECT);
    let pool = backend
        .pool()
        .name("simulated")
        .min_size(2)
        .max_size(8)
        .idle_timeout(5 * MINUTE)
        .max_lifetime(HOUR)
        .get_timeout(Duration::from_secs(2))
        .build_lazy()?;

    let day = Day::default();
    for _ in 0..CLIENTS {
        let client = client(sim.clone(), pool.clone(), Arc::clone(&day));
        sim.spawn(Box::pin(client));
    }
    println!("00:00  {CLIENTS} clients, at most {} connections", pool.config().max_size);
    sim.advance(14 * HOUR);
    backend.always(Call::Connect, Behavior::Fail);
    backend.hang_up_all();
    println!("14:00  the backend goes down with {} open connections", pool.stats().size);
    let attempts = backend.calls(Call::Connect);
    sim.advance(10 * MINUTE);
    backend.always(Call::Connect, CONNECT);
    let attempts = backend.calls(Call::Connect) - attempts;
    println!("14:10  the backend is up again, after {attempts} connect attempts");
    sim.advance(24 * HOUR - 14 * HOUR - 10 * MINUTE);

    println!("\nhour   served  failed  longest wait  most open");
    let hours = *day.lock().unwrap_or_else(PoisonError::into_inner);
    for (hour, figures) in hours.iter().enumerate() {
        let Hour { served, failed, longest_wait, most_open } = figures;
        println!("{hour:>4} {served:>8} {failed:>7} {longest_wait:>13.1?} {most_open:>10}");
    }
    println!("\n{}", pool.stats());
    println!("{:.0?} of virtual time in {:.0?}", sim.elapsed(), start.elapsed());
    Ok(())
}

/// Repeats: waits, gets a connection, uses it. The rate is higher by day than at night.
async fn client(sim: SimRuntime, pool: Pool<FaultyManager>, day: Day) {
    loop {
        let hour = sim.elapsed().as_secs() / 3600;
        let busy = 1 + 12u64.saturating_sub(hour.abs_diff(13));
        sim.sleep(between(&sim, 1, 120_000 / busy)).await;

        let asked = sim.elapsed();
        let got = pool.get().await;
        let waited = sim.elapsed() - asked;
        let open = pool.stats().size;
        if let Some(figures) = day
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut((asked.as_secs() / 3600) as usize)
        {
            figures.longest_wait = figures.longest_wait.max(waited);
            figures.most_open = figures.most_open.max(open);
            match got {
                Ok(_) => figures.served += 1,
                Err(_) => figures.failed += 1,
            }
        }
        match got {
            Ok(_conn) => sim.sleep(between(&sim, 5, 500)).await,
            Err(GetError::Closed) => return,
            // Wait before the next attempt, to spare a backend that is down.
            Err(_) => sim.sleep(Duration::from_secs(1)).await,
        }
    }
}

fn between(sim: &SimRuntime, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + sim.random() % (most - least).max(1))
}
