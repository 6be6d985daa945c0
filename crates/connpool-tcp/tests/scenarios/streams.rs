//! Streams that are not TCP: Unix sockets in the adapter's `Io`, looked at by reading.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_lite::future::{poll_once, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{
    CloseReason, Connection, Io, Liveness, Manager, Pool, builder, io_fn, socket_fn,
};
use crate::support::client::until_closed;
use crate::support::server::LIMIT;
use crate::{UnixIo, unix};

/// A manager as the documentation of `Io` has it. Every server's end goes to a channel.
struct Sockets(Sender<UnixStream>);

impl Manager for Sockets {
    type Connection = UnixIo;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<UnixIo> {
        pair(&self.0)
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut UnixIo) -> Liveness {
        conn.liveness()
    }

    fn is_reusable(&self, conn: &mut UnixIo) -> bool {
        conn.is_clean()
    }
}

fn pair(ends: &Sender<UnixStream>) -> io::Result<UnixIo> {
    let (here, there) = UnixStream::pair()?;
    there.set_read_timeout(Some(LIMIT))?;
    // The test may be over already.
    let _ = ends.send(there);
    unix(here)
}

async fn pool_of_one() -> (Pool<Sockets>, Receiver<UnixStream>) {
    let (sender, ends) = channel();
    let pool = builder(Sockets(sender)).max_size(1).build().await.unwrap();
    (pool, ends)
}

/// Only ever writes: no read of its own makes up for what a look would have left behind.
async fn only_writes<M: Manager<Connection = UnixIo>>(pool: &Pool<M>, ends: &Receiver<UnixStream>) {
    let mut conn = pool.get().await.unwrap();
    let mut end = ends.recv_timeout(LIMIT).unwrap();
    conn.write_all(b"first").await.unwrap();
    let id = conn.id();
    drop(conn);
    for round in 0..5 {
        let mut conn = match round % 2 {
            0 => pool.get().await.unwrap(),
            _ => pool.try_get().unwrap(),
        };
        assert_eq!(conn.id(), id);
        assert!(conn.is_clean());
        conn.write_all(b" next").await.unwrap();
    }
    let mut text = [0; 30];
    end.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"first next next next next next");
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
}

pub(crate) async fn liveness_probe_leaves_a_stream_clean() {
    let (pool, ends) = pool_of_one().await;
    only_writes(&pool, &ends).await;
}

pub(crate) async fn io_fn_pool_reuses_only_clean_streams() {
    let (pool, ends) = pool_of_a_closure().await;
    only_writes(&pool, &ends).await;
    let (pool, _ends) = pool_of_a_closure().await;
    half_read(&pool).await;
}

async fn pool_of_a_closure() -> (
    Pool<impl Manager<Connection = UnixIo>>,
    Receiver<UnixStream>,
) {
    let (sender, ends) = channel();
    // The pool wraps each stream in an `Io` of its own.
    let manager = io_fn(move || {
        let stream = pair(&sender).map(Io::into_inner);
        async move { stream }
    });
    (builder(manager).max_size(1).build().await.unwrap(), ends)
}

/// Something is done to the other end of an idle stream, which is then replaced.
async fn replaced(why: CloseReason, harm: impl FnOnce(UnixStream) -> Option<UnixStream>) {
    let (pool, ends) = pool_of_one().await;
    let conn = pool.get().await.unwrap();
    let id = conn.id();
    drop(conn);
    let _end = harm(ends.recv_timeout(LIMIT).unwrap());
    // A generic look sees what the runtime knows, which may take it a turn to learn.
    let start = std::time::Instant::now();
    while pool.get().await.unwrap().id() == id {
        assert!(start.elapsed() < LIMIT, "{}", pool.stats());
        yield_now().await;
    }
    until_closed(&pool, why, 1).await;
}

pub(crate) async fn stream_closed_by_its_peer_is_replaced() {
    replaced(CloseReason::Dead, |end| {
        drop(end);
        None
    })
    .await;
}

pub(crate) async fn stream_with_unsolicited_bytes_is_replaced() {
    replaced(CloseReason::Unsolicited, |mut end| {
        end.write_all(b"good night").unwrap();
        Some(end)
    })
    .await;
}

/// What the runtime has no chance to notice: the peer hangs up after a reply, and the next `get` comes
/// before the thread has turned to the reactor.
pub(crate) async fn ended_socket_is_found_by_the_kernel_probe() {
    let (sender, ends) = channel();
    let manager = socket_fn(move || {
        let stream = pair(&sender).map(Io::into_inner);
        async move { stream }
    });
    let pool = builder(manager).max_size(1).build().await.unwrap();
    for round in 1..=100 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.id(), round, "a connection that had ended was lent");
        let mut end = ends.recv_timeout(LIMIT).unwrap();
        end.write_all(b"!").unwrap();
        assert_eq!(conn.read(&mut [0; 64]).await.unwrap(), 1);
        drop(conn);
        drop(end);
    }
    let conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), 101);
}

pub(crate) async fn stream_with_a_pending_read_is_not_lent_again() {
    let (pool, _ends) = pool_of_one().await;
    half_read(&pool).await;
}

/// The reply to whoever gave up must not reach the next one.
async fn half_read<M: Manager<Connection = UnixIo>>(pool: &Pool<M>) {
    let mut conn = pool.get().await.unwrap();
    let id = conn.id();
    assert!(poll_once(conn.read(&mut [0; 4])).await.is_none());
    drop(conn);
    until_closed(pool, CloseReason::NotReusable, 1).await;
    assert_ne!(pool.get().await.unwrap().id(), id);
}
