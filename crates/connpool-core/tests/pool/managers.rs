//! Minimal managers: defaults, `Arc`, and `object_fn`.

use std::sync::Arc;

use crate::support::ScriptedError;
use connpool_core::{CloseReason, Liveness, Manager, Pool, object_fn};
use connpool_testkit::SimRuntime;

/// Implements only the required methods.
struct Minimal;

impl Manager for Minimal {
    type Connection = u32;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<u32, ScriptedError> {
        Ok(7)
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

#[test]
fn from_fn_debug_output_hides_its_closures() {
    assert_eq!(format!("{:?}", sevens()), "FromFn");
}
