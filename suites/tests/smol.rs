//! The suites on smol.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use connpool_smol as adapter;
use connpool_smol::SmolRuntime as RealRuntime;
use futures_lite::future::or;
use smol::{Timer, spawn};

mod client;
#[cfg(all(target_os = "linux", not(connpool_portable)))]
mod faults;
mod go_parity;
mod scenarios;
mod smol_runtime;
#[cfg(all(target_os = "linux", not(connpool_portable)))]
mod smol_tasks;

#[cfg(all(target_os = "linux", not(connpool_portable)))]
use smol_tasks::Tasks;

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
    // Boxed, so that the code of the runtime is compiled once, not for each test.
    run_boxed(Box::pin(test()));
}

fn run_boxed(test: Pin<Box<dyn Future<Output = ()> + '_>>) {
    smol::block_on(or(test, async {
        Timer::after(Duration::from_secs(60)).await;
        panic!("the test timed out");
    }));
}

#[cfg(all(unix, not(connpool_portable)))]
type UnixIo = adapter::Io<smol::Async<std::os::unix::net::UnixStream>>;

#[cfg(all(unix, not(connpool_portable)))]
fn unix(stream: std::os::unix::net::UnixStream) -> std::io::Result<UnixIo> {
    smol::Async::new(stream).map(adapter::Io::new)
}
