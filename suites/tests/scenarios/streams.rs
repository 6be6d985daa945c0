//! Streams other than TCP: Unix sockets in the adapter's `Io`.

use std::future::{Ready, ready};
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{
    CloseReason, Connection, FromFn, Io, Manager, Pool, StreamOf, TcpConn, builder, io_fn,
    socket_fn,
};
use crate::client::wait_until_closed;
use crate::{UnixIo, unix};
use suites::server::LIMIT;

/// A manager as in the documentation of `Io`. Sends the other ends to a channel.
struct Sockets(Sender<UnixStream>);

impl Manager for Sockets {
    type Connection = UnixIo;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<UnixIo> {
        pair(&self.0)
    }

    fn stream(&self) -> Option<StreamOf<UnixIo>> {
        Some(|conn| conn)
    }

    fn needs_reset(&self) -> bool {
        false
    }
}

fn pair(ends: &Sender<UnixStream>) -> io::Result<UnixIo> {
    let (here, there) = UnixStream::pair()?;
    there.set_read_timeout(Some(LIMIT))?;
    // The test may have ended already.
    let _ = ends.send(there);
    unix(here)
}

async fn pool_of_one() -> (Pool<Sockets>, Receiver<UnixStream>) {
    let (sender, ends) = channel();
    let pool = builder(Sockets(sender)).max_size(1).build().await.unwrap();
    (pool, ends)
}

/// Only writes, so no read of the test hides a state that a probe left behind.
async fn assert_reused_by_writers<M: Manager<Connection = UnixIo>>(
    pool: &Pool<M>,
    ends: &Receiver<UnixStream>,
) {
    let mut conn = pool.get().await.unwrap();
    let mut socket = ends.recv_timeout(LIMIT).unwrap();
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
    socket.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"first next next next next next");
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
}

pub(crate) async fn liveness_probe_leaves_a_stream_clean() {
    let (pool, ends) = pool_of_one().await;
    assert_reused_by_writers(&pool, &ends).await;
}

pub(crate) async fn io_fn_pool_reuses_only_clean_streams() {
    let (pool, ends) = pool_of_a_closure().await;
    assert_reused_by_writers(&pool, &ends).await;
    let (pool, _ends) = pool_of_a_closure().await;
    assert_not_reused_with_pending_read(&pool).await;
}

async fn pool_of_a_closure() -> (Pool<impl Manager<Connection = UnixIo>>, Receiver<UnixStream>) {
    let (sender, ends) = channel();
    // `io_fn` wraps each stream in a new `Io`.
    let manager = io_fn(move || {
        let stream = pair(&sender).map(Io::into_inner);
        async move { stream }
    });
    (builder(manager).max_size(1).build().await.unwrap(), ends)
}

/// Breaks the other end of an idle stream, which the pool then replaces.
async fn assert_replaced(
    why: CloseReason,
    break_it: impl FnOnce(UnixStream) -> Option<UnixStream>,
) {
    let (pool, ends) = pool_of_one().await;
    let conn = pool.get().await.unwrap();
    let id = conn.id();
    drop(conn);
    let _socket = break_it(ends.recv_timeout(LIMIT).unwrap());
    assert_ne!(pool.get().await.unwrap().id(), id);
    wait_until_closed(&pool, why, 1).await;
}

pub(crate) async fn stream_closed_by_its_peer_is_replaced() {
    assert_replaced(CloseReason::Dead, |socket| {
        drop(socket);
        None
    })
    .await;
}

pub(crate) async fn stream_with_unsolicited_bytes_is_replaced() {
    assert_replaced(CloseReason::Unsolicited, |mut socket| {
        socket.write_all(b"good night").unwrap();
        Some(socket)
    })
    .await;
}

pub(crate) async fn ended_socket_of_io_fn_is_found_by_the_kernel_probe() {
    assert_ends_are_found(io_fn).await;
}

pub(crate) async fn ended_socket_of_socket_fn_is_found_by_the_kernel_probe() {
    assert_ends_are_found(socket_fn).await;
}

pub(crate) async fn ended_socket_below_another_stream_is_found_by_the_kernel_probe() {
    // The outer `Io` knows no socket and probes by a read.
    let (sender, ends) = channel();
    let connect = move || {
        let stream = pair(&sender);
        async move { stream }
    };
    assert_ends_are_found_in(builder(io_fn(connect)).max_size(1).build().await.unwrap(), ends)
        .await;
}

type Bare = <UnixIo as Inside>::Stream;
type Connect = Box<dyn Fn() -> Ready<io::Result<Bare>> + Send + Sync>;

trait Inside {
    type Stream;
}

impl<S> Inside for Io<S> {
    type Stream = S;
}

async fn assert_ends_are_found(manager: impl Fn(Connect) -> FromFn<Connect, Bare, UnixIo>) {
    let (sender, ends) = channel();
    let manager = manager(Box::new(move || ready(pair(&sender).map(Io::into_inner))));
    assert_ends_are_found_in(builder(manager).max_size(1).build().await.unwrap(), ends).await;
}

/// The runtime cannot notice: the peer closes after a reply, and the next `get` runs before the
/// thread polls the reactor.
async fn assert_ends_are_found_in<M: Manager<Connection: Connection>>(
    pool: Pool<M>,
    ends: Receiver<UnixStream>,
) {
    for round in 1..=100 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.id(), round, "got a connection that had ended");
        let mut socket = ends.recv_timeout(LIMIT).unwrap();
        socket.write_all(b"!").unwrap();
        assert_eq!(conn.read(&mut [0; 64]).await.unwrap(), 1);
        drop(conn);
        drop(socket);
    }
    let conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), 101);
}

/// Connections of type `C`, which it never opens, without a stream.
struct NoStream<C>(PhantomData<fn() -> C>);

impl<C: Send + 'static> Manager for NoStream<C> {
    type Connection = C;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<C> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stream(&self) -> Option<StreamOf<C>> {
        None
    }
}

fn build_without_stream<C: Send + 'static>() -> Result<(), String> {
    let pool = builder(NoStream::<C>(PhantomData)).build_lazy();
    pool.map(drop).map_err(|error| error.to_string())
}

pub(crate) async fn pool_of_sockets_without_a_stream_is_not_built() {
    let advice = "closed and half-used connections would be lent; ";
    for of_wrapped in [build_without_stream::<TcpConn>(), build_without_stream::<UnixIo>()] {
        assert_eq!(
            of_wrapped,
            Err(format!(
                "Manager::stream is None: {advice}return `Some(|conn| conn)`, or replace `object_fn` by \
                 `io_fn`"
            ))
        );
    }
    assert_eq!(
        build_without_stream::<Bare>(),
        Err(format!(
            "Manager::stream is None: {advice}wrap the socket in `Io` and return `Some(|conn| conn)`, or \
             use `io_fn`"
        ))
    );
    let arc = builder(Arc::new(NoStream::<TcpConn>(PhantomData))).start();
    assert_eq!(arc.unwrap_err().field(), "Manager::stream");
    assert_eq!(
        build_without_stream::<Io<Io<Bare>>>(),
        Ok(()),
        "a stream around it may be anything"
    );
}

pub(crate) async fn stream_with_a_pending_read_is_not_lent_again() {
    let (pool, _ends) = pool_of_one().await;
    assert_not_reused_with_pending_read(&pool).await;
}

/// The reply of a cancelled read must not reach the next user.
async fn assert_not_reused_with_pending_read<M: Manager<Connection = UnixIo>>(pool: &Pool<M>) {
    let mut conn = pool.get().await.unwrap();
    let id = conn.id();
    assert!(poll_once(conn.read(&mut [0; 4])).await.is_none());
    drop(conn);
    wait_until_closed(pool, CloseReason::NotReusable, 1).await;
    assert_ne!(pool.get().await.unwrap().id(), id);
}
