//! What the lock guards: the books, the seats, and what waits for the driver.

use std::collections::VecDeque;

use crate::machine::pool::Ledger;
use crate::machine::slab::{Key, Spots};
use crate::machine::wait_queue::Supply;
use crate::pool::actions::Effects;
use crate::pool::conn::Entry;
use crate::pool::seats::{Answer, Refusal, Seats};
use crate::pool::shared::Shared;
use crate::util::sync::Arc;
use crate::{CloseReason, Instant, Manager};

/// What the lock guards.
pub(crate) struct State<M: Manager> {
    pub(crate) ledger: Ledger,
    pub(crate) seats: Seats<M>,
    /// The numbers of the slots that are taken.
    pub(crate) spots: Spots,
    /// What the driver is to close.
    pub(crate) farewell: VecDeque<(Entry<M>, CloseReason)>,
    pub(crate) driver: DriverState,
    pub(crate) last_failure: Option<Refusal<M::Error>>,
    /// The pool itself, left to the driver by the last handle so that it can say the goodbyes.
    pub(crate) legacy: Option<Arc<Shared<M>>>,
}

/// Whether there is a driver.
///
/// | from     | event                                     | to       |
/// |----------|-------------------------------------------|----------|
/// | Absent   | a polled future is about to spawn it      | Starting |
/// | Starting | `spawn` returned and it was not dropped   | Running  |
/// | Starting | dropped: the runtime takes no tasks       | Absent   |
/// | Running  | dropped or at its end                     | Absent   |
///
/// Only the fall from Running wakes the head of the line, whose poll then starts another one: a
/// runtime that takes no tasks would be asked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriverState {
    Absent,
    Starting,
    Running,
}

impl<M: Manager> State<M> {
    /// Gives a connection to the first in line whom it serves, or gives it back.
    pub(crate) fn hand_over(
        &mut self,
        effects: &mut Effects<M>,
        entry: Entry<M>,
        supply: Supply,
        now: Instant,
    ) -> Option<Entry<M>> {
        match self.next_in_line(effects, supply, now) {
            Some(key) => {
                effects.wake(self.seats.answer(key, Answer::Lent(entry, supply)));
                None
            }
            None => Some(entry),
        }
    }

    /// Answers the first in line that there will be no connection.
    pub(crate) fn refuse_first(
        &mut self,
        effects: &mut Effects<M>,
        refusal: Refusal<M::Error>,
        now: Instant,
    ) {
        if let Some(key) = self.next_in_line(effects, Supply::New, now) {
            effects.wake(self.seats.answer(key, Answer::Refused(refusal)));
        }
    }

    /// Answers everybody in line if there is nothing to hope for, see [`Ledger::give_up`].
    pub(crate) fn give_up_if_broken(&mut self, effects: &mut Effects<M>, now: Instant) {
        for key in self.ledger.give_up(now) {
            let answer = Answer::Refused(self.last_refusal());
            effects.wake(self.seats.answer(key, answer));
        }
    }

    /// The last failure, as an answer.
    pub(crate) fn last_refusal(&self) -> Refusal<M::Error> {
        self.last_failure.clone().unwrap_or(Refusal::ConnectDropped)
    }

    /// Whether the caller has to start the driver; from now on it counts as starting.
    pub(crate) fn driver_must_start(&mut self) -> bool {
        let must = self.driver == DriverState::Absent && !self.ledger.is_closed();
        if must {
            self.driver = DriverState::Starting;
        }
        must
    }

    /// Has the connects that are wanted begun by somebody who may spawn.
    pub(crate) fn call_for_connects(&mut self, effects: &mut Effects<M>) {
        match self.driver {
            DriverState::Absent => {
                let head = self.ledger.head();
                effects.wake(head.and_then(|key| self.seats.waker(key)));
            }
            DriverState::Starting | DriverState::Running => effects.rouse_driver = true,
        }
    }

    fn next_in_line(
        &mut self,
        effects: &mut Effects<M>,
        supply: Supply,
        now: Instant,
    ) -> Option<Key> {
        let State { ledger, seats, .. } = self;
        ledger.serve(supply, now, |late| effects.wake(seats.waker(late)))
    }
}

/// Leaves a connection to the driver, or has it destroyed if there is none.
pub(crate) fn see_off<M: Manager>(
    state: &mut State<M>,
    effects: &mut Effects<M>,
    mut entry: Entry<M>,
    reason: CloseReason,
) {
    entry.slot.leaves(&mut state.ledger);
    match state.driver {
        DriverState::Absent => effects.destroy(entry, reason),
        DriverState::Starting | DriverState::Running => {
            state.farewell.push_back((entry, reason));
            effects.rouse_driver = true;
        }
    }
}
