//! Tasks that end with their executor.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use smol::{Executor, channel};

/// Tasks in an executor of their own, which drops them at its end.
pub(crate) struct Tasks {
    executor: Arc<Executor<'static>>,
    thread: JoinHandle<()>,
    /// Dropping the sender stops the thread.
    running: channel::Sender<()>,
}

impl Tasks {
    pub(crate) fn new() -> Tasks {
        let executor = Arc::new(Executor::new());
        let (running, stopped) = channel::bounded::<()>(1);
        let thread = thread::spawn({
            let executor = Arc::clone(&executor);
            move || _ = smol::block_on(executor.run(stopped.recv()))
        });
        Tasks { executor, thread, running }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(task).detach();
    }

    pub(crate) fn end(self) {
        drop(self.running);
        self.thread.join().unwrap();
        let last = Arc::into_inner(self.executor);
        assert!(last.is_some(), "the executor is still in use");
    }
}
