//! Managers made of a closure.

use crate::support::Refused;
use connpool_core::{CloseReason, Liveness, Manager, Pool, from_fn};
use connpool_testkit::SimRuntime;

fn sevens() -> impl Manager<Connection = u32, Error = Refused> + std::fmt::Debug {
    from_fn(async || Ok::<u32, Refused>(7))
}

#[test]
fn what_they_make_is_lent_again_without_a_question() {
    let sim = SimRuntime::new(1);
    let manager = sevens();
    assert!(!manager.resets());
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    let first = sim.block_on(pool.get()).unwrap().id();
    assert_eq!(pool.try_get().unwrap().id(), first);
    assert_eq!(pool.stats().closed.total(), 0);
}

#[test]
fn they_lend_again_only_what_they_are_told_to() {
    let sim = SimRuntime::new(1);
    let manager = from_fn(async || Ok::<u32, Refused>(7)).reusable_if(|_| false);
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    drop(sim.block_on(pool.get()).unwrap());
    assert_eq!(pool.stats().closed.get(CloseReason::NotReusable), 1);
}

#[test]
fn they_look_as_they_are_told_to() {
    let sim = SimRuntime::new(1);
    let odd_is_dead = |conn: &mut u32| match *conn % 2 {
        0 => Liveness::Alive,
        _ => Liveness::Closed,
    };
    let manager = from_fn(async || Ok::<u32, Refused>(4)).looked_at_by(odd_is_dead);
    let pool = Pool::builder(manager, sim.clone()).build_lazy().unwrap();
    *sim.block_on(pool.get()).unwrap() = 5;
    assert_eq!(*sim.block_on(pool.get()).unwrap(), 4);
    assert_eq!(pool.stats().closed.get(CloseReason::Dead), 1);
}

#[test]
fn they_show_nothing_of_themselves() {
    assert_eq!(format!("{:?}", sevens()), "FromFn");
}
