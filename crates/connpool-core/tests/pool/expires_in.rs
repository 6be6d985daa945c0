//! Limits that the peer has announced.

use std::time::Duration;

use crate::support::{
    Fake, MILLI, SECOND, assert_full_capacity, closed, fill, graceful_closes, hold, new,
};
use connpool_core::{Builder, CloseReason};

/// Reads no clock for any other setting.
fn clockless(pool: Builder<Fake>) -> Builder<Fake> {
    pool.ping_after(None).idle_timeout(None).max_lifetime(None)
}

#[test]
fn connection_about_to_expire_is_not_lent_and_is_closed_gracefully() {
    // The announced time, and the last moment at which the connection is lent.
    let cases = [(5 * SECOND, 4_499), (100 * SECOND, 98_999), (100 * MILLI, 89)];
    for (announced, last) in cases {
        for (later, id) in [(last, 1), (last + 1, 2)] {
            let (sim, fake) = new(1);
            let pool = clockless(fake.pool()).max_size(1).build_lazy().unwrap();
            sim.advance(SECOND);
            fake.set_expires_in_with(move |_| Some(announced));
            fill(&sim, &pool, 1);
            sim.advance(later * MILLI);
            assert_eq!(sim.block_on(pool.get()).unwrap().id(), id, "{announced:?} {later}");
            let reasons = [CloseReason::Lifetime, CloseReason::Dead].map(|why| closed(&pool, why));
            assert_eq!(reasons, [id - 1, 0]);
            assert_full_capacity(&sim, &fake, &pool);
        }
    }
}

#[test]
fn sweep_closes_what_expires_before_its_peer_does() {
    let (sim, fake) = new(1);
    let pool = clockless(fake.pool()).evict_interval(SECOND / 10).build_lazy().unwrap();
    fake.set_expires_in_with(|_| Some(5 * SECOND));
    fill(&sim, &pool, 4);
    sim.advance(5 * SECOND);
    fake.hang_up_all();
    sim.advance(SECOND);
    assert_eq!(pool.stats().size, 0);
    assert_eq!((closed(&pool, CloseReason::Lifetime), graceful_closes(&fake).len()), (4, 4));
}

#[test]
fn each_use_renews_the_announcement_up_to_the_lifetime() {
    let (sim, fake) = new(1);
    let lifetime = 20 * SECOND;
    let pool = clockless(fake.pool()).max_lifetime(lifetime).lifetime_jitter(0.0);
    let pool = pool.evict_interval(None).build_lazy().unwrap();
    fake.set_expires_in_with(|_| Some(5 * SECOND));
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(hold(&sim, &pool, 1)[0].id());
        sim.advance(4 * SECOND);
    }
    assert_eq!(ids, [1, 1, 1, 1, 1, 2, 2, 2]);
}

/// The limit that counts is that of the last announcement, or the shorter lifetime of the settings.
#[test]
fn announcement_does_not_hide_a_shorter_lifetime() {
    let (sim, fake) = new(1);
    let pool = clockless(fake.pool()).max_lifetime(100 * SECOND).evict_interval(None);
    let pool = pool.build_lazy().unwrap();
    fake.set_expires_in_with(|_| Some(5 * SECOND));
    fill(&sim, &pool, 1);
    let mut config = pool.config();
    config.max_lifetime = Some(8 * SECOND);
    pool.reconfigure(config).unwrap();
    drop(hold(&sim, &pool, 1));
    sim.advance(4 * SECOND);
    fake.set_expires_in_with(|_| Some(50 * SECOND));
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 1);
    sim.advance(5 * SECOND);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 2);
}

#[test]
fn announcement_stands_until_the_next_one() {
    let (sim, fake) = new(1);
    let pool = clockless(fake.pool()).evict_interval(None).build_lazy().unwrap();
    fake.set_expires_in_with(|_| Some(5 * SECOND));
    fill(&sim, &pool, 1);
    fake.set_expires_in_with(|_| None);
    drop(hold(&sim, &pool, 1));
    sim.advance(5 * SECOND);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 2);
}

#[test]
fn connection_that_expires_at_once_is_closed_on_return() {
    let (sim, fake) = new(1);
    let pool = clockless(fake.pool()).build_lazy().unwrap();
    fake.set_expires_in_with(|_| Some(Duration::ZERO));
    drop(hold(&sim, &pool, 2));
    sim.settle();
    assert_eq!((pool.stats().size, closed(&pool, CloseReason::Lifetime)), (0, 2));
}

#[test]
fn longest_announcement_never_expires() {
    let (sim, fake) = new(1);
    let pool = clockless(fake.pool()).build_lazy().unwrap();
    fake.set_expires_in_with(|_| Some(Duration::MAX));
    fill(&sim, &pool, 1);
    sim.advance(1_000_000 * SECOND);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 1);
}

#[test]
fn panicking_expires_in_destroys_its_connection_on_return() {
    let (sim, fake) = new(1);
    let pool = clockless(fake.pool()).build_lazy().unwrap();
    let held = hold(&sim, &pool, 2);
    fake.set_expires_in_with(|_| panic!("scripted"));
    drop(held);
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Panicked), 2);
    // It is asked of the new ones as well, which are lent all the same.
    assert_eq!(hold(&sim, &pool, 2).len(), 2);
    fake.set_expires_in_with(|_| None);
    assert_full_capacity(&sim, &fake, &pool);
}
