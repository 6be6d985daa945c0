//! The scenarios of `connpool-tcp` on smol.

use std::future::Future;
use std::io;
use std::time::Duration;

use connpool_smol as adapter;
use futures_lite::future::or;
use smol::{Async, Timer};

#[path = "../../connpool-tcp/tests/scenarios/mod.rs"]
mod scenarios;

mod smol_runtime {
    crate::scenarios::scenarios_on!(crate::run);
}

fn run(scenario: impl Future<Output = ()>) {
    smol::block_on(or(scenario, async {
        Timer::after(Duration::from_secs(60)).await;
        panic!("the scenario hangs");
    }));
}

fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    smol::spawn(task)
}

#[cfg(unix)]
type UnixIo = adapter::Io<Async<std::os::unix::net::UnixStream>>;

#[cfg(unix)]
fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<UnixIo> {
    Async::new(stream).map(adapter::Io::new)
}
