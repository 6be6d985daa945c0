//! A place in line, from standing in it to being served.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::machine::pool::Refused;
use crate::machine::slab::Key;
use crate::machine::wait_queue::{Standing, Supply, Wants};
use crate::pool::actions::Effects;
use crate::pool::background;
use crate::pool::conn::Entry;
use crate::pool::connect::Begun;
use crate::pool::seats::{Answer, Refusal};
use crate::pool::shared::Shared;
use crate::pool::state::{DriverState, State};
use crate::util::timeout::Deadline;
use crate::{Event, Instant, Manager};

/// Somebody's turn. Holds no place until it is first waited for, and keeps its place while what it
/// was served is being checked. Dropped, it leaves the line and passes on what it was served.
pub(crate) struct Turn<'a, M: Manager> {
    shared: &'a Shared<M>,
    key: Option<Key>,
    /// Whether there was nothing to wait for but a return when it stood in line.
    depends_on_return: bool,
    waiting_since: Option<Instant>,
    has_waited: bool,
    is_announced: bool,
    plight: Plight,
}

/// How somebody fares who may have to be told why there is nothing for him.
#[derive(Debug, Default)]
pub(crate) struct Plight {
    /// Whether he stood in line when his time was up.
    pub(crate) stood_in_line: bool,
    /// Where, if not too far behind to be counted.
    pub(crate) place: Option<usize>,
}

/// What a turn brought.
pub(crate) type Served<M> = Result<Given<M>, Miss<<M as Manager>::Error>>;

/// A connection for whoever stood in line.
pub(crate) struct Given<M: Manager> {
    pub(crate) entry: Entry<M>,
    pub(crate) supply: Supply,
    /// When every check of it was passed, if there is none left.
    pub(crate) passed_at: Option<Instant>,
}

impl<M: Manager> Given<M> {
    fn to_be_checked(entry: Entry<M>, supply: Supply) -> Self {
        Given {
            entry,
            supply,
            passed_at: None,
        }
    }
}

/// Why a turn brought nothing.
pub(crate) enum Miss<E> {
    Refused(Refusal<E>),
    Exhausted,
    OutOfTime,
}

impl<'a, M: Manager> Turn<'a, M> {
    pub(crate) fn new(shared: &'a Shared<M>) -> Self {
        Turn {
            shared,
            key: None,
            depends_on_return: false,
            waiting_since: None,
            has_waited: false,
            is_announced: false,
            plight: Plight::default(),
        }
    }

    /// Waits for a connection: in line, in the old place if there was one.
    pub(crate) async fn wait(&mut self, deadline: &mut Deadline, wants: Wants) -> Served<M> {
        let result = poll_fn(|cx| self.poll_wait(cx, deadline, wants)).await;
        self.stop_waiting();
        result
    }

    /// Whether there is a place in line to go back to.
    pub(crate) fn has_place(&self) -> bool {
        self.key.is_some()
    }

    /// How it fares, to be told.
    pub(crate) fn plight(&mut self) -> Plight {
        std::mem::take(&mut self.plight)
    }

    /// What it was handed, if that may be lent as it is: there is nothing to come back for, so that it
    /// leaves its place in the same breath.
    fn take_what_needs_no_check(&mut self) -> Option<Given<M>> {
        let (key, shared) = (self.key?, self.shared);
        let now = shared.moment();
        let (entry, waker) = shared.inside(|state| {
            let ledger = &state.ledger;
            let others_are_to_be_told = state.driver == DriverState::Absent;
            if others_are_to_be_told || ledger.is_closed() || ledger.is_paused() {
                return None;
            }
            let seal = ledger.era().seal;
            let is_fit = |entry: &Entry<M>| shared.needs_no_look(entry, seal, now);
            let entry = state.seats.take_answer_if(key, is_fit)?;
            Some((entry, self.leave(state).and_then(|(waker, _)| waker)))
        })?;
        drop(waker);
        Some(Given {
            entry,
            supply: Supply::Used,
            passed_at: Some(now),
        })
    }

    fn poll_wait(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Deadline,
        wants: Wants,
    ) -> Poll<Served<M>> {
        if let Some(given) = self.take_what_needs_no_check() {
            return Poll::Ready(Ok(given));
        }
        let shared = self.shared;
        let now = shared.runtime.now();
        deadline.begin(now);
        let mut waker = Some(cx.waker().clone());
        let (answered, to_begin) = shared.with(|state, effects| {
            let answered = self.stand_in_line(state, effects, deadline, wants, now, &mut waker);
            (answered, ToBegin::what_is_wanted(shared, state, now))
        });
        // Foreign code: not under the lock, and the waker last, whose drop might throw.
        to_begin.begin(shared);
        drop(waker);
        if let Some(answered) = answered {
            return Poll::Ready(answered);
        }
        if deadline
            .poll_passed(cx, &*shared.runtime, || now)
            .is_ready()
        {
            return Poll::Ready(
                self.look_once_more(wants, now)
                    .unwrap_or(Err(Miss::OutOfTime)),
            );
        }
        if self.depends_on_return {
            self.start_waiting();
        }
        if !std::mem::replace(&mut self.is_announced, true) {
            shared.tell(|| Event::Waiting);
        }
        Poll::Pending
    }

    /// One look at the answer, from a place in line; `None`: there is none yet.
    fn stand_in_line(
        &mut self,
        state: &mut State<M>,
        effects: &mut Effects<M>,
        deadline: &mut Deadline,
        wants: Wants,
        now: Instant,
        waker: &mut Option<Waker>,
    ) -> Option<Served<M>> {
        if let Some(answer) = self.key.and_then(|key| state.seats.take_answer(key)) {
            return Some(answer.into_result());
        }
        let others_look_already = state.ledger.wants_used(now);
        let entered = match self.key {
            None => {
                let entered = state.ledger.join(now, deadline.begin(now), wants);
                self.depends_on_return = state.ledger.depends_on_returns();
                entered
            }
            Some(key) if state.ledger.standing(key) == Some(Standing::Served) => {
                state.ledger.rejoin(key, wants).map(|()| key)
            }
            Some(key) => Ok(key),
        };
        let key = match entered {
            Ok(key) => key,
            Err(Refused::Closed) => return Some(Err(Miss::Refused(Refusal::Closed))),
            Err(Refused::Broken) => return Some(Err(Miss::Refused(state.last_refusal()))),
            Err(Refused::Exhausted) => {
                let idle = self.take_idle_unless_wanted(state, wants, now);
                return Some(idle.map_or(Err(Miss::Exhausted), |entry| {
                    Ok(Given::to_be_checked(entry, Supply::Used))
                }));
            }
        };
        match (self.key.replace(key), waker.take()) {
            (None, Some(mine)) => state.seats.take_seat(key, mine),
            (Some(_), Some(mine)) => *waker = state.seats.set_waker(key, mine),
            (_, None) => {}
        }
        // In line first, then a look at what is idle: whoever makes a connection idle on the fast
        // path looks at the line after it. One of the two sees the other.
        self.shared.publish(state);
        if !others_look_already {
            self.shared.serve_idle(state, effects, now);
        }
        state.give_up_if_broken(effects, now);
        effects.hurry = state.ledger.held_up_by_goodbyes();
        // The driver may rest for longer than the pause that this one waits for.
        effects.rouse_driver |= state.ledger.waits_for_a_pause(now);
        state.seats.take_answer(key).map(Answer::into_result)
    }

    /// The time is up: out of the line, and a last look, since what has come counts all the same.
    fn look_once_more(&mut self, wants: Wants, now: Instant) -> Option<Served<M>> {
        let (waker, result) = self.shared.with(|state, _| {
            let key = self.key.filter(|key| state.ledger.is_in_line(*key));
            self.plight.stood_in_line = key.is_some();
            self.plight.place = key.and_then(|key| state.ledger.queue_position(key));
            let (waker, answer) = self.leave(state).unwrap_or_default();
            let result = match answer {
                Some(answer) => Some(answer.into_result()),
                None => self
                    .take_idle_unless_wanted(state, wants, now)
                    .map(|entry| Ok(Given::to_be_checked(entry, Supply::Used))),
            };
            (waker, result)
        });
        drop(waker);
        result
    }

    fn leave(&mut self, state: &mut State<M>) -> Option<(Option<Waker>, Option<Answer<M>>)> {
        let key = self.key.take()?;
        state.ledger.leave(key);
        state.seats.leave(key)
    }

    fn take_idle_unless_wanted(
        &self,
        state: &State<M>,
        wants: Wants,
        now: Instant,
    ) -> Option<Entry<M>> {
        let ledger = &state.ledger;
        let free = wants == Wants::Any
            && !ledger.wants_used(now)
            && !ledger.is_closed()
            && !ledger.is_paused();
        if free { self.shared.idle.take() } else { None }
    }

    fn start_waiting(&mut self) {
        let shared = self.shared;
        self.waiting_since.get_or_insert_with(|| shared.about_now());
        if !std::mem::replace(&mut self.has_waited, true) {
            self.shared.counters.wait_count.up();
        }
    }

    fn stop_waiting(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.shared
                .counters
                .waited(self.shared.about_now().since(since));
        }
    }
}

impl<M: Manager> Drop for Turn<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.key.is_some() || self.waiting_since.is_some() {
            self.give_up();
        }
    }
}

impl<M: Manager> Turn<'_, M> {
    #[cold]
    fn give_up(&mut self) {
        self.stop_waiting();
        if self.key.is_none() {
            return;
        }
        let left = self.shared.with(|state, effects| {
            let left = self.leave(state);
            if state.driver == DriverState::Absent && state.ledger.lacking() > 0 {
                // It may have been woken to begin what is wanted: the next one is told.
                state.call_for_connects(effects);
            }
            left
        });
        if let Some((_, Some(Answer::Lent(entry, supply)))) = left {
            self.shared.pass_on(entry, supply);
        }
    }
}

impl<M: Manager> Answer<M> {
    fn into_result(self) -> Served<M> {
        match self {
            Answer::Lent(entry, supply) => Ok(Given::to_be_checked(entry, supply)),
            Answer::Refused(refusal) => Err(Miss::Refused(refusal)),
        }
    }
}

/// What a polled future has to spawn: decided under the lock, spawned outside of it.
pub(crate) struct ToBegin<M: Manager> {
    connects: Vec<Begun<M>>,
    driver: bool,
}

impl<M: Manager> ToBegin<M> {
    pub(crate) fn what_is_wanted(shared: &Shared<M>, state: &mut State<M>, now: Instant) -> Self {
        let driver = state.driver_must_start();
        let connects = match state.ledger.wanted(now) {
            0 => Vec::new(),
            wanted => (0..wanted)
                .filter_map(|_| Begun::take_slot(shared, state, now))
                .collect(),
        };
        ToBegin { connects, driver }
    }

    #[inline]
    pub(crate) fn begin(self, shared: &Shared<M>) {
        if self.driver || !self.connects.is_empty() {
            self.begin_it(shared);
        }
    }

    #[cold]
    fn begin_it(self, shared: &Shared<M>) {
        if self.driver {
            background::start(shared);
        }
        for begun in self.connects {
            begun.spawn();
        }
    }
}
