//! The fault matrix of `connpool-tcp` on smol.

#![cfg(target_os = "linux")]

use std::future::Future;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use connpool_smol as adapter;
use executor::spawn;
use smol::{Executor, channel};

mod executor;
#[path = "../../connpool-tcp/tests/faults/mod.rs"]
mod faults;
#[path = "../../connpool-tcp/tests/support/mod.rs"]
mod support;

mod smol_runtime {
    crate::faults::faults_on!(crate::executor::run);
}

/// Tasks in an executor of their own, which drops them at its end.
struct Tasks {
    executor: Arc<Executor<'static>>,
    thread: JoinHandle<()>,
    /// Dropping the sender stops the thread.
    running: channel::Sender<()>,
}

impl Tasks {
    fn new() -> Tasks {
        let executor = Arc::new(Executor::new());
        let (running, stopped) = channel::bounded::<()>(1);
        let thread = thread::spawn({
            let executor = Arc::clone(&executor);
            move || _ = smol::block_on(executor.run(stopped.recv()))
        });
        Tasks { executor, thread, running }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(task).detach();
    }

    fn end(self) {
        drop(self.running);
        self.thread.join().unwrap();
        let last = Arc::into_inner(self.executor);
        assert!(last.is_some(), "the executor is still in use");
    }
}
