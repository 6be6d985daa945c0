//! The queue of waiters: first in, first out, with O(1) removal from anywhere.

use std::num::NonZeroU16;

use slab::Slab;

use crate::machine::count::{Count, Sequence};
use crate::time::Instant;

/// The index of a waiter while it is queued.
// Half the size of the slab's own key: a waiter has two, each in an `Option`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(u32);

impl Key {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The place of a waiter. It names this waiter for good: places are not given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    key: Key,
    ticket: u64,
}

/// The connections that a waiter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Accepts {
    Any,
    /// A newly opened one: too many reused ones failed their check.
    Fresh,
}

/// Where a connection comes from that is to be assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// It was returned, or idle.
    Reused,
    /// It was just opened, or could not be: a failed connect is news about a fresh connection.
    Fresh,
}

/// How long a waiter waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// `NEVER` if it has no limit, which is half the size of an `Option`.
    pub(crate) until: Instant,
    /// Whether the [timer that waits share](crate::machine::wait_timer::WaitTimer) tells it.
    pub(crate) shares_timer: bool,
}

impl From<Option<Instant>> for Patience {
    fn from(deadline: Option<Instant>) -> Self {
        Patience { until: deadline.unwrap_or(Instant::NEVER), shares_timer: false }
    }
}

/// A waiter that was taken out of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken<W> {
    /// A connection is for it.
    Served(W),
    /// Its deadline has passed.
    Expired(W),
}

/// One waiting `get`: its place, its deadline, and in `payload` what the shell keeps for it.
#[derive(Debug, Clone)]
struct Waiter<W> {
    ticket: u64,
    patience: Patience,
    accepts: Accepts,
    prev: Option<Key>,
    next: Option<Key>,
    payload: W,
}

/// All waiters, in two lists by what they accept, so that neither has to be searched. Tickets keep
/// the order between the lists.
///
/// A waiter is in the queue until it is served, told of an error, or leaves. One that comes back, after what
/// it was given failed its check, has its old ticket and so its old place.
#[derive(Debug, Clone)]
pub(crate) struct WaitQueue<W> {
    waiters: Slab<Waiter<W>>,
    tickets: Sequence,
    any: List,
    fresh: List,
}

/// A doubly linked list through the waiters, in the order of their tickets.
#[derive(Debug, Clone, Default)]
struct List {
    head: Option<Key>,
    tail: Option<Key>,
    len: Count,
}

/// Positions beyond this are not counted: the queue may be long, and the pool's lock is held
/// meanwhile.
const MAX_POSITION: usize = 128;

impl<W> Default for WaitQueue<W> {
    fn default() -> Self {
        WaitQueue {
            waiters: Slab::new(),
            tickets: Sequence::default(),
            any: List::default(),
            fresh: List::default(),
        }
    }
}

impl<W> WaitQueue<W> {
    /// Adds a waiter at the end.
    pub(crate) fn push(
        &mut self,
        accepts: Accepts,
        patience: impl Into<Patience>,
        payload: W,
    ) -> Place {
        let ticket = self.tickets.next();
        self.link(ticket, accepts, patience.into(), payload)
    }

    /// Puts a waiter back into its old place, which it has left.
    pub(crate) fn requeue(
        &mut self,
        place: Place,
        accepts: Accepts,
        patience: impl Into<Patience>,
        payload: W,
    ) -> Place {
        self.link(place.ticket, accepts, patience.into(), payload)
    }

    /// Removes a waiter and returns its payload; `None` if it is no longer queued.
    pub(crate) fn remove(&mut self, place: Place) -> Option<W> {
        if self.is_queued(place) { self.unlink(place.key) } else { None }
    }

    /// Takes the first waiter out of the queue that accepts a connection from `source`. If its deadline has
    /// passed, the caller may try the next one.
    ///
    /// `coming` is the number of fresh connections that are on their way, which matters only if
    /// [a waiter accepts no other](WaitQueue::has_picky). A waiter that accepts only fresh ones gets a reused one
    /// if none is coming for it.
    pub(crate) fn pop(&mut self, source: Source, coming: usize, now: Instant) -> Option<Taken<W>> {
        let key = self.first(source, coming)?;
        let passed = now >= self.waiters.get(key.index())?.patience.until;
        let payload = self.unlink(key)?;
        Some(if passed { Taken::Expired(payload) } else { Taken::Served(payload) })
    }

    /// Takes the first waiter out of the queue, if all accept any connection and its deadline has not passed.
    pub(crate) fn pop_plainly(&mut self, now: Instant) -> Option<W> {
        let head = self.any.head.filter(|_| !self.has_picky())?;
        let is_expired = now >= self.waiters.get(head.index())?.patience.until;
        if is_expired { None } else { self.unlink(head) }
    }

    /// Takes all waiters out of the queue, in order.
    pub(crate) fn drain(&mut self) -> Vec<W> {
        std::iter::from_fn(|| self.first_key().and_then(|key| self.unlink(key))).collect()
    }

    /// Returns what the shell keeps for the first waiter, whatever that accepts.
    pub(crate) fn head(&self) -> Option<&W> {
        self.first_key().and_then(|key| self.waiters.get(key.index())).map(|head| &head.payload)
    }

    fn first_key(&self) -> Option<Key> {
        self.earlier(self.any.head, self.fresh.head)
    }

    /// Returns the position of a queued waiter over both lists, counted from one; `None` beyond
    /// [`MAX_POSITION`].
    pub(crate) fn position(&self, place: Place) -> Option<NonZeroU16> {
        if !self.is_queued(place) {
            return None;
        }
        let earlier = |head: Option<Key>| {
            std::iter::successors(head, |key: &Key| self.waiters.get(key.index())?.next)
                .map_while(|key| self.waiters.get(key.index()))
                .take_while(|other| other.ticket < place.ticket)
                .take(MAX_POSITION)
                .count()
        };
        let ahead = earlier(self.any.head).saturating_add(earlier(self.fresh.head));
        let position = u16::try_from(ahead.saturating_add(1)).ok().and_then(NonZeroU16::new);
        position.filter(|_| ahead < MAX_POSITION)
    }

    /// Returns the waiters that share the timer and whose deadline has passed, and the first deadline of the
    /// others that share it.
    pub(crate) fn overdue(&self, now: Instant) -> (Vec<&W>, Instant) {
        let mut overdue = Vec::new();
        let mut next = Instant::NEVER;
        for (_, Waiter { patience, payload, .. }) in &self.waiters {
            match patience.shares_timer {
                true if patience.until <= now => overdue.push(payload),
                true => next = next.min(patience.until),
                false => {}
            }
        }
        (overdue, next)
    }

    /// Returns the number of waiters.
    pub(crate) fn len(&self) -> usize {
        self.any.len.get().saturating_add(self.fresh.len.get())
    }

    pub(crate) fn is_queued(&self, place: Place) -> bool {
        self.ticket(place.key) == Some(place.ticket)
    }

    /// Returns whether some waiter accepts only a fresh connection.
    pub(crate) fn has_picky(&self) -> bool {
        self.fresh.head.is_some()
    }

    /// Returns whether some waiter accepts a connection from `source`, see [`pop`](WaitQueue::pop).
    pub(crate) fn accepts(&self, source: Source, coming: usize) -> bool {
        self.first(source, coming).is_some()
    }

    fn first(&self, source: Source, coming: usize) -> Option<Key> {
        let fresh = self.fresh.head.filter(|_| match source {
            Source::Fresh => true,
            Source::Reused => self.fresh.len.get() > coming,
        });
        self.earlier(self.any.head, fresh)
    }

    fn earlier(&self, a: Option<Key>, b: Option<Key>) -> Option<Key> {
        match (a, b) {
            (Some(a), Some(b)) if self.ticket(b) < self.ticket(a) => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }

    fn ticket(&self, key: Key) -> Option<u64> {
        self.waiters.get(key.index()).map(|waiter| waiter.ticket)
    }

    fn list(&mut self, accepts: Accepts) -> &mut List {
        match accepts {
            Accepts::Any => &mut self.any,
            Accepts::Fresh => &mut self.fresh,
        }
    }

    fn link(&mut self, ticket: u64, accepts: Accepts, patience: Patience, payload: W) -> Place {
        // A new waiter has the last ticket, so its place is the tail. One that comes back was served
        // before, so only others like it can be ahead of it: the search from the head is short.
        let tail = self.list(accepts).tail;
        let mut next = match tail {
            Some(tail) if self.ticket(tail) > Some(ticket) => self.list(accepts).head,
            _ => None,
        };
        while let Some(other) = next.filter(|other| self.ticket(*other) < Some(ticket)) {
            next = self.waiters.get(other.index()).and_then(|waiter| waiter.next);
        }
        let prev = match next {
            Some(next) => self.waiters.get(next.index()).and_then(|waiter| waiter.prev),
            None => tail,
        };
        let waiter = Waiter { ticket, patience, accepts, prev, next, payload };
        let key = Key(self.waiters.insert(waiter) as u32);
        self.join(accepts, prev, Some(key));
        self.join(accepts, Some(key), next);
        self.list(accepts).len.inc();
        Place { key, ticket }
    }

    fn unlink(&mut self, key: Key) -> Option<W> {
        let Waiter { accepts, prev, next, payload, .. } = self.waiters.try_remove(key.index())?;
        self.join(accepts, prev, next);
        self.list(accepts).len.dec();
        Some(payload)
    }

    /// Makes two waiters neighbours; `None` is the end of the list on that side.
    fn join(&mut self, accepts: Accepts, prev: Option<Key>, next: Option<Key>) {
        match prev.and_then(|key| self.waiters.get_mut(key.index())) {
            Some(waiter) => waiter.next = next,
            None => self.list(accepts).head = next,
        }
        match next.and_then(|key| self.waiters.get_mut(key.index())) {
            Some(waiter) => waiter.prev = prev,
            None => self.list(accepts).tail = prev,
        }
    }
}

#[cfg(test)]
impl<W> WaitQueue<W> {
    /// Adds what later decisions can see: all waiters in the order of their tickets, and the `name`
    /// of each.
    pub(crate) fn project(
        &self,
        into: &mut crate::machine::projection::Projector,
        name: impl Fn(&W) -> usize,
    ) {
        let mut waiters: Vec<_> = self.waiters.iter().map(|(_, waiter)| waiter).collect();
        waiters.sort_by_key(|waiter| waiter.ticket);
        into.number(waiters.len());
        for waiter in waiters {
            into.number(name(&waiter.payload));
            into.number(waiter.accepts as usize);
            into.due(Some(waiter.patience.until).filter(|at| *at < Instant::NEVER));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000);

    /// Waiters are named by numbers.
    fn serve(queue: &mut WaitQueue<u32>, source: Source, coming: usize) -> Option<u32> {
        match queue.pop(source, coming, NOW)? {
            Taken::Served(waiter) => Some(waiter),
            Taken::Expired(waiter) => panic!("{waiter} has expired"),
        }
    }

    fn position(queue: &WaitQueue<u32>, place: Place) -> Option<usize> {
        queue.position(place).map(|position| position.get().into())
    }

    fn with_waiters<const N: usize>() -> (WaitQueue<u32>, [Place; N]) {
        let mut queue = WaitQueue::default();
        let places = std::array::from_fn(|n| queue.push(Accepts::Any, None, n as u32));
        (queue, places)
    }

    #[test]
    fn first_in_is_first_out() {
        let (mut queue, _) = with_waiters::<3>();
        assert_eq!(queue.len(), 3);
        for waiter in 0..3 {
            assert_eq!(serve(&mut queue, Source::Reused, 0), Some(waiter));
        }
        assert_eq!(serve(&mut queue, Source::Reused, 0), None);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn waiter_can_be_removed_from_anywhere() {
        for leaver in 0..3 {
            let (mut queue, places) = with_waiters::<3>();
            assert_eq!(queue.remove(places[leaver as usize]), Some(leaver));
            for waiter in (0..3).filter(|waiter| *waiter != leaver) {
                assert_eq!(serve(&mut queue, Source::Fresh, 0), Some(waiter));
            }
            assert_eq!(queue.len(), 0);
        }
    }

    #[test]
    fn requeued_waiter_has_its_old_position() {
        let (mut queue, [a, b, _]) = with_waiters();
        serve(&mut queue, Source::Reused, 0);
        serve(&mut queue, Source::Reused, 0);
        queue.requeue(b, Accepts::Any, None, 1);
        queue.requeue(a, Accepts::Any, None, 0);
        assert_eq!(queue.len(), 3);
        for waiter in 0..3 {
            assert_eq!(serve(&mut queue, Source::Reused, 0), Some(waiter));
        }
    }

    #[test]
    fn place_that_was_left_names_no_other_waiter() {
        let (mut queue, [left]) = with_waiters();
        serve(&mut queue, Source::Reused, 0);
        assert!(!queue.is_queued(left));
        let next = queue.push(Accepts::Any, None, 1);
        assert_eq!(left.key, next.key, "the same memory");
        assert!(!queue.is_queued(left) && queue.is_queued(next));
        assert_eq!((queue.remove(left), queue.position(left)), (None, None));
        assert_eq!(queue.remove(next), Some(1));
    }

    #[test]
    fn waiter_past_its_deadline_is_taken_as_expired() {
        let mut queue = WaitQueue::default();
        queue.push(Accepts::Any, Some(NOW), 0);
        queue.push(Accepts::Any, Some(Instant::from_nanos(1_001)), 1);
        let mut pop = || queue.pop(Source::Reused, 0, NOW);
        assert_eq!(pop(), Some(Taken::Expired(0)));
        assert_eq!(pop(), Some(Taken::Served(1)));
        assert_eq!(pop(), None);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn overdue_are_those_that_share_the_timer() {
        let mut queue = WaitQueue::default();
        let deadlines = [(3_000, true), (1_000, true), (900, false), (2_000, true)];
        for (waiter, (nanos, shares_timer)) in deadlines.into_iter().enumerate() {
            let patience = Patience { until: Instant::from_nanos(nanos), shares_timer };
            queue.push(Accepts::Any, patience, waiter);
        }
        queue.push(Accepts::Any, None, 4);
        assert_eq!(queue.overdue(NOW), (vec![&1], Instant::from_nanos(2_000)));
        let (all, next) = queue.overdue(Instant::from_nanos(3_000));
        assert_eq!((all.len(), next), (3, Instant::NEVER));
    }

    #[test]
    fn waiter_for_a_fresh_connection_accepts_a_reused_one_if_none_is_coming() {
        let mut queue = WaitQueue::default();
        queue.push(Accepts::Fresh, None, 0);
        assert!(!queue.accepts(Source::Reused, 1) && queue.accepts(Source::Reused, 0));
        assert_eq!(serve(&mut queue, Source::Reused, 1), None);
        let any = queue.push(Accepts::Any, None, 1);
        assert_eq!(serve(&mut queue, Source::Reused, 1), Some(1));
        queue.requeue(any, Accepts::Any, None, 1);
        assert_eq!(serve(&mut queue, Source::Reused, 0), Some(0));
    }

    #[test]
    fn fresh_connection_goes_to_the_first_waiter_of_either_list() {
        let mut queue = WaitQueue::default();
        queue.push(Accepts::Any, None, 0);
        queue.push(Accepts::Fresh, None, 1);
        queue.push(Accepts::Any, None, 2);
        assert_eq!(queue.head(), Some(&0));
        for waiter in 0..3 {
            assert_eq!(serve(&mut queue, Source::Fresh, 9), Some(waiter));
        }
    }

    #[test]
    fn positions_are_counted_over_both_lists_up_to_a_maximum() {
        let mut queue = WaitQueue::default();
        let a = queue.push(Accepts::Any, None, 0);
        let b = queue.push(Accepts::Fresh, None, 0);
        let c = queue.push(Accepts::Any, None, 0);
        assert_eq!([a, b, c].map(|place| position(&queue, place)), [1, 2, 3].map(Some));
        serve(&mut queue, Source::Fresh, 0);
        assert_eq!([a, b, c].map(|place| position(&queue, place)), [None, Some(1), Some(2)]);
        let mut last = c;
        for _ in 0..MAX_POSITION - 2 {
            last = queue.push(Accepts::Any, None, 0);
        }
        assert_eq!(position(&queue, last), Some(MAX_POSITION));
        let beyond = queue.push(Accepts::Any, None, 0);
        assert_eq!(queue.position(beyond), None);
    }

    #[test]
    fn drain_takes_all_waiters_in_order() {
        let mut queue = WaitQueue::default();
        queue.push(Accepts::Any, None, 0);
        queue.push(Accepts::Fresh, None, 1);
        assert_eq!(queue.drain(), [0, 1]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn random_moves_agree_with_a_sorted_list() {
        let mut queue = WaitQueue::default();
        let mut model: Vec<(Place, Accepts)> = Vec::new();
        let mut served: Vec<Place> = Vec::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut waiters = 0;
        for _ in 0..5_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let pick = (seed >> 32) as usize;
            let accepts = if seed & 64 == 0 { Accepts::Any } else { Accepts::Fresh };
            match seed % 5 {
                0 | 1 => {
                    // A waiter's name is its ticket.
                    waiters += 1;
                    model.push((queue.push(accepts, None, waiters), accepts));
                }
                2 => {
                    let waiter = serve(&mut queue, Source::Fresh, 0).map(u64::from);
                    assert_eq!(waiter, model.first().map(|(place, _)| place.ticket));
                    if waiter.is_some() {
                        served.push(model.remove(0).0);
                    }
                }
                3 if !served.is_empty() => {
                    let place = served.swap_remove(pick % served.len());
                    let place = queue.requeue(place, accepts, None, place.ticket as u32);
                    let at = model.partition_point(|(other, _)| other.ticket < place.ticket);
                    model.insert(at, (place, accepts));
                }
                _ if !model.is_empty() => {
                    let (place, _) = model.remove(pick % model.len());
                    assert_eq!(queue.remove(place).map(u64::from), Some(place.ticket));
                }
                _ => {}
            }
            assert_eq!(queue.len(), model.len());
            let head = queue.head().copied().map(u64::from);
            assert_eq!(head, model.first().map(|(place, _)| place.ticket));
            if !model.is_empty() {
                let nth = pick % model.len();
                let expected = (nth < MAX_POSITION).then_some(nth + 1);
                assert_eq!(position(&queue, model[nth].0), expected);
            }
            let accepts_any = model.iter().any(|(_, accepts)| *accepts == Accepts::Any);
            assert_eq!(queue.accepts(Source::Reused, usize::MAX), accepts_any);
        }
    }
}
