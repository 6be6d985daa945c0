//! The last ping or reset that failed, for events and diagnoses.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::machine::check_doubt::{CheckDoubt, SEVERAL};
use crate::machine::health::Step;
use crate::time::Instant;

/// A ping or a reset that failed. Prints as a short sentence; `{:?}` prints the same.
#[derive(Clone)]
#[non_exhaustive]
pub struct FailedCheck {
    /// The connection's [`id`](crate::PooledConnection::id).
    pub id: u64,
    /// `ping` or `reset`.
    pub step: &'static str,
    /// The manager's error, or a text if there was no answer in time.
    pub error: Arc<dyn Error + Send + Sync>,
    /// The number of connections that failed this step in a row, each of them opened after the failure of
    /// the one before. From 3 on, the check itself is probably wrong.
    pub in_a_row: usize,
}

impl FailedCheck {
    /// Returns whether the check itself is probably wrong.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.in_a_row >= SEVERAL
    }
}

impl fmt::Display for FailedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FailedCheck { id, step, error, in_a_row } = self;
        write!(f, "{step} of connection {id} failed: {error}")?;
        if self.is_doubtful() {
            write!(
                f,
                "; {in_a_row} new connections in a row failed it: the {step} is probably wrong"
            )?;
        }
        Ok(())
    }
}

/// Not derived: the manager's error may contain secrets that its `Debug` prints.
impl fmt::Debug for FailedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FailedCheck({self})")
    }
}

/// What the pool knows of failed checks.
#[derive(Default)]
pub(crate) struct FailedChecks {
    ping: CheckDoubt,
    reset: CheckDoubt,
    pub(crate) last: Option<(FailedCheck, Instant)>,
}

impl FailedChecks {
    /// Records a failure. `newest` is the newest connection; `None` if the failure says nothing about the
    /// check. Returns the failure, and the one before, to be dropped without the lock.
    pub(crate) fn failed(
        &mut self,
        (id, step): (u64, Step),
        error: Arc<dyn Error + Send + Sync>,
        newest: Option<u64>,
        now: Instant,
    ) -> (FailedCheck, Option<(FailedCheck, Instant)>) {
        let doubt = self.doubt(step);
        let in_a_row = newest.map_or(doubt.in_a_row(), |newest| doubt.failed(id, newest));
        let failure = FailedCheck { id, step: step.label(), error, in_a_row };
        let before = self.last.replace((failure.clone(), now));
        (failure, before)
    }

    /// Forgets the failures of a step that succeeded. Returns what is to be dropped without the lock.
    pub(crate) fn passed(&mut self, step: Step) -> Option<(FailedCheck, Instant)> {
        *self.doubt(step) = CheckDoubt::default();
        self.last.take_if(|(last, _)| last.step == step.label())
    }

    /// Returns whether some failure is not forgotten.
    pub(crate) fn is_any(&self) -> bool {
        self.last.is_some() || self.ping.in_a_row() > 0 || self.reset.in_a_row() > 0
    }

    fn doubt(&mut self, step: Step) -> &mut CheckDoubt {
        if step == Step::Reset { &mut self.reset } else { &mut self.ping }
    }
}
