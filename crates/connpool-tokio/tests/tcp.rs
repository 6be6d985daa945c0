//! The scenarios of `connpool-tcp` on tokio, on one thread and on two.

use std::future::Future;
use std::io;
use std::time::Duration;

use connpool_tokio as adapter;

#[path = "../../connpool-tcp/tests/scenarios/mod.rs"]
mod scenarios;

mod current_thread {
    use std::future::Future;

    fn run(scenario: impl Future<Output = ()>) {
        super::run(tokio::runtime::Builder::new_current_thread(), scenario);
    }

    crate::scenarios::scenarios_on!(crate::current_thread::run);
}

mod two_threads {
    use std::future::Future;

    fn run(scenario: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2);
        super::run(builder, scenario);
    }

    crate::scenarios::scenarios_on!(crate::two_threads::run);
}

fn run(mut builder: tokio::runtime::Builder, scenario: impl Future<Output = ()>) {
    let runtime = builder.enable_all().build().unwrap();
    let in_time =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), scenario).await });
    in_time.expect("the scenario hangs");
}

fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let task = tokio::spawn(task);
    async move { task.await.expect("the task does not panic") }
}

#[cfg(unix)]
type UnixIo = adapter::Io<tokio::net::UnixStream>;

#[cfg(unix)]
fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<UnixIo> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream).map(adapter::Io::new)
}

#[test]
fn with_both_families_of_extension_traits_those_of_futures_lite_win_on_the_guard() {
    use adapter::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

    run(tokio::runtime::Builder::new_current_thread(), async {
        let server = scenarios::server::Echo::start();
        let pool = scenarios::client::pool_of(server.address());
        let pool = pool.build_lazy().unwrap();
        let mut conn = pool.get().await.unwrap();
        conn.write_all(b"hello").await.unwrap();
        // tokio's would tell how many bytes it read.
        let (): () = conn.read_exact(&mut [0; 5]).await.unwrap();
        // What only tokio's have is found on the connection.
        conn.write_u16(7).await.unwrap();
        assert_eq!(conn.read_u16().await.unwrap(), 7);
    });
}
