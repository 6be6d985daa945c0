//! The fault matrix of `connpool-tcp` on tokio, on one thread and on two.

#![cfg(target_os = "linux")]

use std::future::Future;
use std::thread;

use connpool_tokio as adapter;
use executor::spawn;
use tokio::runtime::{Builder, Runtime};

mod executor;
#[path = "../../connpool-tcp/tests/faults/mod.rs"]
mod faults;
#[path = "../../connpool-tcp/tests/support/mod.rs"]
mod support;

mod current_thread {
    crate::faults::faults_on!(crate::executor::on_one_thread);
}

mod two_threads {
    crate::faults::faults_on!(crate::executor::on_two_threads);
}

/// Tasks in a runtime of their own, which drops them at its end.
struct Tasks(Runtime);

impl Tasks {
    fn new() -> Tasks {
        let mut builder = Builder::new_multi_thread();
        Tasks(builder.worker_threads(2).enable_all().build().unwrap())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    fn end(self) {
        // On a new thread, because a runtime must not be dropped inside of a task.
        thread::spawn(move || drop(self.0)).join().unwrap();
    }
}
