//! Managers of the simplest kinds: with nothing but a connect, shared, or made of a closure.

use std::sync::Arc;

use crate::support::ScriptedError;
use connpool_core::{CloseReason, Liveness, Manager, Pool, object_fn};
use connpool_testkit::SimRuntime;

/// Has nothing but what it must have.
struct Plain;

impl Manager for Plain {
    type Connection = u32;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<u32, ScriptedError> {
        Ok(7)
    }
}

#[test]
fn a_manager_resets_and_keeps_what_comes_back_unless_it_says_otherwise() {
    assert!(Plain.needs_reset());
    assert!(Plain.is_reusable(&mut 7));
    assert_eq!(Plain.liveness(&mut 7), Liveness::Unknown);
}

#[test]
fn a_shared_manager_answers_as_its_inside_does() {
    assert!(Arc::new(Plain).needs_reset());
    assert!(!Arc::new(sevens()).needs_reset());
    let never = object_fn(|| async { Ok::<u32, ScriptedError>(7) }).with_is_reusable(|_| false);
    assert!(!Arc::new(never).is_reusable(&mut 7));
}

fn sevens() -> impl Manager<Connection = u32, Error = ScriptedError> + std::fmt::Debug {
    object_fn(|| async { Ok::<u32, ScriptedError>(7) })
}

#[test]
fn what_a_closure_makes_is_lent_again_without_a_question() {
    let sim = SimRuntime::new(1);
    let manager = sevens();
    assert!(!manager.needs_reset());
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    let first = sim.block_on(pool.get()).unwrap().id();
    assert_eq!(pool.try_get().unwrap().id(), first);
    assert_eq!(pool.stats().closed.total(), 0);
}

#[test]
fn a_closure_lends_again_only_what_it_is_told_to() {
    let sim = SimRuntime::new(1);
    let manager = object_fn(|| async { Ok::<u32, ScriptedError>(7) }).with_is_reusable(|_| false);
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    drop(sim.block_on(pool.get()).unwrap());
    assert_eq!(pool.stats().closed.get(CloseReason::NotReusable), 1);
}

#[test]
fn a_closure_looks_as_it_is_told_to() {
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
fn a_closure_shows_nothing_of_itself() {
    assert_eq!(format!("{:?}", sevens()), "FromFn");
}
