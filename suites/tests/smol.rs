//! The suites on smol.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use connpool_smol as adapter;
use connpool_smol::SmolRuntime as RealRuntime;
use futures_lite::future::or;
use smol::{Executor, Timer, channel, spawn};

mod client;
#[cfg(all(target_os = "linux", not(connpool_portable)))]
mod faults;
mod go_parity;
mod scenarios;
mod smol_runtime;

mod on_smol {
    mod scenarios {
        crate::scenarios::scenarios_on!(crate::run);
    }
    mod go_parity {
        crate::go_parity::go_parity_on!(crate::run);
    }
    #[cfg(all(target_os = "linux", not(connpool_portable)))]
    mod faults {
        crate::faults::faults_on!(crate::run);
    }
}

fn run<F: Future<Output = ()>>(test: impl Fn() -> F) {
    smol::block_on(or(test(), async {
        Timer::after(Duration::from_secs(60)).await;
        panic!("the test timed out");
    }));
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

#[cfg(all(unix, not(connpool_portable)))]
type UnixIo = adapter::Io<smol::Async<std::os::unix::net::UnixStream>>;

#[cfg(all(unix, not(connpool_portable)))]
fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<UnixIo> {
    smol::Async::new(stream).map(adapter::Io::new)
}
