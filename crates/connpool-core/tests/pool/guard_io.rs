//! Guards as byte streams, and Debug output.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::support::{ScriptedError, Wakes, hold, new};
use connpool_core::{Instant, Pool, object_fn};
use connpool_testkit::SimRuntime;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A stream that records its calls. Each call returns a different length.
#[derive(Default)]
struct Recorder(Vec<&'static str>);

impl Recorder {
    fn note<T>(&mut self, call: &'static str, result: T) -> Poll<io::Result<T>> {
        self.0.push(call);
        Poll::Ready(Ok(result))
    }
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.note("read", 2)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note("read_vectored", 3)
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.note("write", 4)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note("write_vectored", 5)
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note("flush", ())
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note("close", ())
    }
}

#[test]
fn guard_forwards_every_io_operation() {
    let sim = SimRuntime::new(1);
    let manager = object_fn(|| async { Ok::<_, ScriptedError>(Recorder::default()) });
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    let (lengths, notes) = sim.block_on(async {
        let mut guard = pool.get().await.unwrap();
        let mut buffer = [0; 9];
        let lengths = [
            guard.read(&mut buffer).await.unwrap(),
            guard.read_vectored(&mut [IoSliceMut::new(&mut buffer)]).await.unwrap(),
            guard.write(&buffer).await.unwrap(),
            guard.write_vectored(&[IoSlice::new(&buffer)]).await.unwrap(),
        ];
        guard.flush().await.unwrap();
        guard.close().await.unwrap();
        (lengths, std::mem::take(&mut guard.0))
    });
    assert_eq!(lengths, [2, 3, 4, 5]);
    let all = ["read", "read_vectored", "write", "write_vectored", "flush", "close"];
    assert_eq!(notes, all);
}

#[test]
fn get_moved_to_another_task_wakes_that_task() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut get = Box::pin(pool.get());
    let tasks = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
    for task in &tasks {
        let waker = Waker::from(Arc::clone(task));
        assert!(get.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(held);
    assert_eq!(tasks.map(|task| task.count()), [0, 1]);
}

#[test]
fn pool_debug_output_shows_name_and_stats() {
    let (sim, fake) = new(1);
    let pool = fake.pool().name("orders").build_lazy().unwrap();
    let guard = sim.block_on(pool.get()).unwrap();
    let text = format!("{pool:?}");
    assert!(text.starts_with("Pool { name: \"orders\", closed: false, stats: Stats {"), "{text}");
    assert_eq!(format!("{:?}", pool.downgrade()), "WeakPool { .. }");
    let text = format!("{guard:?}");
    assert!(text.starts_with("PooledConnection { pool: \"orders\", id: 1, uses: 1"), "{text}");
    assert_eq!(format!("{:?}", Instant::from_nanos(1_500)), "Instant(1.5µs)");
}
