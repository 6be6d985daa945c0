//! Panics in managers, connections and tasks: the socket is closed and the slot is freed.

use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::FutureExt;
use futures_lite::future::poll_once;

use super::client::{counts_add_up, wait_readable, wait_until, wait_until_closed};
use super::kernel::{open_sockets, wait_until_open_sockets_are};
use crate::adapter::{
    Builder, CloseReason, Liveness, Manager, Pool, StreamOf, TcpConn, TcpManager, builder,
};
use socket2::SockRef;
use suites::server::{LIMIT, Server};

/// Plain TCP that panics once, in the armed step.
struct PanickingManager {
    tcp: TcpManager,
    trigger: Arc<PanicTrigger>,
}

#[derive(Default)]
struct PanicTrigger(Mutex<Option<Step>>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Connect,
    Probe,
    Ping,
    Return,
    Drop,
}

impl PanicTrigger {
    fn arm(&self, step: Step) {
        *self.0.lock().unwrap() = Some(step);
    }

    fn reach(&self, step: Step) {
        let armed = self.0.lock().unwrap().take_if(|armed_step| *armed_step == step);
        if armed.is_some() {
            // `resume_unwind` prints nothing.
            resume_unwind(Box::new("scripted"));
        }
    }
}

struct PanickingConn {
    tcp: TcpConn,
    trigger: Arc<PanicTrigger>,
}

impl Drop for PanickingConn {
    fn drop(&mut self) {
        self.trigger.reach(Step::Drop);
    }
}

impl Manager for PanickingManager {
    type Connection = PanickingConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<PanickingConn> {
        let tcp = self.tcp.connect().await?;
        self.trigger.reach(Step::Connect);
        let trigger = Arc::clone(&self.trigger);
        Ok(PanickingConn { tcp, trigger })
    }

    fn stream(&self) -> Option<StreamOf<PanickingConn>> {
        Some(|conn| &mut conn.tcp)
    }

    async fn ping(&self, _: &mut PanickingConn) -> io::Result<()> {
        self.trigger.reach(Step::Ping);
        Ok(())
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut PanickingConn) -> Liveness {
        self.trigger.reach(Step::Probe);
        conn.tcp.liveness()
    }

    fn is_reusable(&self, conn: &mut PanickingConn) -> bool {
        self.trigger.reach(Step::Return);
        conn.tcp.is_clean()
    }
}

fn pool_of(server: &Server) -> (Builder<PanickingManager>, Arc<PanicTrigger>) {
    let trigger = Arc::new(PanicTrigger::default());
    let manager =
        PanickingManager { tcp: TcpManager::new(server.address()), trigger: Arc::clone(&trigger) };
    let pool = builder(manager).ping_after(Duration::ZERO).get_timeout(LIMIT).evict_interval(None);
    (pool, trigger)
}

/// Checks out `max_size` connections, which fails if a slot was lost, and checks the number of
/// sockets.
async fn assert_full_capacity(pool: &Pool<PanickingManager>, sockets: usize) {
    let size = pool.config().max_size;
    let mut guards = Vec::new();
    for _ in 0..size {
        guards.push(pool.get().await.unwrap());
    }
    wait_until(pool, counts_add_up).await;
    wait_until_open_sockets_are(sockets + size).await;
}

pub(crate) async fn panicking_connect_is_reported_and_its_socket_is_closed() {
    let server = Server::start();
    let (pool, trigger) = pool_of(&server);
    let pool = pool.max_size(2).build().await.unwrap();
    let first = pool.get().await.unwrap();
    let sockets = open_sockets() - 1;
    trigger.arm(Step::Connect);
    // It waits, since the connection may come back.
    let mut second = Box::pin(pool.get());
    assert!(poll_once(&mut second).await.is_none());
    wait_until(&pool, |stats| stats.connect_failed == 1).await;
    drop(first);
    drop(second.await.unwrap());
    assert_full_capacity(&pool, sockets).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.connect_failed), (2, 1), "{stats}");
}

pub(crate) async fn panicking_check_costs_one_connection_and_no_get() {
    let before = open_sockets();
    for step in [Step::Probe, Step::Ping, Step::Return] {
        // The pool and the server of the step before close their sockets in the background.
        wait_until_open_sockets_are(before).await;
        let server = Server::start();
        let (pool, trigger) = pool_of(&server);
        let pool = pool.max_size(3).build().await.unwrap();
        let conn = pool.get().await.unwrap();
        let (id, sockets) = (conn.id(), open_sockets() - 1);
        if step == Step::Return {
            trigger.arm(step);
            drop(conn);
        } else {
            drop(conn);
            trigger.arm(step);
        }
        let conn = pool.get().await.unwrap();
        assert_ne!(conn.id(), id, "{step:?}");
        drop(conn);
        wait_until_closed(&pool, CloseReason::Panicked, 1).await;
        assert_full_capacity(&pool, sockets).await;
    }
}

pub(crate) async fn panicking_drop_in_a_sweep_does_not_keep_others_from_being_closed() {
    let server = Server::start();
    let (pool, trigger) = pool_of(&server);
    let pool = pool.max_size(10).evict_interval(Duration::from_millis(10)).build().await.unwrap();
    drop(pool.get().await.unwrap());
    let sockets = open_sockets() - 1;
    // A second round shows that the first panic has not stopped the sweeps.
    for dead in [10, 20] {
        let mut guards = Vec::new();
        for _ in 0..10 {
            guards.push(pool.get().await.unwrap());
        }
        drop(server.accept_many(10));
        for conn in &guards {
            wait_readable(&SockRef::from(conn.tcp.get_ref()));
        }
        trigger.arm(Step::Drop);
        drop(guards);
        wait_until_closed(&pool, CloseReason::Dead, dead).await;
        wait_until(&pool, |stats| stats.size == 0).await;
        wait_until_open_sockets_are(sockets).await;
        assert_eq!(*trigger.0.lock().unwrap(), None, "the drop did not panic");
    }
    assert_full_capacity(&pool, sockets).await;
}

pub(crate) async fn panicking_drop_does_not_reach_the_caller_of_drop_or_close() {
    let server = Server::start();
    let (pool, trigger) = pool_of(&server);
    let pool = pool.max_size(3).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let sockets = open_sockets() - 1;
    conn.mark_unusable();
    trigger.arm(Step::Drop);
    drop(conn);
    wait_until(&pool, |stats| stats.size == 0).await;
    assert_full_capacity(&pool, sockets).await;
    trigger.arm(Step::Drop);
    let report = pool.close(LIMIT).await;
    assert_eq!((report.closed, report.still_out.len()), (3, 0));
    wait_until_open_sockets_are(sockets).await;
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
    wait_until_closed(&pool, CloseReason::Panicked, 1).await;
    assert_full_capacity(&pool, sockets).await;
}
