//! The loop of every `get` that is not on the fast path: obtain a connection, examine it, and repeat while it
//! is not fit.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::error::GetError;
use crate::error::diagnosis::Phase;
use crate::machine::wait_queue::{Accepts, Source};
use crate::manager::Manager;
use crate::pool::acquire::examine::{Examined, Mode, Outcome, Verified, examine};
use crate::pool::acquire::wait::{Wait, WaitResult};
use crate::pool::idle::NotTaken;
use crate::pool::report::{QueuePlace, exhausted, timeout};
use crate::pool::shared::{Accepted, BoxConn, Shared};
use crate::pool::waiter::{Assigned, WaitError};
use crate::util::timeout::Deadline;

/// The number of connections that may fail their check before only a fresh one is accepted. One that
/// does not answer is enough.
const TRIES: u32 = 3;

/// The state that the loop takes over from a fast path that missed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Miss {
    /// The number of connections that failed their check.
    pub(super) failed: u32,
    /// Whether nothing was taken because the runtime must be asked first.
    pub(super) must_ask: bool,
    /// Whether a pool that drains serves the caller.
    pub(super) is_accepted: bool,
}

impl Miss {
    /// Returns the state of a caller that is [`Accepted`].
    pub(crate) fn accepted() -> Self {
        Miss { is_accepted: true, ..Miss::default() }
    }
}

/// Obtains a connection whose check has passed.
pub(super) struct Obtain<'a, M: Manager> {
    wait: Wait<'a, M>,
    deadline: Deadline,
    mode: Mode,
    /// The number of connections that failed their check.
    failed: u32,
    may_ask: bool,
    search_idle: bool,
    /// Of a caller that is not queued, and waits for a check.
    accepted: Option<Accepted<'a, M>>,
    step: Step<'a, M>,
}

enum Step<'a, M: Manager> {
    Begin,
    /// Take an idle connection, or else wait.
    Look,
    /// Let other tasks run first.
    Cooperate,
    Wait,
    Examine(Examining<'a, M>),
    /// The caller is told of a failure, after other tasks had their turn. One that asks in a loop must not
    /// keep the probe from running.
    Tell(Box<GetError<M::Error>>),
    Ended,
}

/// An examination that waits. Boxed, so that a get is no larger for the futures of its manager.
type Examining<'a, M> = Pin<Box<dyn Future<Output = (Outcome<M>, Deadline)> + Send + 'a>>;

/// The end of a `get`.
type ObtainResult<M> = Result<Verified<M>, Box<GetError<<M as Manager>::Error>>>;

impl<'a, M: Manager> Obtain<'a, M> {
    pub(super) fn new(shared: &'a Shared<M>, miss: Miss, mode: Mode, deadline: Deadline) -> Self {
        let Miss { failed, is_accepted, .. } = miss;
        let mut wait = Wait::new(shared);
        wait.is_accepted = is_accepted;
        let (may_ask, search_idle, accepted, step) = (true, true, None, Step::Begin);
        Obtain { wait, deadline, mode, failed, may_ask, search_idle, accepted, step }
    }

    pub(super) fn shared(&self) -> &'a Shared<M> {
        self.wait.shared
    }

    pub(super) fn has_just_begun(&self) -> bool {
        matches!(self.step, Step::Begin)
    }

    /// Ends it, with the place in the queue. Returns what is left of the time, and where the caller stood.
    pub(super) fn end(self) -> (Deadline, QueuePlace) {
        (self.deadline, self.wait.place)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ObtainResult<M>> {
        let shared = self.shared();
        loop {
            let result = match &mut self.step {
                Step::Begin => {
                    self.step = Step::Look;
                    let refuses = self.mode == Mode::Immediate && shared.snapshot.is_draining();
                    refuses.then(|| Err(Box::new(GetError::Closed)))
                }
                Step::Look => self.look(),
                Step::Cooperate => {
                    ready!(shared.runtime.poll_coop(cx));
                    self.may_ask = false;
                    self.step = Step::Look;
                    None
                }
                Step::Wait => {
                    let answer = ready!(self.wait.poll_next(cx, &mut self.deadline));
                    self.answered(answer)
                }
                Step::Examine(examining) => {
                    let (outcome, deadline) = ready!(examining.as_mut().poll(cx));
                    self.deadline = deadline;
                    self.examined(outcome)
                }
                Step::Tell(_) => match mem::replace(&mut self.step, Step::Ended) {
                    Step::Tell(error) => Some(Err(error)),
                    _ => None,
                },
                // Polled after its end.
                Step::Ended => return Poll::Pending,
            };
            match result {
                Some(result) => {
                    self.step = Step::Ended;
                    if let Err(error) = &result {
                        shared.counters.failed(error);
                    }
                    return Poll::Ready(result);
                }
                None if matches!(self.step, Step::Tell(_)) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {}
            }
        }
    }

    fn look(&mut self) -> Option<ObtainResult<M>> {
        let idle = match self.search_idle && self.failed < TRIES {
            true => take_idle(self.shared(), self.mode, self.may_ask),
            false => Err(NotTaken::Nothing),
        };
        match idle {
            Ok(conn) => return self.examine(Assigned { conn, source: Source::Reused }),
            Err(NotTaken::MustAsk) => self.step = Step::Cooperate,
            Err(NotTaken::Nothing) if self.mode == Mode::Immediate => {
                return Some(Err(Box::new(exhausted(self.shared(), QueuePlace::default()))));
            }
            Err(NotTaken::Nothing) => {
                let takes_any = self.failed < TRIES;
                self.wait.accepts = if takes_any { Accepts::Any } else { Accepts::Fresh };
                self.step = Step::Wait;
            }
        }
        None
    }

    fn answered(&mut self, answer: WaitResult<M>) -> Option<ObtainResult<M>> {
        match answer {
            Ok(assigned) => match self.wait.verify(&assigned) {
                Some(at) => Some(Ok(Verified { conn: assigned.conn, at })),
                None => self.examine(assigned),
            },
            Err(error) => {
                self.wait.stop_clock();
                let is_told = matches!(error, WaitError::Connect(_));
                let error = Box::new(self.error(error));
                if is_told {
                    self.step = Step::Tell(error);
                    return None;
                }
                Some(Err(error))
            }
        }
    }

    fn examine(&mut self, assigned: Assigned<BoxConn<M>>) -> Option<ObtainResult<M>> {
        let shared = self.shared();
        match examine(shared, self.mode, assigned) {
            Examined::Done(outcome) => self.examined(outcome),
            Examined::Waits(examination) => {
                if !self.wait.has_place() && self.accepted.is_none() {
                    self.accepted = Some(Accepted::new(shared));
                    self.wait.is_accepted = true;
                }
                let mut deadline = mem::replace(&mut self.deadline, Deadline::new(None));
                self.step = Step::Examine(Box::pin(async move {
                    let outcome = examination.run(&mut deadline).await;
                    (outcome, deadline)
                }));
                None
            }
        }
    }

    fn examined(&mut self, outcome: Outcome<M>) -> Option<ObtainResult<M>> {
        self.step = Step::Look;
        self.search_idle = !self.wait.has_place();
        match outcome {
            Outcome::Passed(verified) => return Some(Ok(verified)),
            Outcome::Closed => return Some(Err(Box::new(GetError::Closed))),
            Outcome::TimedOut => return Some(Err(self.timed_out(Phase::Check))),
            // Back to the queue, without a failure.
            Outcome::Paused => self.search_idle = false,
            Outcome::HomeIsGone => {
                self.search_idle = false;
                self.failed = TRIES;
            }
            Outcome::Failed { is_silent: true } => self.failed = TRIES,
            Outcome::Failed { is_silent: false } => self.failed = self.failed.saturating_add(1),
        }
        None
    }

    fn error(&self, error: WaitError<M::Error>) -> GetError<M::Error> {
        let shared = self.shared();
        match error {
            WaitError::Closed => GetError::Closed,
            WaitError::Exhausted => exhausted(shared, self.wait.place),
            WaitError::TimedOut => {
                let is_connecting = self.wait.place.is_connecting;
                *self.timed_out(if is_connecting { Phase::Connect } else { Phase::Wait })
            }
            WaitError::Connect(error) => GetError::Connect(error),
        }
    }

    fn timed_out(&self, phase: Phase) -> Box<GetError<M::Error>> {
        Box::new(timeout(self.shared(), phase, &self.deadline, self.wait.place))
    }
}

/// Takes an idle connection, if no caller waits and nothing else obstructs it.
#[inline]
fn take_idle<M: Manager>(
    shared: &Shared<M>,
    mode: Mode,
    may_ask: bool,
) -> Result<BoxConn<M>, NotTaken> {
    match mode {
        Mode::Wait if shared.snapshot.allows_checkout() => shared.idle.pop_for_get(may_ask),
        Mode::Immediate if shared.snapshot.allows_try() => {
            let idle = match shared.snapshot.provides.reset {
                true => shared.idle.pop_oldest(false),
                false => shared.idle.pop(),
            };
            idle.ok_or(NotTaken::Nothing)
        }
        Mode::Wait | Mode::Immediate => Err(NotTaken::Nothing),
    }
}
