//! The random draws of a run: the pool's settings, the backend's behavior, the steps of each task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

use crate::config::builder::Builder;
use crate::config::{Backoff, Breaker, IdleOrder};
use crate::model_tests::fake::{Act, Fake, Op, YES};

const MILLI: Duration = Duration::from_millis(1);

pub(super) fn one_in(n: u32) -> bool {
    thread_rng().gen_ratio(1, n)
}

pub(super) fn up_to(most: usize) -> usize {
    thread_rng().gen_range(0..=most)
}

pub(super) fn millis(most: u64) -> Duration {
    MILLI * thread_rng().gen_range(0..=most as u32)
}

fn maybe<T>(value: T) -> Option<T> {
    one_in(2).then_some(value)
}

/// A backend that says no now and then, until it is `calm`.
pub(super) fn moody(calm: &Arc<AtomicBool>) -> Fake {
    let calm = Arc::clone(calm);
    let worst = [0, 4, 12][up_to(2)];
    Fake::new(one_in(2), move |op| {
        if calm.load(Ordering::SeqCst) {
            return YES;
        }
        let polls = match op {
            Op::Look | Op::Return => 0,
            // For ever, which is until the pool's limit.
            Op::Connect | Op::Ping | Op::Reset | Op::Close if worst != 0 && one_in(30) => {
                usize::MAX
            }
            Op::Connect | Op::Ping | Op::Reset | Op::Close => up_to(2),
        };
        let succeeds = worst == 0 || !one_in(worst);
        Act { succeeds, polls }
    })
}

/// Half of the pools do nothing by themselves: whatever the others do might make up for a wake-up
/// that was lost.
pub(super) fn settings(builder: Builder<Fake>, max_size: usize) -> Builder<Fake> {
    let limit = MILLI * 20;
    let builder = builder
        .max_size(max_size)
        .connect_timeout(limit)
        .ping_timeout(limit)
        .reset_timeout(limit)
        .close_timeout(limit);
    if one_in(2) {
        return builder;
    }
    let min_size = if one_in(2) { 0 } else { up_to(max_size) };
    builder
        .min_size(min_size)
        .increment(1 + up_to(2))
        .idle_timeout(maybe(millis(30)))
        .max_lifetime(maybe(millis(60)))
        .evict_interval(maybe(millis(10)))
        .ping_after(maybe(Duration::ZERO))
        .liveness_after(maybe(Duration::ZERO))
        .max_waiters(maybe(up_to(8)))
        .max_idle(maybe(min_size + up_to(2)))
        .max_uses(maybe(1 + up_to(5) as u64))
        .max_connecting(maybe(1 + up_to(1)))
        .fail_fast_after(one_in(2).then_some(Duration::from_millis(5)))
        .backoff(Backoff { first: millis(10), max: MILLI * 40, factor: 2.0 })
        .breaker(
            one_in(2).then(|| Breaker { failures: 1 + up_to(3) as u32, probe_every: millis(20) }),
        )
        .keepalive(maybe(millis(30)))
        .idle_order(match one_in(2) {
            true => IdleOrder::LastUsedFirst,
            false => IdleOrder::RoundRobin,
        })
}

/// The next step of a task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Use,
    UseWithin(Duration),
    GiveUpAfter(usize),
    TryGet,
    Mark,
    LeaveUnfinished,
    Detach,
    Clear,
    Resize,
    Widen,
    Close,
}

impl Move {
    pub(super) fn draw() -> Move {
        match up_to(99) {
            0..35 => Move::Use,
            35..45 => Move::UseWithin(millis(20)),
            45..65 => Move::GiveUpAfter(up_to(4)),
            65..71 => Move::TryGet,
            71..79 => Move::Mark,
            79..83 => Move::LeaveUnfinished,
            83..87 => Move::Detach,
            87..91 => Move::Clear,
            91..97 => Move::Resize,
            97..99 => Move::Widen,
            _ => Move::Close,
        }
    }
}
