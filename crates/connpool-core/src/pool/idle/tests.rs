use std::thread;

use super::*;

/// One with an odd number was checked_out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Conn {
    number: u32,
    shard: u8,
}

impl Stored for Conn {
    fn is_used(&self) -> bool {
        self.number % 2 == 1
    }

    fn shard(&mut self) -> &mut u8 {
        &mut self.shard
    }
}

fn conn(number: u32) -> Conn {
    Conn { number, shard: 0 }
}

fn in_lane(shard: u8, number: u32) -> Conn {
    Conn { number, shard }
}

fn filled(order: IdleOrder, numbers: &[u32]) -> IdleSet<Conn> {
    let set = IdleSet::new(order, None);
    numbers.iter().for_each(|n| set.push(conn(*n)).unwrap());
    set
}

fn drained(set: &IdleSet<Conn>) -> Vec<u32> {
    std::iter::from_fn(|| set.pop()).map(|conn| conn.number).collect()
}

fn numbers(conns: impl IntoIterator<Item = Conn>) -> Vec<u32> {
    conns.into_iter().map(|conn| conn.number).collect()
}

fn counts(set: &IdleSet<Conn>) -> Vec<usize> {
    set.segments().into_iter().map(|(_, count)| count).collect()
}

#[test]
fn the_last_used_comes_first_and_the_unused_last() {
    let set = filled(IdleOrder::LastUsedFirst, &[1, 2, 3, 4, 5]);
    assert_eq!(drained(&set), [5, 3, 1, 4, 2]);
}

#[test]
fn round_robin_leaves_nobody_out() {
    let set = filled(IdleOrder::RoundRobin, &[1, 2, 3, 4, 5]);
    assert_eq!(drained(&set), [2, 4, 1, 3, 5]);
}

#[test]
fn no_more_are_kept_than_allowed() {
    let set = IdleSet::new(IdleOrder::LastUsedFirst, Some(2));
    let push = [1, 2, 3].map(|number| set.push_local(conn(number)));
    assert_eq!(push, [Ok(()), Ok(()), Err(conn(3))]);
    assert_eq!((set.count().idle, counts(&set)), (2, vec![1, 1]));
    assert!(set.is_full());
    let none = IdleSet::new(IdleOrder::LastUsedFirst, Some(0));
    assert_eq!(none.push(conn(1)), Err(conn(1)));
}

#[test]
fn another_order_and_another_bound_count_from_now_on() {
    let set = filled(IdleOrder::LastUsedFirst, &[1, 2, 3, 4, 5]);
    let beyond = set.reconfigure(IdleOrder::RoundRobin, Some(2));
    assert_eq!(numbers(beyond), [2, 4, 1]);
    assert_eq!(set.push(conn(7)), Err(conn(7)));
    assert_eq!(drained(&set), [3, 5]);
    assert_eq!(set.reconfigure(IdleOrder::LastUsedFirst, None), []);
    for number in [1, 3, 5] {
        set.push(conn(number)).unwrap();
    }
    set.for_each(|conn| conn.number += 10);
    assert_eq!(drained(&set), [15, 13, 11]);
}

#[test]
fn each_part_can_be_gone_through_from_its_oldest() {
    let set = filled(IdleOrder::LastUsedFirst, &[1, 2, 3, 4]);
    let [(unused, 2), (used, 2)] = set.segments()[..] else {
        panic!("{:?}", set.segments());
    };
    let oldest = |segment| set.pop_oldest_in(segment).map(|conn| conn.number);
    assert_eq!(oldest(unused), Some(2));
    assert_eq!(oldest(used), Some(1));
    assert_eq!(oldest(unused), Some(4));
    assert_eq!(oldest(unused), None);
    assert_eq!(set.pop_oldest(false), None);
    assert_eq!(numbers(set.drain()), [3]);
    assert_eq!(set.count().idle, 0);
}

#[test]
fn only_what_is_next_and_fit_is_taken_and_counted() {
    let set = filled(IdleOrder::LastUsedFirst, &[1, 2, 3]);
    let nothing = Err(NotTaken::Nothing);
    assert_eq!(set.pop_if(|conn| conn.number == 1, true, true), nothing);
    assert_eq!(set.pop_if(|_| true, true, true), Ok(conn(3)));
    assert_eq!(set.pop_if(|_| true, false, true), Ok(conn(1)));
    assert_eq!(set.pop_if(|_| true, true, true), nothing);
    assert_eq!(set.count(), IdleCount { idle: 1, checked_out: 1 });
    set.reconfigure(IdleOrder::RoundRobin, None);
    set.push(conn(1)).unwrap();
    assert_eq!(set.pop_if(|_| true, true, true), nothing);
    assert_eq!(set.pop(), Some(conn(2)));
    assert_eq!(set.pop_if(|_| true, true, true), Ok(conn(1)));
}

#[test]
fn one_of_32_that_would_take_one_must_ask_first() {
    for widened in [false, true] {
        let set = filled(IdleOrder::LastUsedFirst, &[1]);
        if widened {
            set.widen();
        }
        let is_told_to_ask = |number: usize| {
            let taken = match number.is_multiple_of(2) {
                true => set.pop_if(|_| true, true, true),
                false => set.pop_for_get(true),
            };
            match taken {
                Ok(conn) => set.push(conn).unwrap(),
                Err(why) => assert_eq!(why, NotTaken::MustAsk),
            }
            taken.is_err()
        };
        let asked: Vec<_> = (1..=96).filter(|number| is_told_to_ask(*number)).collect();
        assert_eq!(asked, [32, 64, 96]);
        // What takes nothing, or may not ask, does not count.
        for _ in 0..100 {
            assert_eq!(set.pop_if(|_| false, true, true), Err(NotTaken::Nothing));
            set.push(set.pop_if(|_| true, true, false).unwrap()).unwrap();
            set.push(set.pop().unwrap()).unwrap();
        }
        let asked: Vec<_> = (1..=32).filter(|number| is_told_to_ask(*number)).collect();
        assert_eq!(asked, [32]);
    }
}

#[test]
fn a_wide_set_is_one_set_all_the_same() {
    let set = filled(IdleOrder::LastUsedFirst, &[1, 2]);
    set.widen();
    assert_eq!(set.shards_in_use(), 2);
    set.push(in_lane(1, 3)).unwrap();
    set.push(in_lane(1, 4)).unwrap();
    assert_eq!((set.count().idle, counts(&set)), (4, vec![1, 1, 1, 1]));
    let taken = [(); 5].map(|()| set.pop());
    let used = taken.map(|conn| conn.map(|conn| conn.is_used()));
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(used, [yes, yes, no, no, None]);
}

#[test]
fn what_has_no_lane_any_more_goes_to_the_first() {
    let set = filled(IdleOrder::LastUsedFirst, &[1]);
    set.widen();
    set.push(in_lane(1, 3)).unwrap();
    assert_eq!(set.reconfigure(IdleOrder::RoundRobin, None), []);
    assert_eq!(set.shards_in_use(), 1);
    set.push(in_lane(1, 5)).unwrap();
    assert_eq!(drained(&set), [1, 3, 5]);
    set.widen();
    assert_eq!(set.shards_in_use(), 1, "round robin has one order");
}

#[test]
fn threads_that_collide_make_it_wider_up_to_a_limit() {
    let set = IdleSet::<Conn>::new(IdleOrder::LastUsedFirst, None);
    let mut widths = vec![set.shards_in_use()];
    loop {
        // Every shard is locked, so that another thread collides with the holder.
        while !set.is_contended() && set.shards_in_use() < SHARDS {
            thread::scope(|scope| {
                let before = set.contention.get();
                let all = set.lock_all();
                scope.spawn(|| set.pop_if(|_| true, true, true));
                while set.contention.get() == before {
                    thread::yield_now();
                }
                drop(all);
            });
        }
        if !set.is_contended() {
            break;
        }
        set.widen();
        widths.push(set.shards_in_use());
    }
    assert_eq!(widths, [1, 2, 4, 8]);
}

#[test]
fn threads_that_come_and_go_while_it_changes_lose_nothing() {
    let set = filled(IdleOrder::LastUsedFirst, &[1, 3, 5, 7]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if let Ok(conn) = set.pop_if(|_| true, true, true) {
                        set.push_local(conn).unwrap();
                    }
                }
            });
        }
        for round in 0..500 {
            let order = match round % 3 {
                0 => IdleOrder::RoundRobin,
                _ => IdleOrder::LastUsedFirst,
            };
            assert_eq!(set.reconfigure(order, None), []);
            set.widen();
            assert!(set.count().idle <= 4);
        }
    });
    let mut rest = drained(&set);
    rest.sort_unstable();
    assert_eq!(rest, [1, 3, 5, 7]);
}
