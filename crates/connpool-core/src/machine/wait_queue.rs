//! The line of those who wait: first in, first out, and out of it from anywhere at no cost.

use crate::Instant;
use crate::machine::slab::{Count, Key, Sequence, Slab};

/// What will do for a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Any connection.
    Any,
    /// A new one, after too many old ones had failed their check.
    New,
}

/// What there is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supply {
    /// A connection that came back or was idle.
    Used,
    /// A new connection, or the news that it could not be had.
    New,
}

/// Where a waiter stands.
///
/// | from    | event                                    | to      |
/// |---------|------------------------------------------|---------|
/// | Waiting | served                                   | Served  |
/// | Waiting | its turn came after its deadline         | Expired |
/// | Served  | what it was served failed: back in line  | Waiting |
/// | any     | it leaves                                | (gone)  |
///
/// Back in line is back in its old place: a waiter keeps its ticket for as long as it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    Served,
    Expired,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    deadline: Option<Instant>,
    wants: Wants,
    standing: Standing,
    before: Option<Key>,
    behind: Option<Key>,
}

/// Everybody in line. Those who want a new connection stand apart, so that neither kind has to be
/// searched for; tickets keep the order between them.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiters: Slab<Waiter>,
    tickets: Sequence,
    any: Row,
    new: Row,
}

/// Places beyond this are not counted: the line may be long, and its lock is held meanwhile.
const FARTHEST_PLACE: usize = 1_024;

/// A doubly linked list through the waiters, in the order of their tickets.
#[derive(Debug, Default)]
struct Row {
    head: Option<Key>,
    tail: Option<Key>,
    len: Count,
}

impl Line {
    /// Stands last in line.
    pub(crate) fn join(&mut self, wants: Wants, deadline: Option<Instant>) -> Key {
        let ticket = self.tickets.next();
        let key = self.waiters.insert(Waiter {
            ticket,
            deadline,
            wants,
            standing: Standing::Served,
            before: None,
            behind: None,
        });
        self.link(key, wants);
        key
    }

    /// Back to the old place, with other wishes perhaps. Nothing happens to one who stands there.
    pub(crate) fn rejoin(&mut self, key: Key, wants: Wants) {
        if self.standing(key) != Some(Standing::Waiting) {
            self.link(key, wants);
        }
    }

    /// Out of it, wherever it stood.
    pub(crate) fn leave(&mut self, key: Key) {
        self.unlink(key, Standing::Served);
        self.waiters.remove(key);
    }

    /// Takes the first one out of the line whom this would serve, as served, or as expired if its
    /// deadline has passed: then there may be another.
    ///
    /// `coming` is how many new connections are on their way. A waiter that wants a new one is
    /// served a used one only if none is coming for it: better than nothing.
    pub(crate) fn call(
        &mut self,
        supply: Supply,
        coming: usize,
        now: Instant,
    ) -> Option<(Key, Standing)> {
        let key = self.first(supply, coming)?;
        let deadline = self.waiters.get(key)?.deadline;
        let standing = match deadline.is_some_and(|deadline| now >= deadline) {
            true => Standing::Expired,
            false => Standing::Served,
        };
        self.unlink(key, standing);
        Some((key, standing))
    }

    /// Whether a used connection would serve anybody.
    pub(crate) fn wants_used(&self, coming: usize) -> bool {
        self.first(Supply::Used, coming).is_some()
    }

    /// The first of all, whatever it wants.
    pub(crate) fn head(&self) -> Option<Key> {
        self.earlier(self.any.head, self.new.head)
    }

    /// The place of one who waits, counted from one: how many have an earlier ticket, in both rows.
    pub(crate) fn place(&self, key: Key) -> Option<usize> {
        let waiter = self.waiters.get(key)?;
        if waiter.standing != Standing::Waiting {
            return None;
        }
        let earlier = |head| {
            std::iter::successors(head, |key| self.waiters.get(*key)?.behind)
                .map_while(|key| self.waiters.get(key))
                .take_while(|other| other.ticket < waiter.ticket)
                .take(FARTHEST_PLACE)
                .count()
        };
        let before = earlier(self.any.head).saturating_add(earlier(self.new.head));
        (before < FARTHEST_PLACE).then(|| before.saturating_add(1))
    }

    pub(crate) fn len(&self) -> usize {
        self.any.len.get().saturating_add(self.new.len.get())
    }

    pub(crate) fn standing(&self, key: Key) -> Option<Standing> {
        self.waiters.get(key).map(|waiter| waiter.standing)
    }

    /// Takes everybody out of the line, in order, as served.
    pub(crate) fn dismiss_all(&mut self) -> Vec<Key> {
        let mut all = Vec::new();
        while let Some(key) = self.head() {
            self.unlink(key, Standing::Served);
            all.push(key);
        }
        all
    }

    fn first(&self, supply: Supply, coming: usize) -> Option<Key> {
        let new = self.new.head.filter(|_| match supply {
            Supply::New => true,
            Supply::Used => self.new.len.get() > coming,
        });
        self.earlier(self.any.head, new)
    }

    fn earlier(&self, a: Option<Key>, b: Option<Key>) -> Option<Key> {
        match (a, b) {
            (Some(a), Some(b)) if self.ticket(b) < self.ticket(a) => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }

    fn ticket(&self, key: Key) -> Option<u64> {
        self.waiters.get(key).map(|waiter| waiter.ticket)
    }

    fn row(&mut self, wants: Wants) -> &mut Row {
        match wants {
            Wants::Any => &mut self.any,
            Wants::New => &mut self.new,
        }
    }

    fn link(&mut self, key: Key, wants: Wants) {
        let ticket = self.ticket(key);
        // A newcomer has the last ticket and its place is found at once. One who returns had been
        // served before, so that only others who returned can stand before it.
        let tail = self.row(wants).tail;
        let mut behind = match tail {
            Some(tail) if self.ticket(tail) > ticket => self.row(wants).head,
            _ => None,
        };
        while let Some(other) = behind.filter(|other| self.ticket(*other) < ticket) {
            behind = self.waiters.get(other).and_then(|waiter| waiter.behind);
        }
        let before = match behind {
            Some(behind) => self.waiters.get(behind).and_then(|waiter| waiter.before),
            None => tail,
        };
        let Some(waiter) = self.waiters.get_mut(key) else {
            return;
        };
        waiter.wants = wants;
        waiter.standing = Standing::Waiting;
        (waiter.before, waiter.behind) = (before, behind);
        self.join_up(wants, before, Some(key));
        self.join_up(wants, Some(key), behind);
        self.row(wants).len.one_more();
    }

    fn unlink(&mut self, key: Key, standing: Standing) {
        let Some(waiter) = self.waiters.get_mut(key) else {
            return;
        };
        let was = std::mem::replace(&mut waiter.standing, standing);
        if was != Standing::Waiting {
            return;
        }
        let wants = waiter.wants;
        let (before, behind) = (waiter.before.take(), waiter.behind.take());
        self.join_up(wants, before, behind);
        self.row(wants).len.one_less();
    }

    /// Makes two places neighbours; `None` is the end of the row on that side.
    fn join_up(&mut self, wants: Wants, before: Option<Key>, behind: Option<Key>) {
        match before.and_then(|key| self.waiters.get_mut(key)) {
            Some(waiter) => waiter.behind = behind,
            None => self.row(wants).head = behind,
        }
        match behind.and_then(|key| self.waiters.get_mut(key)) {
            Some(waiter) => waiter.before = before,
            None => self.row(wants).tail = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000);

    fn serve(line: &mut Line, supply: Supply) -> Option<Key> {
        call(line, supply, 0)
    }

    fn call(line: &mut Line, supply: Supply, coming: usize) -> Option<Key> {
        let (key, standing) = line.call(supply, coming, NOW)?;
        assert_eq!(standing, Standing::Served, "nobody has expired");
        Some(key)
    }

    fn joined<const N: usize>(line: &mut Line) -> [Key; N] {
        std::array::from_fn(|_| line.join(Wants::Any, None))
    }

    #[test]
    fn first_in_is_first_out() {
        let mut line = Line::default();
        let keys: [Key; 3] = joined(&mut line);
        assert_eq!(line.len(), 3);
        for key in keys {
            assert_eq!(serve(&mut line, Supply::Used), Some(key));
        }
        assert_eq!(serve(&mut line, Supply::Used), None);
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn anyone_can_leave_from_anywhere() {
        for leaver in 0..3 {
            let mut line = Line::default();
            let keys: [Key; 3] = joined(&mut line);
            line.leave(keys[leaver]);
            for (index, key) in keys.into_iter().enumerate() {
                if index != leaver {
                    assert_eq!(serve(&mut line, Supply::New), Some(key));
                }
            }
            assert_eq!(line.len(), 0);
        }
    }

    #[test]
    fn one_who_returns_has_its_old_place() {
        let mut line = Line::default();
        let [a, b, c]: [Key; 3] = joined(&mut line);
        serve(&mut line, Supply::Used);
        serve(&mut line, Supply::Used);
        line.rejoin(b, Wants::Any);
        line.rejoin(a, Wants::Any);
        line.rejoin(a, Wants::Any);
        assert_eq!(line.len(), 3);
        for key in [a, b, c] {
            assert_eq!(serve(&mut line, Supply::Used), Some(key));
        }
    }

    #[test]
    fn the_late_are_passed_over_and_told_once() {
        let mut line = Line::default();
        let late = line.join(Wants::Any, Some(NOW));
        let in_time = line.join(Wants::Any, Some(Instant::from_nanos(1_001)));
        let mut call = || line.call(Supply::Used, 0, NOW);
        assert_eq!(call(), Some((late, Standing::Expired)));
        assert_eq!(call(), Some((in_time, Standing::Served)));
        assert_eq!(call(), None);
        assert_eq!(line.standing(late), Some(Standing::Expired));
        assert_eq!(line.standing(in_time), Some(Standing::Served));
        assert_eq!(line.len(), 0);
        line.leave(late);
        assert_eq!(line.standing(late), None);
    }

    #[test]
    fn who_wants_a_new_one_waits_for_its_connect_but_not_in_vain() {
        let mut line = Line::default();
        let new = line.join(Wants::New, None);
        assert!(!line.wants_used(1));
        assert_eq!(call(&mut line, Supply::Used, 1), None);
        let any = line.join(Wants::Any, None);
        assert_eq!(call(&mut line, Supply::Used, 1), Some(any));
        line.rejoin(any, Wants::Any);
        assert_eq!(call(&mut line, Supply::Used, 0), Some(new));
    }

    #[test]
    fn a_new_one_goes_to_the_first_whatever_it_wants() {
        let mut line = Line::default();
        let a = line.join(Wants::Any, None);
        let b = line.join(Wants::New, None);
        let c = line.join(Wants::Any, None);
        assert_eq!(line.head(), Some(a));
        for key in [a, b, c] {
            assert_eq!(call(&mut line, Supply::New, 9), Some(key));
        }
    }

    #[test]
    fn places_are_counted_over_both_rows_and_not_too_far() {
        let mut line = Line::default();
        let a = line.join(Wants::Any, None);
        let b = line.join(Wants::New, None);
        let c = line.join(Wants::Any, None);
        assert_eq!([a, b, c].map(|key| line.place(key)), [1, 2, 3].map(Some));
        call(&mut line, Supply::New, 0);
        assert_eq!(
            [a, b, c].map(|key| line.place(key)),
            [None, Some(1), Some(2)]
        );
        let mut last = c;
        for _ in 0..FARTHEST_PLACE - 2 {
            last = line.join(Wants::Any, None);
        }
        assert_eq!(line.place(last), Some(FARTHEST_PLACE));
        let beyond = line.join(Wants::Any, None);
        assert_eq!(line.place(beyond), None);
    }

    #[test]
    fn all_leave_in_order_at_the_end() {
        let mut line = Line::default();
        let a = line.join(Wants::Any, None);
        let b = line.join(Wants::New, None);
        assert_eq!(line.dismiss_all(), [a, b]);
        assert_eq!(line.len(), 0);
        assert_eq!(line.standing(a), Some(Standing::Served));
    }

    #[test]
    fn a_thousand_random_moves_agree_with_a_sorted_list() {
        let mut line = Line::default();
        let mut model: Vec<(u64, Key, Wants)> = Vec::new();
        let mut served: Vec<(u64, Key)> = Vec::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut tickets = 0;
        for _ in 0..5_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let pick = (seed >> 32) as usize;
            let wants = if seed & 64 == 0 {
                Wants::Any
            } else {
                Wants::New
            };
            match seed % 5 {
                0 | 1 => {
                    tickets += 1;
                    model.push((tickets, line.join(wants, None), wants));
                }
                2 => {
                    let key = call(&mut line, Supply::New, 0);
                    assert_eq!(key, model.first().map(|waiter| waiter.1));
                    if key.is_some() {
                        let (ticket, key, _) = model.remove(0);
                        served.push((ticket, key));
                    }
                }
                3 if !served.is_empty() => {
                    let (ticket, key) = served.swap_remove(pick % served.len());
                    line.rejoin(key, wants);
                    let at = model.partition_point(|waiter| waiter.0 < ticket);
                    model.insert(at, (ticket, key, wants));
                }
                _ if !model.is_empty() => {
                    let (_, key, _) = model.remove(pick % model.len());
                    line.leave(key);
                }
                _ => {}
            }
            assert_eq!(line.len(), model.len());
            assert_eq!(line.head(), model.first().map(|waiter| waiter.1));
            if !model.is_empty() {
                let nth = pick % model.len();
                let place = (nth < FARTHEST_PLACE).then_some(nth + 1);
                assert_eq!(line.place(model[nth].1), place);
            }
            let any = model
                .iter()
                .find(|waiter| waiter.2 == Wants::Any)
                .map(|waiter| waiter.1);
            assert_eq!(line.first(Supply::Used, usize::MAX), any);
        }
    }
}
