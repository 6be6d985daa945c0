//! The executor for the tests that are shared between the adapters.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Builder;

pub(crate) fn on_one_thread<F: Future<Output = ()>>(test: impl Fn() -> F) {
    run(Builder::new_current_thread(), test());
}

pub(crate) fn on_two_threads<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2);
    run(builder, test());
}

fn run(mut builder: Builder, test: impl Future<Output = ()>) {
    let runtime = builder.enable_all().build().unwrap();
    let in_time =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await });
    in_time.expect("the test timed out");
}

pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let task = tokio::spawn(task);
    async move { task.await.expect("the task panicked") }
}
