//! The auto traits of the public types, whatever the manager is.

use std::cell::Cell;
use std::convert::Infallible;
use std::panic::{RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Mutex;

use connpool_core::{
    AddError, BuildError, Builder, CloseReport, ConfigError, ConnectError, Diagnosis, FailedCheck,
    GetError, Holder, Manager, Phase, Pool, PoolConfig, PooledConnection, Severity, Stats,
    WeakPool, object_fn,
};
use connpool_testkit::SimRuntime;

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unwind_safe<T: UnwindSafe>() {}
fn ref_unwind_safe<T: RefUnwindSafe>() {}

fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {
    send::<T>();
    sync::<T>();
    unwind_safe::<T>();
    ref_unwind_safe::<T>();
}

/// A manager with as few auto traits as a manager may have.
struct Plain(#[allow(dead_code, reason = "only its traits matter")] Mutex<Box<dyn Fn() + Send>>);

/// A connection that can be sent, and no more.
type Conn = Cell<Option<Box<dyn FnMut() + Send>>>;

impl Manager for Plain {
    type Connection = Conn;
    type Error = Infallible;

    fn stream(&self) -> Option<connpool_core::StreamOf<Conn>> {
        None
    }

    async fn connect(&self) -> Result<Conn, Infallible> {
        Ok(Cell::new(None))
    }
}

/// A manager of connections that have all of them.
struct Shareable;

impl Manager for Shareable {
    type Connection = u8;
    type Error = Infallible;

    fn stream(&self) -> Option<connpool_core::StreamOf<u8>> {
        None
    }

    async fn connect(&self) -> Result<u8, Infallible> {
        Ok(7)
    }
}

#[test]
fn handles_have_all_auto_traits_whatever_the_manager() {
    all::<Pool<Plain>>();
    all::<WeakPool<Plain>>();
}

#[test]
fn builders_can_be_sent_and_unwound() {
    send::<Builder<Plain>>();
    unwind_safe::<Builder<Plain>>();
    ref_unwind_safe::<Builder<Plain>>();
    all::<Builder<Shareable>>();
}

#[test]
fn guards_have_the_auto_traits_of_their_connections() {
    send::<PooledConnection<'static, Plain>>();
    unwind_safe::<PooledConnection<'static, Plain>>();
    all::<PooledConnection<'static, Shareable>>();
}

#[test]
fn errors_and_reports_have_all_auto_traits() {
    all::<GetError<std::io::Error>>();
    all::<BuildError<std::io::Error>>();
    all::<ConnectError<std::io::Error>>();
    all::<AddError<u8>>();
    all::<(ConfigError, PoolConfig, Stats, Severity, Phase)>();
    send::<(Diagnosis, FailedCheck, CloseReport, Holder)>();
    sync::<(Diagnosis, FailedCheck, CloseReport, Holder)>();
}

#[test]
fn pool_is_used_in_a_callback_that_must_not_unwind() {
    let sim = SimRuntime::new(1);
    let manager = object_fn(|| async { Ok::<_, Infallible>(7) });
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    assert!(sim.block_on(pool.get()).is_ok());
    assert!(catch_unwind(|| pool.try_get().is_ok()).unwrap());
    let guard = sim.block_on(pool.get_owned()).unwrap();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let caught = catch_unwind(move || {
        let _guard = guard;
        panic!("in the callback");
    });
    std::panic::set_hook(quiet);
    assert!(caught.is_err());
    assert_eq!(pool.stats().size, 0);
}
