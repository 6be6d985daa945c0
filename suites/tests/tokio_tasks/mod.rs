//! Tasks that end with their runtime.

use std::thread;

use tokio::runtime::{Builder, Runtime};

/// Tasks in a runtime of their own, which drops them at its end.
pub(crate) struct Tasks(Runtime);

impl Tasks {
    pub(crate) fn new() -> Tasks {
        let mut builder = Builder::new_multi_thread();
        Tasks(builder.worker_threads(2).enable_all().build().unwrap())
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    pub(crate) fn end(self) {
        // On a new thread, because a runtime must not be dropped inside of a task.
        thread::spawn(move || drop(self.0)).join().unwrap();
    }
}
