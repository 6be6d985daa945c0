//! One large model by shuttle: many tasks that do what they like with one pool, in random schedules.
//!
//! A failure prints its schedule; `cargo xtask shuttle --replay` runs it again.

mod drawn;
mod runtime;
mod tasks;

use std::env;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use runtime::block_on;
use tasks::everybody_does_as_he_likes;

/// The number of schedules each test tries, unless `CONNPOOL_ITERATIONS` in the environment says.
const ITERATIONS: usize = 10_000;

#[test]
fn the_pool_survives_random_schedules() {
    check(RandomScheduler::new);
}

#[test]
fn the_pool_survives_schedules_with_few_unlucky_switches() {
    check(|iterations| PctScheduler::new(3, iterations));
}

fn check<S: Scheduler + 'static>(scheduler: impl FnOnce(usize) -> S) {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(20_000_000);
    config.stack_size = 0x20000;
    let model = || block_on(everybody_does_as_he_likes());
    if let Ok(path) = env::var("CONNPOOL_REPLAY") {
        let schedule = ReplayScheduler::new_from_file(path).expect("a file with a schedule");
        Runner::new(schedule, config).run(model);
        return;
    }
    let iterations = env::var("CONNPOOL_ITERATIONS")
        .map_or(ITERATIONS, |text| text.parse().expect("a number of iterations"));
    Runner::new(scheduler(iterations), config).run(model);
}
