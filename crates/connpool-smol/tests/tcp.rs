//! The scenarios of `connpool-tcp` on smol.

use std::io;

use connpool_smol as adapter;
use executor::spawn;

mod executor;
#[path = "../../connpool-tcp/tests/scenarios/mod.rs"]
mod scenarios;
#[path = "../../connpool-tcp/tests/support/mod.rs"]
mod support;

mod smol_runtime {
    crate::scenarios::scenarios_on!(crate::executor::run);
}

#[cfg(unix)]
type UnixIo = adapter::Io<smol::Async<std::os::unix::net::UnixStream>>;

#[cfg(unix)]
fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<UnixIo> {
    smol::Async::new(stream).map(adapter::Io::new)
}
