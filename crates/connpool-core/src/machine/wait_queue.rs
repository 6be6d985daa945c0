//! The queue of waiters: first in, first out, with O(1) removal from anywhere.

use slab::Slab;

use crate::machine::count::{Count, Sequence};
use crate::time::Instant;

/// Identifies a waiter until it is removed.
// Half the size of the slab's own key: a waiter has two, each in an `Option`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(u32);

impl Key {
    /// A key that no waiter has: memory is full before.
    #[cfg(test)]
    pub(crate) const NONE: Key = Key(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }
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

/// The state of a waiter.
///
/// | from     | event                                         | to       |
/// |----------|-----------------------------------------------|----------|
/// | Queued   | a connection or an error is assigned to it    | Assigned |
/// | Queued   | it is first, and its deadline has passed      | Expired  |
/// | Assigned | the connection failed its check               | Queued   |
/// | any      | it is removed                                 | (gone)   |
///
/// A waiter that is queued again is back in its old place: it keeps its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WaiterState {
    Queued,
    Assigned,
    Expired,
}

/// One waiting `get`: its place, its deadline, and in `payload` what the shell keeps for it, its
/// waker and the result of its wait.
#[derive(Debug, Clone)]
struct Waiter<W> {
    ticket: u64,
    /// `NEVER` if there is none, which is half the size of an `Option`.
    deadline: Instant,
    accepts: Accepts,
    state: WaiterState,
    prev: Option<Key>,
    next: Option<Key>,
    payload: W,
}

/// All waiters, in two lists by what they accept, so that neither has to be searched. Tickets keep
/// the order between the lists.
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
const MAX_POSITION: usize = 1_024;

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
    pub(crate) fn push(&mut self, accepts: Accepts, deadline: Option<Instant>, payload: W) -> Key {
        let index = self.waiters.insert(Waiter {
            ticket: self.tickets.next(),
            deadline: deadline.unwrap_or(Instant::NEVER),
            accepts,
            state: WaiterState::Assigned,
            prev: None,
            next: None,
            payload,
        });
        let key = Key(index as u32);
        self.link(key, accepts);
        key
    }

    /// Puts a waiter back into its old place. Does nothing if it is queued.
    pub(crate) fn requeue(&mut self, key: Key, accepts: Accepts) {
        if self.state(key) != Some(WaiterState::Queued) {
            self.link(key, accepts);
        }
    }

    /// Removes a waiter, queued or not, and returns its payload.
    pub(crate) fn remove(&mut self, key: Key) -> Option<W> {
        self.unlink(key, WaiterState::Assigned);
        self.waiters.try_remove(key.index()).map(|waiter| waiter.payload)
    }

    /// Takes the first waiter out of the queue that accepts a connection from `source`. The new
    /// state is `Expired` if its deadline has passed, and then the caller may try the next one.
    ///
    /// `coming` is the number of fresh connections that are on their way. A waiter that accepts only
    /// fresh ones gets a reused one if none is coming for it.
    pub(crate) fn pop(
        &mut self,
        source: Source,
        coming: usize,
        now: Instant,
    ) -> Option<(Key, WaiterState)> {
        let key = self.first(source, coming)?;
        let passed = now >= self.waiters.get(key.index())?.deadline;
        let state = if passed { WaiterState::Expired } else { WaiterState::Assigned };
        self.unlink(key, state);
        Some((key, state))
    }

    /// Takes all waiters out of the queue, in order, as `Assigned`.
    pub(crate) fn drain(&mut self) -> Vec<Key> {
        std::iter::from_fn(|| {
            let key = self.head()?;
            self.unlink(key, WaiterState::Assigned);
            Some(key)
        })
        .collect()
    }

    /// Returns the first waiter, whatever it accepts.
    pub(crate) fn head(&self) -> Option<Key> {
        self.earlier(self.any.head, self.fresh.head)
    }

    /// Returns the position of a queued waiter over both lists, counted from one; `None` beyond
    /// [`MAX_POSITION`].
    pub(crate) fn position(&self, key: Key) -> Option<usize> {
        let waiter = self.waiters.get(key.index())?;
        if waiter.state != WaiterState::Queued {
            return None;
        }
        let earlier = |head: Option<Key>| {
            std::iter::successors(head, |key: &Key| self.waiters.get(key.index())?.next)
                .map_while(|key| self.waiters.get(key.index()))
                .take_while(|other| other.ticket < waiter.ticket)
                .take(MAX_POSITION)
                .count()
        };
        let ahead = earlier(self.any.head).saturating_add(earlier(self.fresh.head));
        (ahead < MAX_POSITION).then(|| ahead.saturating_add(1))
    }

    /// Returns the number of queued waiters.
    pub(crate) fn len(&self) -> usize {
        self.any.len.get().saturating_add(self.fresh.len.get())
    }

    /// Returns whether there is any waiter, queued or not.
    pub(crate) fn has_callers(&self) -> bool {
        !self.waiters.is_empty()
    }

    pub(crate) fn state(&self, key: Key) -> Option<WaiterState> {
        self.waiters.get(key.index()).map(|waiter| waiter.state)
    }

    /// Returns what the shell keeps for a waiter, queued or not.
    pub(crate) fn payload(&mut self, key: Key) -> Option<&mut W> {
        self.waiters.get_mut(key.index()).map(|waiter| &mut waiter.payload)
    }

    /// Returns the first waiter that accepts a connection from `source`, see [`pop`](WaitQueue::pop).
    pub(crate) fn first(&self, source: Source, coming: usize) -> Option<Key> {
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

    fn link(&mut self, key: Key, accepts: Accepts) {
        let ticket = self.ticket(key);
        // A new waiter has the last ticket, so its place is the tail. A requeued one was assigned a
        // connection before, so only other requeued waiters can be ahead of it: the search from the
        // head is short.
        let tail = self.list(accepts).tail;
        let mut next = match tail {
            Some(tail) if self.ticket(tail) > ticket => self.list(accepts).head,
            _ => None,
        };
        while let Some(other) = next.filter(|other| self.ticket(*other) < ticket) {
            next = self.waiters.get(other.index()).and_then(|waiter| waiter.next);
        }
        let prev = match next {
            Some(next) => self.waiters.get(next.index()).and_then(|waiter| waiter.prev),
            None => tail,
        };
        let Some(waiter) = self.waiters.get_mut(key.index()) else { return };
        waiter.accepts = accepts;
        waiter.state = WaiterState::Queued;
        (waiter.prev, waiter.next) = (prev, next);
        self.join(accepts, prev, Some(key));
        self.join(accepts, Some(key), next);
        self.list(accepts).len.inc();
    }

    fn unlink(&mut self, key: Key, state: WaiterState) {
        let Some(waiter) = self.waiters.get_mut(key.index()) else { return };
        if std::mem::replace(&mut waiter.state, state) != WaiterState::Queued {
            return;
        }
        let accepts = waiter.accepts;
        let (prev, next) = (waiter.prev.take(), waiter.next.take());
        self.join(accepts, prev, next);
        self.list(accepts).len.dec();
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
            into.number(waiter.state as usize);
            into.due(Some(waiter.deadline).filter(|at| *at < Instant::NEVER));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000);

    fn assign(queue: &mut WaitQueue<()>, supply: Source) -> Option<Key> {
        call(queue, supply, 0)
    }

    fn call(queue: &mut WaitQueue<()>, supply: Source, coming: usize) -> Option<Key> {
        let (key, state) = queue.pop(supply, coming, NOW)?;
        assert_eq!(state, WaiterState::Assigned, "no waiter has expired");
        Some(key)
    }

    fn joined<const N: usize>(queue: &mut WaitQueue<()>) -> [Key; N] {
        std::array::from_fn(|_| queue.push(Accepts::Any, None, ()))
    }

    #[test]
    fn first_in_is_first_out() {
        let mut queue = WaitQueue::default();
        let keys: [Key; 3] = joined(&mut queue);
        assert_eq!(queue.len(), 3);
        for key in keys {
            assert_eq!(assign(&mut queue, Source::Reused), Some(key));
        }
        assert_eq!(assign(&mut queue, Source::Reused), None);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn waiter_can_be_removed_from_anywhere() {
        for leaver in 0..3 {
            let mut queue = WaitQueue::default();
            let keys: [Key; 3] = joined(&mut queue);
            queue.remove(keys[leaver]);
            for (index, key) in keys.into_iter().enumerate() {
                if index != leaver {
                    assert_eq!(assign(&mut queue, Source::Fresh), Some(key));
                }
            }
            assert_eq!(queue.len(), 0);
        }
    }

    #[test]
    fn requeued_waiter_has_its_old_position() {
        let mut queue = WaitQueue::default();
        let [a, b, c]: [Key; 3] = joined(&mut queue);
        assign(&mut queue, Source::Reused);
        assign(&mut queue, Source::Reused);
        queue.requeue(b, Accepts::Any);
        queue.requeue(a, Accepts::Any);
        queue.requeue(a, Accepts::Any);
        assert_eq!(queue.len(), 3);
        for key in [a, b, c] {
            assert_eq!(assign(&mut queue, Source::Reused), Some(key));
        }
    }

    #[test]
    fn waiter_past_deadline_is_skipped_once() {
        let mut queue = WaitQueue::default();
        let late = queue.push(Accepts::Any, Some(NOW), ());
        let in_time = queue.push(Accepts::Any, Some(Instant::from_nanos(1_001)), ());
        let mut call = || queue.pop(Source::Reused, 0, NOW);
        assert_eq!(call(), Some((late, WaiterState::Expired)));
        assert_eq!(call(), Some((in_time, WaiterState::Assigned)));
        assert_eq!(call(), None);
        assert_eq!(queue.state(late), Some(WaiterState::Expired));
        assert_eq!(queue.state(in_time), Some(WaiterState::Assigned));
        assert_eq!(queue.len(), 0);
        queue.remove(late);
        assert_eq!(queue.state(late), None);
    }

    #[test]
    fn waiter_for_a_fresh_connection_accepts_a_reused_one_if_none_is_coming() {
        let mut queue = WaitQueue::default();
        let new = queue.push(Accepts::Fresh, None, ());
        assert_eq!(queue.first(Source::Reused, 1), None);
        assert_eq!(call(&mut queue, Source::Reused, 1), None);
        let any = queue.push(Accepts::Any, None, ());
        assert_eq!(call(&mut queue, Source::Reused, 1), Some(any));
        queue.requeue(any, Accepts::Any);
        assert_eq!(call(&mut queue, Source::Reused, 0), Some(new));
    }

    #[test]
    fn fresh_connection_goes_to_the_first_waiter_of_either_list() {
        let mut queue = WaitQueue::default();
        let a = queue.push(Accepts::Any, None, ());
        let b = queue.push(Accepts::Fresh, None, ());
        let c = queue.push(Accepts::Any, None, ());
        assert_eq!(queue.head(), Some(a));
        for key in [a, b, c] {
            assert_eq!(call(&mut queue, Source::Fresh, 9), Some(key));
        }
    }

    #[test]
    fn positions_are_counted_over_both_lists_up_to_a_maximum() {
        let mut queue = WaitQueue::default();
        let a = queue.push(Accepts::Any, None, ());
        let b = queue.push(Accepts::Fresh, None, ());
        let c = queue.push(Accepts::Any, None, ());
        assert_eq!([a, b, c].map(|key| queue.position(key)), [1, 2, 3].map(Some));
        call(&mut queue, Source::Fresh, 0);
        assert_eq!([a, b, c].map(|key| queue.position(key)), [None, Some(1), Some(2)]);
        let mut last = c;
        for _ in 0..MAX_POSITION - 2 {
            last = queue.push(Accepts::Any, None, ());
        }
        assert_eq!(queue.position(last), Some(MAX_POSITION));
        let beyond = queue.push(Accepts::Any, None, ());
        assert_eq!(queue.position(beyond), None);
    }

    #[test]
    fn drain_takes_all_waiters_in_order() {
        let mut queue = WaitQueue::default();
        let a = queue.push(Accepts::Any, None, ());
        let b = queue.push(Accepts::Fresh, None, ());
        assert_eq!(queue.drain(), [a, b]);
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.state(a), Some(WaiterState::Assigned));
    }

    #[test]
    fn random_moves_agree_with_a_sorted_list() {
        let mut queue = WaitQueue::default();
        let mut model: Vec<(u64, Key, Accepts)> = Vec::new();
        let mut assigned: Vec<(u64, Key)> = Vec::new();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut tickets = 0;
        for _ in 0..5_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let pick = (seed >> 32) as usize;
            let accepts = if seed & 64 == 0 { Accepts::Any } else { Accepts::Fresh };
            match seed % 5 {
                0 | 1 => {
                    tickets += 1;
                    model.push((tickets, queue.push(accepts, None, ()), accepts));
                }
                2 => {
                    let key = call(&mut queue, Source::Fresh, 0);
                    assert_eq!(key, model.first().map(|waiter| waiter.1));
                    if key.is_some() {
                        let (ticket, key, _) = model.remove(0);
                        assigned.push((ticket, key));
                    }
                }
                3 if !assigned.is_empty() => {
                    let (ticket, key) = assigned.swap_remove(pick % assigned.len());
                    queue.requeue(key, accepts);
                    let at = model.partition_point(|waiter| waiter.0 < ticket);
                    model.insert(at, (ticket, key, accepts));
                }
                _ if !model.is_empty() => {
                    let (_, key, _) = model.remove(pick % model.len());
                    queue.remove(key);
                }
                _ => {}
            }
            assert_eq!(queue.len(), model.len());
            assert_eq!(queue.head(), model.first().map(|waiter| waiter.1));
            if !model.is_empty() {
                let nth = pick % model.len();
                let position = (nth < MAX_POSITION).then_some(nth + 1);
                assert_eq!(queue.position(model[nth].1), position);
            }
            let any = model.iter().find(|waiter| waiter.2 == Accepts::Any).map(|waiter| waiter.1);
            assert_eq!(queue.first(Source::Reused, usize::MAX), any);
        }
    }
}
