//! The properties that hold in every state.

use crate::machine::wait_queue::Accepts;
use crate::model_tests::every_state::Checked;
use crate::model_tests::every_state::history::Untimely;
use crate::model_tests::every_state::state::{Caller, ConnectPhase, Phase, Shell};

type Holds = fn(&Checked, &Shell) -> bool;

pub(super) const SIZE: &str = "no more slots are taken than there are";
pub(super) const SERVED: &str = "no caller waits while something idle would serve it";
pub(super) const FIFO: &str = "no caller is overtaken";
pub(super) const FREED: &str = "every slot is freed";
pub(super) const CLOSED: &str = "a closed pool checks out nothing and keeps nothing";
pub(super) const COMES_BACK: &str = "no caller is told of a failure while something can come back";
pub(super) const TOO_EARLY: &str = "no caller is told of a failure before its time";
pub(super) const EXPECTED: &str = "something is to come for each caller that waits";

pub(super) const ALL: [(&str, Holds); 8] = [
    (SIZE, |_, shell| shell.machine.capacity.taken() <= shell.most_taken),
    (SERVED, |_, shell| !serves_too_late(shell)),
    (FIFO, |_, shell| !shell.violations.overtaken),
    (FREED, |_, shell| counts_what_there_is(shell)),
    (CLOSED, |_, shell| is_shut(shell)),
    (COMES_BACK, |_, shell| shell.violations.untimely != Some(Untimely::ComesBack)),
    (TOO_EARLY, |_, shell| shell.violations.untimely != Some(Untimely::TooEarly)),
    (EXPECTED, |_, shell| shell.machine.paused || waiting(shell).all(|_| expects_something(shell))),
];

fn waiting(shell: &Shell) -> impl Iterator<Item = &Caller> {
    // A caller that is past its deadline wakes up by itself.
    let waits = |caller: &&Caller| matches!(caller.phase, Phase::Waiting);
    shell.callers.iter().filter(waits).filter(|caller| !caller.is_expired(shell.now))
}

fn serves_too_late(shell: &Shell) -> bool {
    let is_asleep = !shell.notified && shell.wakes_at.is_none_or(|at| shell.now < at);
    let any = waiting(shell).any(|caller| caller.accepts == Accepts::Any);
    let wanted = any || (waiting(shell).count() > 0 && shell.machine.wants_reused(shell.now));
    // The slot of a failed connect is freed next, which serves the queue.
    let is_freeing = shell.connects.iter().any(|connect| connect.phase == ConnectPhase::Failed);
    let is_settled = is_asleep && !is_freeing && !shell.machine.paused;
    wanted && is_settled && !shell.idle.is_empty()
}

fn counts_what_there_is(shell: &Shell) -> bool {
    let held = shell.callers.iter().filter(|caller| caller.conn().is_some()).count();
    let open = held + shell.idle.len() + usize::from(shell.probed.is_some());
    let capacity = &shell.machine.capacity;
    (capacity.open.get(), capacity.connecting.get(), capacity.closing.get())
        == (open, shell.connects.len(), shell.closing)
}

fn is_shut(shell: &Shell) -> bool {
    let is_empty = shell.idle.is_empty() && waiting(shell).count() == 0;
    !shell.violations.borrowed_after_close && (!shell.machine.closed || is_empty)
}

/// Returns whether a connect, a return, a close or the maintenance task will do something for the
/// callers that wait.
fn expects_something(shell: &Shell) -> bool {
    !shell.connects.is_empty()
        || shell.closing > 0
        || shell.probed.is_some()
        || shell.callers.iter().any(|caller| !matches!(caller.phase, Phase::Away | Phase::Waiting))
        || shell.notified
        || shell.wakes_at.is_some()
}
