//! A runtime with hooks: runs a closure in the middle of a call, to force an interleaving with
//! another thread that would otherwise be rare.

use std::sync::{Arc, Mutex};

use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_testkit::SimRuntime;

/// A simulated runtime with hooks. Clones share them.
#[derive(Clone)]
pub(crate) struct HookedRuntime {
    sim: SimRuntime,
    at_clock: Arc<Mutex<Option<Hook>>>,
    at_spawn: Arc<Mutex<Option<Hook>>>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl HookedRuntime {
    pub(crate) fn new(sim: &SimRuntime) -> Self {
        HookedRuntime { sim: sim.clone(), at_clock: Arc::default(), at_spawn: Arc::default() }
    }

    /// Runs `hook` at the next read of the clock.
    pub(crate) fn on_next_now(&self, hook: impl FnOnce() + Send + 'static) {
        *self.at_clock.lock().unwrap() = Some(Box::new(hook));
    }

    /// Runs `hook` at the next spawn of a task.
    pub(crate) fn on_next_spawn(&self, hook: impl FnOnce() + Send + 'static) {
        *self.at_spawn.lock().unwrap() = Some(Box::new(hook));
    }
}

fn run(hook: &Mutex<Option<Hook>>) {
    // Taken out first: the hook may read the clock, too.
    let hook = hook.lock().unwrap().take();
    if let Some(hook) = hook {
        hook();
    }
}

impl Runtime for HookedRuntime {
    fn now(&self) -> Instant {
        run(&self.at_clock);
        self.sim.now()
    }

    fn wall(&self) -> Instant {
        self.sim.wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.sim.sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        run(&self.at_spawn);
        self.sim.spawn(task);
    }

    fn random(&self) -> u64 {
        self.sim.random()
    }
}
