//! A runtime that lets others make a move in the middle of a call: what another thread may do there
//! one time in a million, it does here every time.

use std::sync::{Arc, Mutex};

use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_testkit::SimRuntime;

/// Clones are the same runtime.
#[derive(Clone)]
pub(crate) struct Meddling {
    sim: SimRuntime,
    at_clock: Arc<Mutex<Option<Move>>>,
    at_spawn: Arc<Mutex<Option<Move>>>,
}

type Move = Box<dyn FnOnce() + Send>;

impl Meddling {
    pub(crate) fn new(sim: &SimRuntime) -> Self {
        Meddling {
            sim: sim.clone(),
            at_clock: Arc::default(),
            at_spawn: Arc::default(),
        }
    }

    /// The move is made when somebody next looks at the clock.
    pub(crate) fn at_the_clock(&self, act: impl FnOnce() + Send + 'static) {
        *self.at_clock.lock().unwrap() = Some(Box::new(act));
    }

    /// The move is made when somebody next spawns a task.
    pub(crate) fn at_the_spawn(&self, act: impl FnOnce() + Send + 'static) {
        *self.at_spawn.lock().unwrap() = Some(Box::new(act));
    }
}

fn make(act: &Mutex<Option<Move>>) {
    // Taken out first: the move may look at the clock, too.
    let act = act.lock().unwrap().take();
    if let Some(act) = act {
        act();
    }
}

impl Runtime for Meddling {
    fn now(&self) -> Instant {
        make(&self.at_clock);
        self.sim.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.sim.sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        make(&self.at_spawn);
        self.sim.spawn(task);
    }

    fn random(&self) -> u64 {
        self.sim.random()
    }
}
