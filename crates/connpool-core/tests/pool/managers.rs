//! Minimal managers: defaults, wrappers, `object_fn` and `stream_fn`.

use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, Mutex};

use crate::support::ScriptedError;
use connpool_core::{
    BoxManager, CloseReason, FromFn, Liveness, Manager, Pool, Probe, StreamOf, Tracked, object_fn,
    stream_fn,
};
use connpool_testkit::{SimRuntime, SimStream, pipe};
use futures_lite::future::{block_on, poll_once};
use futures_lite::io::Cursor;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

/// Implements only the required methods.
struct Minimal;

impl Manager for Minimal {
    type Connection = u32;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<u32, ScriptedError> {
        Ok(7)
    }

    fn stream(&self) -> Option<StreamOf<u32>> {
        None
    }
}

#[test]
fn default_manager_methods_reset_and_reuse_connections() {
    assert!(Minimal.needs_reset());
    assert!(Minimal.is_reusable(&mut 7));
    assert_eq!(Minimal.liveness(&mut 7), Liveness::Unknown);
}

#[test]
fn arc_manager_forwards_needs_reset_and_is_reusable() {
    assert!(Arc::new(Minimal).needs_reset());
    assert!(!Arc::new(sevens()).needs_reset());
    let never = object_fn(|| async { Ok::<u32, ScriptedError>(7) }).with_is_reusable(|_| false);
    assert!(!Arc::new(never).is_reusable(&mut 7));
}

fn sevens() -> impl Manager<Connection = u32, Error = ScriptedError> + std::fmt::Debug {
    object_fn(|| async { Ok::<u32, ScriptedError>(7) })
}

#[test]
fn object_fn_connections_are_reused_without_checks() {
    let sim = SimRuntime::new(1);
    let manager = sevens();
    assert!(!manager.needs_reset());
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    let first = sim.block_on(pool.get()).unwrap().id();
    assert_eq!(pool.try_get().unwrap().id(), first);
    assert_eq!(pool.stats().closed.total(), 0);
}

#[test]
fn with_is_reusable_decides_about_reuse() {
    let sim = SimRuntime::new(1);
    let manager = object_fn(|| async { Ok::<u32, ScriptedError>(7) }).with_is_reusable(|_| false);
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    assert_eq!(pool.stats().closed.get(CloseReason::NotReusable), 1);
}

#[test]
fn with_liveness_sets_the_liveness_probe() {
    let sim = SimRuntime::new(1);
    let odd_is_dead = |conn: &mut u32| match *conn % 2 {
        0 => Liveness::Alive,
        _ => Liveness::Closed,
    };
    let manager = object_fn(|| async { Ok::<u32, ScriptedError>(4) }).with_liveness(odd_is_dead);
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    *sim.block_on(pool.get()).unwrap() = 5;
    assert_eq!(*sim.block_on(pool.get()).unwrap(), 4);
    assert_eq!(pool.stats().closed.get(CloseReason::Dead), 1);
}

/// Returns a manager of pipes, and the other ends of those that it connects.
fn pipes() -> (Pipes, Ends) {
    let ends = Ends::default();
    let kept = Arc::clone(&ends);
    let connect: Connect = Box::new(move || {
        let (here, there) = pipe(64);
        kept.lock().unwrap().push(there);
        ready(Ok(here))
    });
    (stream_fn(connect), ends)
}

type Connect = Box<dyn Fn() -> Ready<io::Result<SimStream>> + Send + Sync>;
type Pipes = FromFn<Connect, SimStream, Tracked<SimStream>>;
type Ends = Arc<Mutex<Vec<SimStream>>>;

#[test]
fn stream_fn_checks_the_streams_of_its_closure() {
    let sim = SimRuntime::new(1);
    let (manager, ends) = pipes();
    assert!(manager.has_liveness());
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    drop(sim.block_on(pool.get()).unwrap());
    ends.lock().unwrap()[0].send(b"late");
    let mut conn = sim.block_on(pool.get()).unwrap();
    assert_eq!((conn.id(), pool.stats().closed.get(CloseReason::Unsolicited)), (2, 1));
    assert!(sim.block_on(poll_once(conn.read(&mut [0]))).is_none());
    drop(conn);
    assert_eq!(pool.stats().closed.get(CloseReason::NotReusable), 1);
}

#[test]
fn strict_stream_fn_reuses_no_stream_without_an_answer() {
    for strict in [false, true] {
        let sim = SimRuntime::new(1);
        let (manager, _ends) = pipes();
        let pool = Pool::builder(manager.strict(strict), sim.clone()).build_lazy().unwrap();
        let mut conn = sim.block_on(pool.get()).unwrap();
        sim.block_on(conn.write_all(b"request")).unwrap();
        drop(conn);
        assert_eq!(pool.stats().closed.get(CloseReason::NotReusable), strict.into());
    }
}

#[test]
fn with_is_reusable_adds_to_the_check_of_a_stream() {
    let accepts: fn(&Tracked<SimStream>) -> bool = |_| true;
    let rejects: fn(&Tracked<SimStream>) -> bool = |_| false;
    for (is_reusable, expected) in [(accepts, true), (rejects, false)] {
        let manager = pipes().0.with_is_reusable(is_reusable);
        let (here, _there) = pipe(64);
        let mut conn = Tracked::new(here);
        assert_eq!(manager.is_reusable(&mut conn), expected);
        conn.set_strict(true);
        block_on(conn.write_all(b"request")).unwrap();
        assert!(!manager.is_reusable(&mut conn));
    }
}

#[test]
fn wrappers_of_managers_forward_the_stream() {
    let mut conn = Tracked::new(Cursor::new(Vec::new()));
    let manager = || stream_fn(|| ready(Ok::<_, io::Error>(Cursor::new(Vec::new()))));
    let arc = Arc::new(manager());
    assert_eq!(arc.stream().unwrap()(&mut conn).probe(), Liveness::Closed);
    let boxed = BoxManager::new(manager());
    assert_eq!(boxed.stream().unwrap()(&mut conn).probe(), Liveness::Closed);
    assert!(Arc::new(Minimal).stream().is_none());
}

#[test]
fn pool_of_streams_without_a_stream_is_not_built() {
    let sim = SimRuntime::new(1);
    let manager = object_fn(|| ready(Ok::<_, io::Error>(pipe(64).0)));
    let error = Pool::builder(manager, sim.clone()).build_lazy().unwrap_err();
    assert_eq!(
        error.to_string(),
        "Manager::stream is None: closed and half-used connections would be lent; return `Some(|conn| conn)`"
    );
    let manager = object_fn(|| ready(Ok::<_, io::Error>(Tracked::new(pipe(64).0))));
    assert!(Pool::builder(manager, sim).build_lazy().is_ok(), "this type is not the runtime's own");
}

#[test]
fn from_fn_debug_output_hides_its_closures() {
    assert_eq!(format!("{:?}", sevens()), "FromFn");
}

/// A manager whose ping needs a kibibyte.
struct LargePing;

impl Manager for LargePing {
    type Connection = u8;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<u8, std::io::Error> {
        Ok(7)
    }

    fn stream(&self) -> Option<connpool_core::StreamOf<u8>> {
        None
    }

    async fn ping(&self, _: &mut u8) -> Result<(), std::io::Error> {
        let room = [7_u8; 1_024];
        std::future::ready(()).await;
        std::hint::black_box(room);
        Ok(())
    }
}

#[test]
fn futures_of_a_get_are_no_larger_than_their_waits() {
    fn assert_small<M: Manager>(pool: &Pool<M>) {
        let sizes = (size_of_val(&pool.get()), size_of_val(&pool.get_owned()));
        assert!(sizes.0 <= 320 && sizes.1 <= 336, "{sizes:?}");
    }
    let (_, fake) = crate::support::new(1);
    assert_small(&fake.pool().build_lazy().unwrap());
    let sim = SimRuntime::new(1);
    assert_small(&Pool::builder(LargePing, sim.clone()).build_lazy().unwrap());
    assert_small(&Pool::builder(BoxManager::new(LargePing), sim).build_lazy().unwrap());
}
