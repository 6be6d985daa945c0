//! `get`: from the idle set or the line, through the checks, to the guard.

pub(crate) mod fast;
pub(crate) mod wait;

use std::time::Duration;

use crate::machine::health::{Check, Found, Purpose, Step};
use crate::machine::wait_queue::{Supply, Wants};
use crate::observe::event::Watch;
use crate::pool::acquire::fast::Tried;
use crate::pool::acquire::wait::{Given, Miss, Plight, Turn};
use crate::pool::conn::Entry;
use crate::pool::idle::Stamped;
use crate::pool::seats::Refusal;
use crate::pool::shared::Shared;
use crate::util::timeout::{Deadline, End, bounded};
use crate::{CloseReason, GetError, Instant, Manager, Phase};

/// How many connections may fail their check before only a new one will do.
const TRIES: u32 = 3;

/// Finds a connection that is fit to be lent, after so much was tried.
pub(crate) async fn find<M: Manager>(
    shared: &Shared<M>,
    tried: Tried,
    deadline: &mut Deadline,
) -> Result<Entry<M>, GetError<M::Error>> {
    shared.counters.request.up();
    let mut watch = Watch::begin(shared);
    let mut turn = Turn::new(shared);
    let Tried {
        mut failed,
        mut now,
    } = tried;
    let mut idle = shared.take_idle();
    loop {
        let (entry, supply) = match idle {
            Some(entry) => (entry, Supply::Used),
            None => {
                now = None;
                let wants = if failed < TRIES {
                    Wants::Any
                } else {
                    Wants::New
                };
                match turn.wait(deadline, wants).await {
                    Ok(Given {
                        entry,
                        passed_at: Some(at),
                        ..
                    }) => return Ok(lend(shared, entry, at, &mut watch)),
                    Ok(Given { entry, supply, .. }) => (entry, supply),
                    Err(miss) => return Err(miss.into_error(shared, deadline, turn.plight())),
                }
            }
        };
        let never_lent = (!entry.is_used()).then_some(entry.stamps.born);
        let mut candidate = Candidate {
            shared,
            entry: Some(entry),
            checked_at: Instant::ORIGIN,
        };
        let check = candidate.begin(supply, now.take());
        let verdict = match Verdict::of(check) {
            Some(verdict) => verdict,
            None => candidate.go_on(check, deadline).await,
        };
        if let (Some(born), Some(step)) = (never_lent, verdict.step()) {
            shared.new_connection_is(step, born);
        }
        match verdict {
            // It passed, and the pool was paused meanwhile: back to the line, without a failure.
            Verdict::Fit if shared.is_paused() => {
                candidate.give_back();
                idle = None;
                continue;
            }
            Verdict::Fit => match candidate.lend(&mut watch) {
                Ok(entry) => return Ok(entry),
                Err(CloseReason::PoolClosed) => return Err(GetError::Closed),
                Err(_) => {}
            },
            Verdict::Unfit(reason) => candidate.retire(reason),
            Verdict::OutOfTime => {
                candidate.retire(CloseReason::Cancelled);
                return Err(timeout(shared, Phase::Check, deadline, turn.plight()));
            }
        }
        failed = failed.saturating_add(1);
        idle = if failed < TRIES && !turn.has_place() {
            shared.take_idle()
        } else {
            None
        };
    }
}

/// The same, here and now.
pub(crate) fn find_now<M: Manager>(
    shared: &Shared<M>,
    tried: Tried,
) -> Result<Entry<M>, GetError<M::Error>> {
    shared.counters.request.up();
    if shared.is_closed() {
        return Err(GetError::Closed);
    }
    let mut watch = Watch::begin(shared);
    let mut now = tried.now;
    for mut entry in (tried.failed..TRIES).map_while(|_| shared.take_idle_as_is()) {
        let now = now.take().unwrap_or_else(|| shared.moment());
        let step = shared.check(&mut entry, Purpose::TryLend, now).step();
        if !entry.is_used() {
            shared.new_connection_is(step, entry.stamps.born);
        }
        match step {
            Step::Close(reason) => shared.retire(entry, reason),
            Step::Look | Step::Ping | Step::Reset | Step::Pass if shared.is_paused() => {
                shared.give_back(entry);
                break;
            }
            Step::Look | Step::Ping | Step::Reset | Step::Pass => {
                return Ok(lend(shared, entry, now, &mut watch));
            }
        }
    }
    Err(exhausted(shared, Plight::default()))
}

fn lend<M: Manager>(
    shared: &Shared<M>,
    mut entry: Entry<M>,
    now: Instant,
    watch: &mut Watch<'_, M>,
) -> Entry<M> {
    shared.counters.success.up();
    entry.stamps.is_lent(now);
    // Last: who watches knows the time, also where no rule asks for it.
    watch.lent(&mut entry);
    entry
}

/// A connection under check. Dropped in the middle of it, it is destroyed: nobody knows what state
/// it is in.
struct Candidate<'a, M: Manager> {
    shared: &'a Shared<M>,
    entry: Option<Entry<M>>,
    checked_at: Instant,
}

enum Verdict {
    Fit,
    Unfit(CloseReason),
    OutOfTime,
}

impl Verdict {
    /// What a check comes to that is over.
    #[inline]
    fn of(check: Check) -> Option<Self> {
        match check.step() {
            Step::Pass => Some(Verdict::Fit),
            Step::Close(reason) => Some(Verdict::Unfit(reason)),
            Step::Look | Step::Ping | Step::Reset => None,
        }
    }

    /// The step at which the check ended, if it came to its end.
    fn step(&self) -> Option<Step> {
        match self {
            Verdict::Fit => Some(Step::Pass),
            Verdict::Unfit(reason) => Some(Step::Close(*reason)),
            Verdict::OutOfTime => None,
        }
    }
}

impl<M: Manager> Candidate<'_, M> {
    /// As far as it goes without waiting, which mostly is all.
    #[inline]
    fn begin(&mut self, supply: Supply, now: Option<Instant>) -> Check {
        let purpose = match supply {
            Supply::Used => Purpose::Lend,
            Supply::New => Purpose::LendNew,
        };
        let Some(entry) = &mut self.entry else {
            return Check::over(CloseReason::Cancelled);
        };
        self.checked_at = now.unwrap_or_else(|| self.shared.moment());
        self.shared.check(entry, purpose, self.checked_at)
    }

    async fn go_on(&mut self, mut check: Check, deadline: &mut Deadline) -> Verdict {
        loop {
            if let Some(verdict) = Verdict::of(check) {
                return verdict;
            }
            let Some(entry) = &mut self.entry else {
                return Verdict::Unfit(CloseReason::Cancelled);
            };
            let manager = &self.shared.manager;
            let conn = &mut entry.conn;
            let found = match check.step() {
                Step::Pass | Step::Close(_) => None,
                Step::Look => Some(self.shared.look(conn)),
                Step::Ping => {
                    let ping = async { manager.ping(conn).await };
                    let limit = self.shared.config().ping_timeout;
                    ask(self.shared, "ping", limit, deadline, ping).await
                }
                Step::Reset => {
                    let reset = async { manager.reset(conn).await };
                    let limit = self.shared.config().reset_timeout;
                    ask(self.shared, "reset", limit, deadline, reset).await
                }
            };
            let Some(found) = found else {
                return Verdict::OutOfTime;
            };
            check = if found == Found::Done {
                self.checked_at = self.shared.moment();
                let era = self.shared.era();
                let rules = self.shared.settings.rules();
                entry.stamps.proves_alive(self.checked_at, era, &rules);
                check.done(&entry.stamps, &rules)
            } else {
                check.found(found)
            };
        }
    }

    /// Lends it, unless the pool was closed or cleared during the check.
    fn lend(&mut self, watch: &mut Watch<'_, M>) -> Result<Entry<M>, CloseReason> {
        let Some(entry) = self.entry.take() else {
            return Err(CloseReason::Cancelled);
        };
        match self.shared.unwanted(&entry) {
            None => Ok(lend(self.shared, entry, self.checked_at, watch)),
            Some(reason) => {
                self.shared.retire(entry, reason);
                Err(reason)
            }
        }
    }

    #[cold]
    fn give_back(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.give_back(entry);
        }
    }

    fn retire(&mut self, reason: CloseReason) {
        if let Some(entry) = self.entry.take() {
            self.shared.retire(entry, reason);
        }
    }
}

impl<M: Manager> Drop for Candidate<'_, M> {
    fn drop(&mut self) {
        self.retire(CloseReason::Cancelled);
    }
}

/// Runs a ping or a reset; `None`: the time of the whole `get` was up first.
async fn ask<M: Manager>(
    shared: &Shared<M>,
    step: &'static str,
    limit: Option<Duration>,
    deadline: &mut Deadline,
    question: impl Future<Output = Result<(), M::Error>>,
) -> Option<Found> {
    let time_is_up = deadline.passed(&*shared.runtime);
    match bounded(&*shared.runtime, limit, time_is_up, question).await {
        End::Done(Ok(())) => Some(Found::Done),
        End::Done(Err(_)) => Some(Found::Failed),
        End::OutOfTime => Some(Found::TimedOut),
        End::Panicked(message) => {
            shared.panicked(step, &message);
            Some(Found::Panicked)
        }
        End::Interrupted => None,
    }
}

impl<E> Miss<E> {
    fn into_error<M: Manager<Error = E>>(
        self,
        shared: &Shared<M>,
        deadline: &Deadline,
        plight: Plight,
    ) -> GetError<E> {
        match self {
            Miss::Refused(Refusal::Closed) => GetError::Closed,
            Miss::Refused(Refusal::Connect(error)) => GetError::Connect(error),
            Miss::Refused(Refusal::ConnectPanicked(message)) => GetError::Panicked {
                step: "connect",
                message,
            },
            Miss::Refused(
                Refusal::ConnectTimeout | Refusal::ConnectDropped | Refusal::Stillborn(_),
            ) => timeout(shared, Phase::Connect, deadline, plight),
            Miss::Exhausted => exhausted(shared, plight),
            Miss::OutOfTime => timeout(shared, shared.wait_phase(), deadline, plight),
        }
    }
}

fn timeout<M: Manager>(
    shared: &Shared<M>,
    phase: Phase,
    deadline: &Deadline,
    plight: Plight,
) -> GetError<M::Error> {
    let waited = deadline.elapsed(shared.runtime.now());
    GetError::Timeout {
        phase,
        diagnosis: shared.diagnosis(waited, plight),
    }
}

fn exhausted<M: Manager>(shared: &Shared<M>, plight: Plight) -> GetError<M::Error> {
    GetError::Exhausted(shared.diagnosis(Duration::ZERO, plight))
}
