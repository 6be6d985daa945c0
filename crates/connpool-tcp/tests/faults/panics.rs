//! Code of others that panics with a socket in its hands: the socket is closed, the slot is free.

use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::FutureExt;
use futures_lite::future::poll_once;

use super::client::{adds_up, has_something, until, until_closed};
use super::kernel::{open_sockets, until_open_sockets_are};
use super::server::{LIMIT, Server};
use crate::adapter::{
    Builder, CloseReason, GetError, Liveness, Manager, Pool, TcpConn, TcpManager, builder,
};
use socket2::SockRef;

/// Plain TCP that panics once, in the step that it is told.
struct Bomb {
    tcp: TcpManager,
    fuse: Arc<Fuse>,
}

#[derive(Default)]
struct Fuse(Mutex<Option<Step>>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Connect,
    Look,
    Ping,
    Return,
    Drop,
}

impl Fuse {
    fn light(&self, step: Step) {
        *self.0.lock().unwrap() = Some(step);
    }

    fn reaches(&self, step: Step) {
        let goes_off = self.0.lock().unwrap().take_if(|lit| *lit == step);
        if goes_off.is_some() {
            // Without a word on the terminal.
            resume_unwind(Box::new("scripted"));
        }
    }
}

struct Charged {
    tcp: TcpConn,
    fuse: Arc<Fuse>,
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.fuse.reaches(Step::Drop);
    }
}

impl Manager for Bomb {
    type Connection = Charged;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Charged> {
        let tcp = self.tcp.connect().await?;
        self.fuse.reaches(Step::Connect);
        let fuse = Arc::clone(&self.fuse);
        Ok(Charged { tcp, fuse })
    }

    async fn ping(&self, _: &mut Charged) -> io::Result<()> {
        self.fuse.reaches(Step::Ping);
        Ok(())
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut Charged) -> Liveness {
        self.fuse.reaches(Step::Look);
        conn.tcp.liveness()
    }

    fn is_reusable(&self, conn: &mut Charged) -> bool {
        self.fuse.reaches(Step::Return);
        conn.tcp.is_clean()
    }
}

fn pool_of(server: &Server) -> (Builder<Bomb>, Arc<Fuse>) {
    let fuse = Arc::new(Fuse::default());
    let bomb = Bomb {
        tcp: TcpManager::new(server.address()),
        fuse: Arc::clone(&fuse),
    };
    let pool = builder(bomb)
        .ping_after(Duration::ZERO)
        .get_timeout(LIMIT)
        .evict_interval(None);
    (pool, fuse)
}

/// Lends all that there may be, which only works if no slot is lost, and counts the sockets.
async fn lends_all(pool: &Pool<Bomb>, sockets: usize) {
    let size = pool.config().max_size;
    let mut guards = Vec::new();
    for _ in 0..size {
        guards.push(pool.get().await.unwrap());
    }
    assert!(adds_up(&pool.stats()));
    until_open_sockets_are(sockets + size).await;
}

pub(crate) async fn panicking_connect_is_reported_and_its_socket_is_closed() {
    let server = Server::start();
    let (pool, fuse) = pool_of(&server);
    let pool = pool.max_size(2).build().await.unwrap();
    let first = pool.get().await.unwrap();
    let sockets = open_sockets() - 1;
    fuse.light(Step::Connect);
    match pool.get().await {
        Err(GetError::Panicked { step, message }) => {
            assert_eq!((step, message.as_str()), ("connect", "scripted"));
        }
        other => panic!("{:?}", other.map(|conn| conn.id())),
    }
    drop(first);
    lends_all(&pool, sockets).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.connect_failed), (2, 1), "{stats}");
}

pub(crate) async fn panicking_check_costs_one_connection_and_no_get() {
    for step in [Step::Look, Step::Ping, Step::Return] {
        let server = Server::start();
        let (pool, fuse) = pool_of(&server);
        let pool = pool.max_size(3).build().await.unwrap();
        let conn = pool.get().await.unwrap();
        let (id, sockets) = (conn.id(), open_sockets() - 1);
        if step == Step::Return {
            fuse.light(step);
            drop(conn);
        } else {
            drop(conn);
            fuse.light(step);
        }
        let conn = pool.get().await.unwrap();
        assert_ne!(conn.id(), id, "{step:?}");
        drop(conn);
        until_closed(&pool, CloseReason::Panicked, 1).await;
        lends_all(&pool, sockets).await;
    }
}

pub(crate) async fn panicking_drop_in_a_sweep_does_not_keep_others_from_being_closed() {
    let server = Server::start();
    let (pool, fuse) = pool_of(&server);
    let pool = pool
        .max_size(10)
        .evict_interval(Duration::from_millis(10))
        .build()
        .await
        .unwrap();
    drop(pool.get().await.unwrap());
    let sockets = open_sockets() - 1;
    // A second time, to see that the first has not ended the rounds.
    for dead in [10, 20] {
        let mut guards = Vec::new();
        for _ in 0..10 {
            guards.push(pool.get().await.unwrap());
        }
        drop(server.accept_many(10));
        for conn in &guards {
            has_something(&SockRef::from(conn.tcp.get_ref()));
        }
        fuse.light(Step::Drop);
        drop(guards);
        until_closed(&pool, CloseReason::Dead, dead).await;
        until(&pool, |stats| stats.size == 0).await;
        until_open_sockets_are(sockets).await;
        assert_eq!(*fuse.0.lock().unwrap(), None, "it has gone off");
    }
    lends_all(&pool, sockets).await;
}

pub(crate) async fn panicking_drop_does_not_reach_the_caller_of_drop_or_close() {
    let server = Server::start();
    let (pool, fuse) = pool_of(&server);
    let pool = pool.max_size(3).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let sockets = open_sockets() - 1;
    conn.mark_unusable();
    fuse.light(Step::Drop);
    drop(conn);
    assert_eq!(pool.stats().size, 0);
    lends_all(&pool, sockets).await;
    fuse.light(Step::Drop);
    let report = pool.close(LIMIT).await;
    assert_eq!((report.closed, report.still_out.len()), (3, 0));
    until_open_sockets_are(sockets).await;
}

pub(crate) async fn panicking_task_with_a_guard_passes_its_slot_on() {
    let server = Server::start();
    let (pool, _) = pool_of(&server);
    let pool = pool.max_size(1).build().await.unwrap();
    let conn = pool.get_owned().await.unwrap();
    let (id, sockets) = (conn.id(), open_sockets() - 1);
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    let task = crate::spawn(async move {
        let _conn = conn;
        resume_unwind(Box::new("scripted"));
    });
    let end: Result<(), _> = AssertUnwindSafe(task).catch_unwind().await;
    assert!(end.is_err());
    let conn = waiting.await.unwrap();
    assert_ne!(conn.id(), id);
    drop(conn);
    until_closed(&pool, CloseReason::Panicked, 1).await;
    lends_all(&pool, sockets).await;
}
