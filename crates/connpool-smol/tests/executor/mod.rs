//! The executor for the tests that are shared between the adapters.

use std::future::Future;
use std::time::Duration;

use futures_lite::future::or;
use smol::Timer;

pub(crate) fn run<F: Future<Output = ()>>(test: impl Fn() -> F) {
    smol::block_on(or(test(), async {
        Timer::after(Duration::from_secs(60)).await;
        panic!("the test timed out");
    }));
}

pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    smol::spawn(task)
}
