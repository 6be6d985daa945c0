use std::thread;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

#[track_caller]
fn here() -> CallSite {
    Location::caller()
}

fn indexes<const N: usize>() -> [LeaseIndex; N] {
    let mut indexes = LeaseIndexes::default();
    std::array::from_fn(|_| indexes.take().unwrap())
}

fn check_out(
    leases: &Leases<()>,
    index: LeaseIndex,
    id: u64,
    site: CallSite,
    since: Option<Instant>,
) {
    let block = leases.block(index).unwrap();
    let cell = block.cell(index.place()).unwrap();
    cell.opened(id);
    leases.begin(cell, site, since);
}

fn end(leases: &Leases<()>, index: LeaseIndex) {
    let block = leases.block(index).unwrap();
    block.cell(index.place()).unwrap().end();
}

fn end_reported(leases: &Leases<()>, index: LeaseIndex, now: Instant) -> Option<Holder> {
    let block = leases.block(index).unwrap();
    leases.end(index, block.cell(index.place()).unwrap(), now)
}

fn ids(holders: &[Holder]) -> Vec<u64> {
    holders.iter().map(|holder| holder.id).collect()
}

#[test]
fn longest_holder_comes_first_and_untimed_ones_last() {
    let leases = Leases::new(());
    let [a, b, c, d] = indexes();
    check_out(&leases, a, 1, here(), Some(at(5)));
    check_out(&leases, b, 2, here(), Some(at(3)));
    check_out(&leases, c, 3, here(), None);
    check_out(&leases, d, 4, here(), Some(at(1)));
    end(&leases, d);
    let holders = leases.longest(usize::MAX, at(10));
    assert_eq!(ids(&holders), [2, 1, 3]);
    assert_eq!(holders[0].held, Some(7 * SECOND));
    assert_eq!(holders[2].held, None);
    assert!(holders[0].site.is_some_and(|site| site.file().ends_with("tests.rs")));
}

#[test]
fn lease_is_overdue_once_and_reported_when_it_ends() {
    let leases = Leases::new(());
    let [a, b] = indexes();
    let limit = Nanos::from(5 * SECOND);
    check_out(&leases, a, 1, here(), Some(at(1)));
    check_out(&leases, b, 2, here(), Some(at(3)));
    let (overdue, next) = leases.overdue(limit, at(5));
    assert_eq!((ids(&overdue), next), (vec![], Some(at(6))));
    let (overdue, next) = leases.overdue(limit, at(6));
    assert_eq!((ids(&overdue), next), (vec![1], Some(at(8))));
    let (overdue, next) = leases.overdue(limit, at(7));
    assert_eq!((ids(&overdue), next), (vec![], Some(at(8))));
    assert_eq!(ids(&leases.longest(usize::MAX, at(7))), [1, 2]);
    let back = end_reported(&leases, a, at(9)).unwrap();
    assert_eq!((back.id, back.held), (1, Some(8 * SECOND)));
    assert_eq!(end_reported(&leases, b, at(7)), None);
    check_out(&leases, a, 3, here(), Some(at(9)));
    assert_eq!(end_reported(&leases, a, at(9)), None);
}

#[test]
fn lease_of_unknown_start_is_never_overdue() {
    let leases = Leases::new(());
    let [a] = indexes();
    check_out(&leases, a, 1, here(), None);
    let (overdue, next) = leases.overdue(Nanos::ZERO, at(5));
    assert_eq!((ids(&overdue), next), (vec![], Some(at(5))));
    assert_eq!(leases.overdue(Nanos::NEVER, at(5)).1, None);
}

#[test]
fn label_is_cut_and_forgotten() {
    let leases = Leases::new(());
    let [a] = indexes();
    check_out(&leases, a, 1, here(), Some(at(1)));
    leases.label(a, &"ä".repeat(10_000_000));
    let label = leases.longest(usize::MAX, at(1)).remove(0).label.unwrap();
    assert_eq!(&*label, "ä".repeat(64));
    leases.forget_notes(a);
    assert_eq!(leases.longest(usize::MAX, at(1)).remove(0).label, None);
}

#[test]
fn holder_prints_what_is_known() {
    let site = Location::caller();
    let mut holder = Holder::labeled("nightly", Duration::from_millis(32_100));
    holder.site = Some(site);
    let call_site = format!("{}:{}", site.file(), site.line());
    assert_eq!(holder.to_string(), format!("{call_site} \"nightly\" for 32.1 s"));
    (holder.label, holder.held) = (None, None);
    assert_eq!(holder.to_string(), call_site);
    holder.site = None;
    assert_eq!(holder.to_string(), "<unknown call site>");
}

#[test]
fn extreme_instants_are_lease_starts() {
    let leases = Leases::new(());
    let [a, b] = indexes();
    check_out(&leases, a, 1, here(), Some(Instant::ORIGIN));
    check_out(&leases, b, 2, here(), Some(Instant::from_nanos(u64::MAX)));
    let holders = leases.longest(usize::MAX, at(1));
    let held: Vec<_> = holders.iter().map(|holder| (holder.id, holder.held)).collect();
    assert_eq!(held, [(1, Some(SECOND)), (2, None)]);
}

#[test]
fn concurrent_reader_sees_whole_leases_only() {
    let leases = Leases::new(());
    let indexes: [LeaseIndex; 8] = indexes();
    let (one, other) = (here(), here());
    thread::scope(|scope| {
        for index in indexes {
            let leases = &leases;
            scope.spawn(move || {
                for round in 1..5_000 {
                    // Odd numbers belong to one call site, even ones to the other.
                    let site = if round % 2 == 1 { one } else { other };
                    check_out(leases, index, round, site, Some(at(round)));
                    end(leases, index);
                }
            });
        }
        for _ in 0..2_000 {
            for holder in leases.longest(usize::MAX, at(5_000)) {
                let site = if holder.id % 2 == 1 { one } else { other };
                assert_eq!(holder.site, Some(site), "{holder:?}");
                assert_eq!(holder.held, Some(at(5_000).since(at(holder.id))));
            }
        }
    });
    assert_eq!(leases.longest(usize::MAX, at(1)), []);
}

#[test]
fn indexes_are_unique_until_given_back_and_fill_one_block_after_the_other() {
    let mut indexes = LeaseIndexes::default();
    let [a, b] = [indexes.take(), indexes.take()];
    assert_ne!(a, b);
    indexes.free.push(a.unwrap());
    assert_eq!(indexes.take(), a);
    let mut indexes = LeaseIndexes::default();
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..BLOCK * 7 {
        let index = indexes.take().unwrap();
        assert!(usize::from(index.place()) < BLOCK);
        assert_eq!(index.block(), number / BLOCK);
        assert!(seen.insert((index.block(), index.place())));
    }
    assert_eq!([0, 1, 16].map(|nth| LeaseIndex(nth).place()), [0, 4, 1]);
}

fn somewhere() -> CallSite {
    Box::leak(Box::new(*Location::caller()))
}

#[test]
fn call_sites_are_found_by_address_up_to_the_maximum() {
    let sites = CallSites::default();
    assert_eq!(sites.find(address_of(Location::caller())), None);
    let lines: Vec<_> = (0..SITES + 2).map(|_| somewhere()).collect();
    lines.iter().chain(&lines).for_each(|line| sites.insert(line));
    let found = |line: &CallSite| {
        let found = sites.find(address_of(line));
        found.is_some_and(|found| ptr::eq(found, *line))
    };
    assert!(lines[..SITES].iter().all(found));
    assert!(!lines[SITES..].iter().any(found));
}
