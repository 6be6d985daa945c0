use std::thread;

use super::*;
use crate::machine::slab::Spots;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn here() -> Borrower {
    Borrower::at(Location::caller())
}

fn spots<const N: usize>() -> [Spot; N] {
    let mut spots = Spots::default();
    std::array::from_fn(|_| spots.take())
}

fn lend(leases: &Leases<()>, spot: Spot, id: u64, borrower: &Borrower, since: Option<Instant>) {
    let block = leases.block(spot).unwrap();
    let cell = &block.cells[spot.shelf().nth];
    cell.opened(id);
    leases.begin(cell, borrower.site, since);
}

fn end(leases: &Leases<()>, spot: Spot) {
    leases.cell(spot).unwrap().end();
}

fn ids(holders: &[Holder]) -> Vec<u64> {
    holders.iter().map(|holder| holder.id).collect()
}

#[test]
fn the_longest_held_comes_first_and_the_untimed_last() {
    let leases = Leases::new(());
    let [a, b, c, d] = spots();
    lend(&leases, a, 1, &here(), Some(at(5)));
    lend(&leases, b, 2, &here(), Some(at(3)));
    lend(&leases, c, 3, &here(), None);
    lend(&leases, d, 4, &here(), Some(at(1)));
    end(&leases, d);
    let holders = leases.holders(at(10));
    assert_eq!(ids(&holders), [2, 1, 3]);
    assert_eq!(holders[0].held, Some(7 * SECOND));
    assert_eq!(holders[2].held, None);
    assert!(
        holders[0]
            .site
            .is_some_and(|site| site.file().ends_with("tests.rs"))
    );
}

#[test]
fn a_lease_is_overdue_once_and_says_so_when_it_ends() {
    let leases = Leases::new(());
    let [a, b] = spots();
    let limit = Nanos::from(5 * SECOND);
    lend(&leases, a, 1, &here(), Some(at(1)));
    lend(&leases, b, 2, &here(), Some(at(3)));
    let (overdue, next) = leases.overdue(limit, at(5));
    assert_eq!((ids(&overdue), next), (vec![], Some(at(6))));
    let (overdue, next) = leases.overdue(limit, at(6));
    assert_eq!((ids(&overdue), next), (vec![1], Some(at(8))));
    let (overdue, next) = leases.overdue(limit, at(7));
    assert_eq!((ids(&overdue), next), (vec![], Some(at(8))));
    assert_eq!(ids(&leases.holders(at(7))), [1, 2]);
    let back = leases.end_watched(a, at(9)).unwrap();
    assert_eq!((back.id, back.held), (1, Some(8 * SECOND)));
    assert_eq!(leases.end_watched(b, at(7)), None);
    lend(&leases, a, 3, &here(), Some(at(9)));
    assert_eq!(leases.end_watched(a, at(9)), None);
}

#[test]
fn what_is_held_for_an_unknown_time_is_never_overdue() {
    let leases = Leases::new(());
    let [a] = spots();
    lend(&leases, a, 1, &here(), None);
    let (overdue, next) = leases.overdue(Nanos::ZERO, at(5));
    assert_eq!((ids(&overdue), next), (vec![], Some(at(5))));
    assert_eq!(leases.overdue(Nanos::NEVER, at(5)).1, None);
}

#[test]
fn a_label_is_cut_and_forgotten() {
    let leases = Leases::new(());
    let [a] = spots();
    lend(&leases, a, 1, &here(), Some(at(1)));
    leases.label(a, &"ä".repeat(10_000_000));
    let label = leases.holders(at(1)).remove(0).label.unwrap();
    assert_eq!(&*label, "ä".repeat(64));
    leases.forget_label(a);
    assert_eq!(leases.holders(at(1)).remove(0).label, None);
}

#[test]
fn a_holder_prints_what_is_known_of_it() {
    let site = Location::caller();
    let mut holder = Holder {
        id: 7,
        site: Some(site),
        label: Some(Arc::from("nightly")),
        held: Some(Duration::from_millis(32_100)),
    };
    let spot = format!("{}:{}", site.file(), site.line());
    assert_eq!(holder.to_string(), format!("{spot} \"nightly\" for 32.1 s"));
    (holder.label, holder.held) = (None, None);
    assert_eq!(holder.to_string(), spot);
    holder.site = None;
    assert_eq!(holder.to_string(), "a line of many");
}

#[test]
fn the_moments_at_both_ends_are_leases_as_well() {
    let leases = Leases::new(());
    let [a, b] = spots();
    lend(&leases, a, 1, &here(), Some(Instant::ORIGIN));
    lend(&leases, b, 2, &here(), Some(Instant::from_nanos(u64::MAX)));
    let holders = leases.holders(at(1));
    let told: Vec<_> = holders
        .iter()
        .map(|holder| (holder.id, holder.held))
        .collect();
    assert_eq!(told, [(1, Some(SECOND)), (2, None)]);
}

#[test]
fn who_reads_while_others_lend_finds_whole_leases_only() {
    let leases = Leases::new(());
    let spots: [Spot; 8] = spots();
    let (one, other) = (here(), here());
    thread::scope(|scope| {
        for spot in spots {
            let leases = &leases;
            scope.spawn(move || {
                for round in 1..5_000 {
                    // Odd numbers are lent here, even ones there.
                    let borrower = if round % 2 == 1 { one } else { other };
                    lend(leases, spot, round, &borrower, Some(at(round)));
                    end(leases, spot);
                }
            });
        }
        for _ in 0..2_000 {
            for holder in leases.holders(at(5_000)) {
                let borrower = if holder.id % 2 == 1 { one } else { other };
                assert_eq!(holder.site, Some(borrower.site), "{holder:?}");
                assert_eq!(holder.held, Some(at(5_000).since(at(holder.id))));
            }
        }
    });
    assert_eq!(leases.holders(at(1)), []);
}
