//! The runtimes of the benchmarks.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use connpool_core::{Builder, Manager};
use criterion::async_executor::AsyncExecutor;
use smol::Executor;
use smol::channel::{Sender, bounded};

use crate::echo;

/// A runtime with a number of worker threads. With none, the thread that waits for the tasks runs
/// them. Clones are handles to the same runtime.
pub trait BenchRuntime: AsyncExecutor + Clone {
    /// Returns the runtime and its workers as part of a benchmark's name: `tokio`,
    /// `smol-2-workers`.
    fn name(&self) -> String;

    /// Creates a TCP manager that pings with [`echo::once`].
    fn tcp(&self, address: SocketAddr) -> impl Manager<Error = io::Error>;

    /// Creates a pool builder. Call it within `block_on` of this runtime.
    fn builder<M: Manager>(&self, manager: M) -> Builder<M>;

    /// Spawns a task and returns a future of its output.
    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T>;
}

/// tokio: `current_thread`, or `multi_thread` with workers.
#[derive(Clone)]
pub struct Tokio {
    workers: usize,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Tokio {
    /// Starts a runtime. Panics if the system refuses.
    pub fn new(workers: usize) -> Self {
        let mut builder = match workers {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        if workers > 0 {
            builder.worker_threads(workers);
        }
        let runtime = builder.enable_all().build().expect("starting tokio");
        Tokio { workers, runtime: Arc::new(runtime) }
    }
}

impl AsyncExecutor for Tokio {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl BenchRuntime for Tokio {
    fn name(&self) -> String {
        name("tokio", self.workers)
    }

    fn tcp(&self, address: SocketAddr) -> impl Manager<Error = io::Error> {
        connpool_tokio::TcpManager::new(address).ping(echo::once)
    }

    fn builder<M: Manager>(&self, manager: M) -> Builder<M> {
        connpool_tokio::builder(manager)
    }

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        let task = self.runtime.spawn(task);
        async { task.await.expect("the task ends without a panic") }
    }
}

/// smol: a separate executor for the measured tasks. The maintenance task of the pool runs on
/// smol's global executor, as in production.
#[derive(Clone)]
pub struct Smol {
    workers: usize,
    executor: Arc<Executor<'static>>,
    /// The workers stop when the last handle is dropped.
    _stop: Sender<()>,
}

impl Smol {
    /// Starts the workers. Panics if the system refuses.
    pub fn new(workers: usize) -> Self {
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = bounded::<()>(1);
        for _ in 0..workers {
            let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
            thread::spawn(move || smol::block_on(executor.run(stopped.recv())));
        }
        Smol { workers, executor, _stop: stop }
    }
}

impl AsyncExecutor for Smol {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self.workers {
            0 => smol::block_on(self.executor.run(future)),
            _ => smol::block_on(future),
        }
    }
}

impl BenchRuntime for Smol {
    fn name(&self) -> String {
        name("smol", self.workers)
    }

    fn tcp(&self, address: SocketAddr) -> impl Manager<Error = io::Error> {
        connpool_smol::TcpManager::new(address).ping(echo::once)
    }

    fn builder<M: Manager>(&self, manager: M) -> Builder<M> {
        connpool_smol::builder(manager)
    }

    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        self.executor.spawn(task)
    }
}

fn name(runtime: &str, workers: usize) -> String {
    match workers {
        0 => runtime.to_owned(),
        1 => format!("{runtime}-1-worker"),
        _ => format!("{runtime}-{workers}-workers"),
    }
}
