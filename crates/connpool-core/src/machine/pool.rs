//! The pool's books: slots, the line, connects under way, troubles, generation, next deadline.
//!
//! Pure: every method takes what it needs and returns what the shell must do. Nothing here knows a
//! connection, a waker or a clock.

use std::time::Duration;

use crate::BreakerState;
use crate::Instant;
use crate::config::PoolConfig;
use crate::machine::backoff::Trouble;
use crate::machine::burst::Suspicion;
use crate::machine::health::Era;
use crate::machine::slab::{Count, Key, round_up};
use crate::machine::wait_queue::{Line, Standing, Supply, Wants};
use crate::time::earliest;

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A connection being opened.
    Connecting,
    /// An open one, whoever has it.
    Open,
    /// One that is being closed.
    Leaving,
}

/// What is remembered of a connect from when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) generation: u64,
    closing: u64,
}

/// Why somebody is not let into the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Closed,
    Exhausted,
    /// The breaker is open, and nothing is open that could come back.
    Broken,
}

/// The numbers of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) max_size: usize,
    pub(crate) size: usize,
    /// How many of them are being closed.
    pub(crate) leaving: usize,
    pub(crate) connecting: usize,
    pub(crate) waiting: usize,
    pub(crate) breaker: BreakerState,
    /// Whether nothing is lent until somebody resumes the pool.
    pub(crate) paused: bool,
}

/// What an observer is told of when it changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Posture {
    pub(crate) breaker: BreakerState,
    pub(crate) paused: bool,
    pub(crate) epoch: u64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    max_size: usize,
    min_size: usize,
    increment: usize,
    max_connecting: usize,
    max_waiters: Option<usize>,
    sweep_interval: Option<Duration>,
    fail_fast: bool,
    open: Count,
    connecting: Count,
    leaving: Count,
    /// The driver holds an idle connection for a look. It will be back at once: whoever comes
    /// meanwhile waits for it and needs no connect.
    looking: bool,
    /// An idle connection is being pinged. It may take its time: whoever comes does not count on it.
    pinging: bool,
    line: Line,
    trouble: Trouble,
    suspicion: Suspicion,
    losses: Suspicion,
    generation: u64,
    /// How often the settings were changed.
    revision: u64,
    /// The seal since the last suspicion.
    suspicion_seal: u64,
    closed: bool,
    paused: bool,
    sweep_at: Option<Instant>,
}

/// Below this, the driver would do nothing but sweep.
const SHORTEST_SWEEP_INTERVAL: Duration = Duration::from_millis(1);

impl Ledger {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        Ledger {
            max_size: config.max_size,
            min_size: config.min_size,
            increment: config.increment,
            max_connecting: config.max_connecting.unwrap_or(usize::MAX),
            max_waiters: config.max_waiters,
            sweep_interval: sweep_interval(config),
            fail_fast: config.fail_fast,
            open: Count::default(),
            connecting: Count::default(),
            leaving: Count::default(),
            looking: false,
            pinging: false,
            line: Line::default(),
            trouble: Trouble::new(config.backoff, config.breaker),
            suspicion: Suspicion::default(),
            losses: Suspicion::default(),
            generation: 0,
            revision: 0,
            suspicion_seal: 0,
            closed: false,
            paused: false,
            sweep_at: None,
        }
    }

    // ---- slots

    /// How many connects should begin now.
    pub(crate) fn wanted(&self, now: Instant) -> usize {
        self.wanted_with(self.room(), now)
    }

    fn wanted_with(&self, room: usize, now: Instant) -> usize {
        if room == 0 || self.trouble.pausing(now) {
            return 0;
        }
        self.lacking().min(room).min(self.may_begin())
    }

    /// How many more connects may be under way at once.
    fn may_begin(&self) -> usize {
        let most = self.max_connecting.min(self.trouble.window());
        most.saturating_sub(self.connecting.get())
    }

    /// How many connections are missing, whatever forbids to open them: for those in line for whom
    /// none is on its way, in batches of `increment`, and up to `min_size`.
    pub(crate) fn lacking(&self) -> usize {
        if self.closed {
            return 0;
        }
        let for_the_line = match self.paused {
            true => 0,
            false => self.line.len().saturating_sub(self.on_their_way()),
        };
        let for_the_least = self.min_size.saturating_sub(self.staying());
        round_up(for_the_line, self.increment).max(for_the_least)
    }

    /// Whether somebody waits for a connect that has to wait for the end of a pause.
    pub(crate) fn waits_for_a_pause(&self, now: Instant) -> bool {
        self.trouble.pausing(now) && self.lacking() > 0
    }

    /// Takes a slot for a connect that begins now.
    pub(crate) fn connect_begins(&mut self, now: Instant) -> Start {
        self.connecting.one_more();
        self.trouble.begins(now);
        Start {
            generation: self.generation,
            closing: self.trouble.closing(),
        }
    }

    /// Whether a connect that has begun, but dialled nobody yet, gives its slot back instead:
    /// another one has failed meanwhile. A thousand that begin at once must not all find out that
    /// nobody is there.
    pub(crate) fn stands_back(&self, start: Start, now: Instant) -> bool {
        start.closing != self.trouble.closing()
            && (self.trouble.pausing(now) || self.connecting.get() > self.trouble.window())
    }

    /// A connect ended well: its slot now holds an open connection. Says whether the driver has to
    /// look at it, since it was a probe and nobody else may want what it made.
    pub(crate) fn connected(&mut self) -> bool {
        self.connecting.one_less();
        self.open.one_more();
        self.trouble.connected(self.max_size);
        let look = self.look_at_the_probe();
        self.sweep_at = earliest([self.sweep_at, look]);
        look.is_some()
    }

    /// By when a look has to tell whether what a probe made is any good.
    fn look_at_the_probe(&self) -> Option<Instant> {
        let is_probed = self.trouble.breaker() == BreakerState::HalfOpen;
        self.trouble.retry_at().filter(|_| is_probed)
    }

    /// A connect ended badly, or what it made proved dead at once. Its slot is freed apart.
    pub(crate) fn connect_failed(&mut self, now: Instant, draw: u64) {
        self.trouble.failed(now, draw);
    }

    /// A connection opened at `born` proved good. Says whether that ends the trouble, if any.
    pub(crate) fn proved_good(&mut self, born: Instant) -> bool {
        self.trouble.proved_good(born);
        self.trouble.failures() == 0
    }

    /// A check found a connection broken. If others were, too, all are suspect, and a backend that
    /// just lost them is not dialled by everybody at once. Says whether they are from now on.
    pub(crate) fn found_broken(&mut self, now: Instant) -> bool {
        let raised = self.suspicion.found_broken(now);
        if raised {
            self.suspicion_seal = self.era().seal;
        }
        if raised {
            self.trouble.is_suspected();
        }
        raised
    }

    /// A user brought back a connection that cannot be lent again. Users have reasons of their own,
    /// so that this speaks against no other connection; but a busy pool that loses its backend
    /// hears of it from them, and must not dial it once for each.
    pub(crate) fn lost_by_user(&mut self, now: Instant) {
        if self.losses.found_broken(now) {
            self.trouble.is_doubted();
        }
    }

    /// An open connection is being closed: it counts no more, but holds its slot until it is gone.
    pub(crate) fn leaves(&mut self) {
        self.open.one_less();
        self.leaving.one_more();
        self.probe_again_if_none_is_left();
    }

    /// A slot is empty again.
    pub(crate) fn slot_freed(&mut self, held: Hold) {
        match held {
            Hold::Connecting => self.connecting.one_less(),
            Hold::Open => self.open.one_less(),
            Hold::Leaving => self.leaving.one_less(),
        }
        self.probe_again_if_none_is_left();
    }

    /// What a probe made may be gone before anybody had a use for it, for its age perhaps. That says
    /// nothing, and there is nothing to wait for.
    fn probe_again_if_none_is_left(&mut self) {
        if self.staying() == 0 {
            self.trouble.probe_is_gone();
        }
    }

    /// How many connections there are, or will be, beyond `max_size`: they are closed as they come
    /// back.
    pub(crate) fn surplus(&self) -> usize {
        self.staying().saturating_sub(self.max_size)
    }

    /// Whether more connections are open than the pool was told to keep.
    pub(crate) fn can_spare_one(&self) -> bool {
        self.open.get() > self.min_size
    }

    /// Whether the pool is closed and everything is gone.
    pub(crate) fn is_vacant(&self) -> bool {
        self.closed && self.taken() == 0
    }

    pub(crate) fn has_min_size(&self) -> bool {
        self.open.get() >= self.min_size
    }

    /// How many are in line for a slot that a goodbye holds.
    pub(crate) fn held_up_by_goodbyes(&self) -> usize {
        if self.leaving.get() > 0 && self.room() == 0 {
            self.line.len()
        } else {
            0
        }
    }

    /// How many new connections are on their way, or will be as soon as somebody begins them, in
    /// slots that are free or on their way to be.
    fn coming(&self, now: Instant) -> usize {
        self.connecting
            .get()
            .saturating_add(self.wanted_with(self.room_to_come(), now))
    }

    /// How many connections come for the line without a return.
    fn on_their_way(&self) -> usize {
        self.connecting
            .get()
            .saturating_add(usize::from(self.looking))
    }

    fn staying(&self) -> usize {
        self.open.get().saturating_add(self.connecting.get())
    }

    fn taken(&self) -> usize {
        self.staying().saturating_add(self.leaving.get())
    }

    fn room(&self) -> usize {
        self.max_size.saturating_sub(self.taken())
    }

    pub(crate) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// The room there is, or will be when those are gone that are being closed.
    fn room_to_come(&self) -> usize {
        self.max_size.saturating_sub(self.staying())
    }

    // ---- the line

    /// Lets somebody into the line, unless the pool is closed or too many stand there beyond those
    /// for whom a connection is, or now will be, under way.
    pub(crate) fn join(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        wants: Wants,
    ) -> Result<Key, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        let key = self.line.join(wants, deadline);
        if self.is_broken() && self.line.len() > self.probes(now) {
            self.line.leave(key);
            return Err(Refused::Broken);
        }
        if let Some(most) = self.max_waiters {
            let coming = self.coming(now).saturating_add(usize::from(self.looking));
            if self.line.len().saturating_sub(coming) > most {
                self.line.leave(key);
                return Err(Refused::Exhausted);
            }
        }
        Ok(key)
    }

    /// Back to the old place in line, after what was served failed its check.
    pub(crate) fn rejoin(&mut self, key: Key, wants: Wants) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        self.line.rejoin(key, wants);
        Ok(())
    }

    /// Takes everybody out of the line if the breaker is open, nothing is open that could come
    /// back, and no probe begins for the first of them: they are to be told the last error.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<Key> {
        let given_up = self.is_broken()
            && self.trouble.breaker() == BreakerState::Open
            && self.probes(now) == 0;
        if given_up {
            self.line.dismiss_all()
        } else {
            Vec::new()
        }
    }

    /// Whether there is nothing to hope for but a probe, and whoever has none is told at once.
    fn is_broken(&self) -> bool {
        self.fail_fast
            && !self.paused
            && self.open.get() == 0
            && self.trouble.breaker() != BreakerState::Closed
    }

    /// How many probes there are to wait for. What began before the breaker opened is none.
    fn probes(&self, now: Instant) -> usize {
        match self.trouble.breaker() {
            BreakerState::Open => self.wanted_with(self.room_to_come(), now),
            BreakerState::HalfOpen | BreakerState::Closed => self.coming(now),
        }
    }

    pub(crate) fn leave(&mut self, key: Key) {
        self.line.leave(key);
    }

    /// Who gets this: the first whose deadline has not passed. Those before it are told to
    /// `expired`, each once.
    pub(crate) fn serve(
        &mut self,
        supply: Supply,
        now: Instant,
        mut expired: impl FnMut(Key),
    ) -> Option<Key> {
        if self.paused {
            return None;
        }
        loop {
            // Asked again each time: less is coming for a line without those who are late.
            match self.line.call(supply, self.coming(now), now)? {
                (key, Standing::Expired) => expired(key),
                (key, _) => return Some(key),
            }
        }
    }

    /// Whether there are more in line than can be served before somebody returns a connection.
    pub(crate) fn depends_on_returns(&self) -> bool {
        let without = self.on_their_way().saturating_add(self.room_to_come());
        self.line.len() > without
    }

    pub(crate) fn wants_used(&self, now: Instant) -> bool {
        !self.paused && self.line.wants_used(self.coming(now))
    }

    pub(crate) fn head(&self) -> Option<Key> {
        self.line.head()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// The place of somebody who waits, counted from one; `None` for one who does not, or who is
    /// too far behind to be worth counting.
    pub(crate) fn queue_position(&self, key: Key) -> Option<usize> {
        self.line.place(key)
    }

    pub(crate) fn is_in_line(&self, key: Key) -> bool {
        self.standing(key) == Some(Standing::Waiting)
    }

    pub(crate) fn standing(&self, key: Key) -> Option<Standing> {
        self.line.standing(key)
    }

    /// Whether a connect is, or as soon as the backoff allows will be, under way for the line.
    pub(crate) fn is_connecting(&self) -> bool {
        !self.paused
            && (self.connecting.get() > 0 || (self.trouble.failures() > 0 && self.room() > 0))
    }

    // ---- the driver

    /// When the driver has something to do by the clock: the end of a pause that somebody waits
    /// for, or the next sweep. Changes with every other method that takes `&mut self`.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let can_open = self.lacking() > 0 && self.room() > 0 && self.may_begin() > 0;
        let retry = self.trouble.retry_at().filter(|_| can_open);
        earliest([retry, self.sweep_at])
    }

    /// Whether the idle connections are due for a look. The first call starts the interval.
    pub(crate) fn sweep_is_due(&mut self, now: Instant) -> bool {
        let due = self.sweep_at.is_some_and(|at| now >= at);
        if due || self.sweep_at.is_none() {
            self.sweep_at = self.sweep_interval.and_then(|every| now.checked_add(every));
        }
        due
    }

    /// The driver takes an idle connection for a look; not while somebody waits for one, unless
    /// nobody gets one anyway.
    pub(crate) fn look_begins(&mut self) -> bool {
        self.looking = !self.closed && (self.paused || self.line.len() == 0);
        self.looking
    }

    pub(crate) fn look_ends(&mut self) {
        self.looking = false;
    }

    /// What the driver took for a look is pinged, by somebody else.
    pub(crate) fn ping_begins(&mut self) {
        self.looking = false;
        self.pinging = true;
    }

    pub(crate) fn ping_ends(&mut self) {
        self.pinging = false;
    }

    /// Whether the sweep has to wait for the end of a ping.
    pub(crate) fn is_pinging(&self) -> bool {
        self.pinging
    }

    // ---- the whole

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.suspicion.epoch()
    }

    /// What a check of a connection depends on, apart from the settings themselves.
    pub(crate) fn era(&self) -> Era {
        let changes = self.generation.saturating_add(self.epoch());
        Era {
            generation: self.generation,
            seal: changes.saturating_add(self.revision),
            suspicion: self.suspicion_seal,
        }
    }

    pub(crate) fn next_generation(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    /// Nobody gets in any more; everybody in line is returned, to be told.
    pub(crate) fn close(&mut self) -> Vec<Key> {
        self.closed = true;
        self.paused = false;
        self.line.dismiss_all()
    }

    /// From now on nothing is lent, and nothing opened for those in line.
    pub(crate) fn pause(&mut self) {
        self.paused = !self.closed;
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Other settings, which count from now on. A sweep that was due at a time of the old interval
    /// is due at one of the new: the next look whether it is starts that.
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig) {
        self.max_size = config.max_size;
        self.min_size = config.min_size;
        self.increment = config.increment;
        self.max_connecting = config.max_connecting.unwrap_or(usize::MAX);
        self.max_waiters = config.max_waiters;
        self.fail_fast = config.fail_fast;
        self.revision = self.revision.saturating_add(1);
        self.trouble.reconfigure(config.backoff, config.breaker);
        let every = sweep_interval(config);
        if std::mem::replace(&mut self.sweep_interval, every) != every {
            self.sweep_at = self.look_at_the_probe();
        }
    }

    /// Whether failed connects answer those who wait.
    pub(crate) fn fails_fast(&self) -> bool {
        self.fail_fast
    }

    pub(crate) fn failures(&self) -> usize {
        self.trouble.failures()
    }

    /// When a connect last failed; `None`: never, or a connection opened later has proved good.
    pub(crate) fn last_failure_at(&self) -> Option<Instant> {
        self.trouble.last_failure_at()
    }

    pub(crate) fn posture(&self) -> Posture {
        Posture {
            breaker: self.trouble.breaker(),
            paused: self.paused,
            epoch: self.epoch(),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            max_size: self.max_size,
            size: self.open.get().saturating_add(self.leaving.get()),
            leaving: self.leaving.get(),
            connecting: self.connecting.get(),
            waiting: self.line.len(),
            breaker: self.trouble.breaker(),
            paused: self.paused,
        }
    }
}

/// How often idle connections are looked at: twice in the time in which they are to be pinged.
fn sweep_interval(config: &PoolConfig) -> Option<Duration> {
    let keepalive = config.keepalive.and_then(|age| age.checked_div(2));
    earliest([config.evict_interval, keepalive]).map(|every| every.max(SHORTEST_SWEEP_INTERVAL))
}

#[cfg(test)]
mod tests;
