//! The scenarios of `connpool-tcp` on tokio, on one thread and on two.

use std::io;

use connpool_tokio as adapter;
use executor::{on_one_thread, spawn};

mod executor;
#[path = "../../connpool-tcp/tests/scenarios/mod.rs"]
mod scenarios;
#[path = "../../connpool-tcp/tests/support/mod.rs"]
mod support;

mod current_thread {
    crate::scenarios::scenarios_on!(crate::executor::on_one_thread);
}

mod two_threads {
    crate::scenarios::scenarios_on!(crate::executor::on_two_threads);
}

#[cfg(unix)]
type UnixIo = adapter::Io<tokio::net::UnixStream>;

#[cfg(unix)]
fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<UnixIo> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream).map(adapter::Io::new)
}

#[test]
fn futures_lite_traits_win_on_the_guard_if_both_families_are_in_scope() {
    use adapter::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

    on_one_thread(async || {
        let server = support::server::Echo::start();
        let pool = support::client::pool_of(server.address());
        let pool = pool.build_lazy().unwrap();
        let mut conn = pool.get().await.unwrap();
        conn.write_all(b"hello").await.unwrap();
        // tokio's `read_exact` would return the number of bytes.
        let (): () = conn.read_exact(&mut [0; 5]).await.unwrap();
        // Methods that only tokio's traits have resolve on the connection.
        conn.write_u16(7).await.unwrap();
        assert_eq!(conn.read_u16().await.unwrap(), 7);
    });
}
