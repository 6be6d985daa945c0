//! The suites on tokio, on one thread and on two.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use connpool_tokio as adapter;
use connpool_tokio::TokioRuntime as RealRuntime;
use tokio::runtime::Builder;

mod client;
#[cfg(all(target_os = "linux", not(connpool_portable)))]
mod faults;
mod go_parity;
mod scenarios;
mod tokio_runtime;
#[cfg(all(target_os = "linux", not(connpool_portable)))]
mod tokio_tasks;

#[cfg(all(target_os = "linux", not(connpool_portable)))]
use tokio_tasks::Tasks;

mod one_thread {
    mod scenarios {
        crate::scenarios::scenarios_on!(crate::on_one_thread);
    }
    #[cfg(all(target_os = "linux", not(connpool_portable)))]
    mod faults {
        crate::faults::faults_on!(crate::on_one_thread);
    }
}

mod two_threads {
    mod scenarios {
        crate::scenarios::scenarios_on!(crate::on_two_threads);
    }
    #[cfg(all(target_os = "linux", not(connpool_portable)))]
    mod faults {
        crate::faults::faults_on!(crate::on_two_threads);
    }
}

mod both {
    mod go_parity {
        crate::go_parity::go_parity_on!(crate::on_both);
    }
}

fn on_one_thread<F: Future<Output = ()>>(test: impl Fn() -> F) {
    run(Builder::new_current_thread(), Box::pin(test()));
}

fn on_two_threads<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2);
    run(builder, Box::pin(test()));
}

fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
    // Shown only if the test fails.
    println!("on one thread");
    on_one_thread(&test);
    println!("on two threads");
    on_two_threads(&test);
}

/// Takes a box, so that the code of the runtime is compiled once, not for each test.
fn run(mut builder: Builder, test: Pin<Box<dyn Future<Output = ()> + '_>>) {
    let runtime = builder.enable_all().build().unwrap();
    let in_time =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await });
    in_time.expect("the test timed out");
}

fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let task = tokio::spawn(task);
    async move { task.await.expect("the task panicked") }
}

#[cfg(all(unix, not(connpool_portable)))]
type UnixIo = adapter::Io<tokio::net::UnixStream>;

#[cfg(all(unix, not(connpool_portable)))]
fn unix(stream: std::os::unix::net::UnixStream) -> std::io::Result<UnixIo> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream).map(adapter::Io::new)
}

#[test]
fn futures_lite_traits_win_on_the_guard_if_both_families_are_in_scope() {
    use adapter::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

    on_one_thread(async || {
        let server = suites::server::Echo::start();
        let pool = client::pool_of(server.address());
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
