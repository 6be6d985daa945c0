//! Projects a [`PoolMachine`] to what later decisions can see of it.

use crate::machine::capacity::Capacity;
use crate::machine::pool::{ConnectTicket, PoolMachine};
use crate::machine::projection::Projector;
use crate::machine::sweep_schedule::SweepSchedule;

impl<W> PoolMachine<W> {
    /// Projects everything but the settings, of which only `max_size` may change.
    ///
    /// `lendings` is what [`count_lendings`](crate::machine::backoff::BackoffState::count_lendings)
    /// would be told now, and `name` names a waiter by the number that its projection has.
    pub(crate) fn project(&self, into: &mut Projector, lendings: u64, name: impl Fn(&W) -> usize) {
        let PoolMachine {
            max_connecting: _,
            max_waiters: _,
            capacity,
            queue,
            // Of the decisions, only the end of a drain depends on it.
            answered: _,
            // Decides only when the shell looks at deadlines.
            wait_timer: _,
            backoff,
            connects,
            contention,
            askers,
            checking,
            told,
            broken,
            returned_broken,
            leaps: _,
            // Without `min_idle` and lifetimes, no decision depends on these.
            idle: _,
            successor_due: _,
            // There is one runtime.
            home: _,
            resets,
            schedule,
            // Connections and tickets carry one, of which only `outdates` is seen.
            versions: _,
            closed,
            paused,
            drain_until,
        } = self;
        let Capacity { max_size, open, connecting, closing, .. } = capacity;
        into.number(*max_size);
        [open, connecting, closing].into_iter().for_each(|count| into.number(count.get()));
        queue.project(into, name);
        backoff.project(into, open.get() > 0, lendings);
        connects.project(into);
        contention.project(into);
        into.number(askers.get());
        into.number(checking.get());
        into.flag(*told);
        broken.project(into);
        returned_broken.project(into);
        resets.project(into);
        let SweepSchedule { sweep_at, probing, pinging, .. } = schedule;
        into.due(*sweep_at);
        into.flag(*probing);
        into.number(pinging.get());
        into.flag(*closed);
        into.flag(*paused);
        into.due(*drain_until);
    }

    /// Projects a ticket, as seen by the connect that has it.
    pub(crate) fn project_ticket(&self, ticket: ConnectTicket, into: &mut Projector) {
        into.flag(self.versions.outdates(ticket.version));
        into.flag(ticket.limit_epoch == self.backoff.limit_epochs.last());
        into.number(self.connects.rank(ticket.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PoolConfig;
    use crate::machine::wait_queue::Accepts;
    use crate::time::Instant;

    #[test]
    fn projection_does_not_depend_on_the_epoch_nor_on_the_count_of_versions() {
        let at = |start: u64, millis: u64| Instant::from_nanos((start + millis) * 1_000_000);
        let run = |start: u64, clears: usize| {
            let project = |machine: &PoolMachine<()>, ticket| {
                let mut projector = Projector::new(at(start, 3));
                machine.project(&mut projector, 0, |()| 0);
                machine.project_ticket(ticket, &mut projector);
                projector.finish()
            };
            let mut machine = PoolMachine::<()>::new(&PoolConfig::default());
            (0..clears).for_each(|_| _ = machine.clear());
            let ticket = machine.connect_started(at(start, 0));
            machine.clear();
            let deadline = Some(at(start, 500));
            assert!(machine.enqueue(at(start, 1), deadline, Accepts::Any, ()).is_ok());
            machine.dead_on_arrival(at(start, 1), at(start, 2), u64::MAX);
            let copy = machine.clone();
            machine.pause();
            let paused = project(&machine, ticket);
            assert_ne!(project(&copy, ticket), paused);
            let other = machine.connect_started(at(start, 3));
            assert_ne!(project(&machine, ticket), project(&machine, other));
            paused
        };
        assert_eq!(run(123_456, 1), run(654_321, 7));
    }
}
