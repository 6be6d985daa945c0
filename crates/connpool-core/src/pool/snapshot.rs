//! Flags, versions and settings that the fast paths read without the lock.
//!
//! # Memory ordering
//!
//! The flags are written under the pool's lock only, and before the idle set is searched under that
//! lock. A return adds to the idle set first and reads the flags afterwards. Both go through the lock
//! of the shard, so one of the two sees the other: either the search finds the connection, or the
//! return finds the flag. The same holds for `cleared`.
//!
//! Settings are read one by one. A reader during a change finds some of them old and some new, as if
//! it had come a moment earlier or later. The version changes after all of them, so a connection that
//! is verified under the new version was verified by the new settings.

use crate::config::PoolConfig;
use crate::machine::clock_leap::COMPARED_AFTER;
use crate::machine::health::{Clock, Rules, Versions};
use crate::machine::home::RuntimeId;
use crate::time::{Instant, Nanos};
use crate::util::sync::{Arc, AtomicU64, Mutex, Ordering, Relaxed};

/// The pool is closed.
pub(crate) const CLOSED: u64 = 1;
/// Callers wait.
pub(crate) const WAITERS: u64 = 2;
/// More connections are open than `max_size` allows.
pub(crate) const SURPLUS: u64 = 4;
/// No maintenance task runs.
pub(crate) const UNATTENDED: u64 = 8;
/// The last connects failed. Obstructs nothing: says that it matters how a new connection does.
pub(crate) const FAILING: u64 = 16;
/// The pool is paused.
pub(crate) const PAUSED: u64 = 32;
/// An observer receives the events of each get. Obstructs only the fast path, which reports nothing.
pub(crate) const OBSERVED: u64 = 64;
/// The last ping or reset failed. Obstructs nothing: says that it matters if one succeeds.
pub(crate) const CHECKS_FAIL: u64 = 128;
/// The pool serves the callers that it has accepted, and no new ones.
pub(crate) const DRAINING: u64 = 256;
/// Each checkout has more to do than the fast path does, for `min_idle` or `leak_backtrace`.
pub(crate) const MORE_TO_DO: u64 = 512;
/// Connections are reset when they come back.
pub(crate) const RESETS: u64 = 1024;

/// The flags that keep a returned connection from the idle set.
const OBSTRUCT_RETURN: u64 = OBSTRUCT_TRY | RESETS;
/// The flags that keep a `try_get` from the idle set.
const OBSTRUCT_TRY: u64 = CLOSED | WAITERS | SURPLUS | PAUSED;
/// The flags that keep a `get` from the idle set, or that need its help.
const OBSTRUCT_CHECKOUT: u64 = OBSTRUCT_TRY | UNATTENDED | DRAINING;

/// The lowest bits of the state are for flags, the others for the version: 2^53 changes.
const FLAG_BITS: u32 = 11;

/// The part of the pool's state that is read without its lock.
pub(crate) struct Snapshot {
    /// The version, shifted, and the flags.
    state: AtomicU64,
    cleared: AtomicU64,
    /// Advisory, relaxed: a stale read only postpones a ping by one get.
    suspect: Relaxed,
    /// Like `suspect`.
    leapt: Relaxed,
    /// The number of the home; zero if there is none. A stale read costs one connection.
    home: Relaxed,
    /// Until when the last comparison of the clocks by a `get` is good enough, in nanoseconds. Written after
    /// the version that followed from the comparison.
    compared_until: AtomicU64,
    /// What the wall clock lacked to the monotonic one when they were last compared, wrapping. A stale read
    /// costs a comparison.
    behind: Relaxed,
    pub(crate) settings: Settings,
    config: Mutex<Arc<PoolConfig>>,
    pub(crate) provides: Provides,
    /// `OBSERVED` if an observer receives the events of each get.
    observed: u64,
}

/// What a manager does, as it said when the pool was built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Provides {
    pub(crate) reset: bool,
    pub(crate) liveness: bool,
    pub(crate) close: bool,
}

/// The settings that fast paths read.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) get_timeout: Setting,
    idle_timeout: Setting,
    max_lifetime: Setting,
    ping_after: Setting,
    pub(crate) liveness_after: Setting,
    keepalive: Setting,
    pub(crate) slow_get_warning: Setting,
    pub(crate) leak_warning: Setting,
    /// The shortest limit that a peer has announced. No setting, but needs a clock like one.
    announced: Setting,
    /// [`Rules::fresh_for`].
    fresh_for: Setting,
    /// The same, until the clocks have to be compared.
    fresh_until_compared: Setting,
    /// The largest number if there is no limit.
    pub(crate) max_uses: Relaxed,
    clock: Relaxed,
    /// 1 if the backtrace of each checkout is recorded.
    leak_backtrace: Relaxed,
    /// 1 if histograms are kept.
    histograms: Relaxed,
    /// The flags that depend on settings alone.
    standing_flags: Relaxed,
}

/// A duration, in nanoseconds.
#[derive(Default)]
pub(crate) struct Setting(Relaxed);

impl Setting {
    #[inline]
    pub(crate) fn get(&self) -> Nanos {
        Nanos(self.0.get())
    }

    fn set(&self, duration: impl Into<Nanos>) {
        self.0.set(duration.into().0);
    }
}

impl Snapshot {
    /// Creates the snapshot of a pool in which nothing has happened yet.
    pub(crate) fn new(
        config: PoolConfig,
        home: Option<RuntimeId>,
        provides: Provides,
        observes_gets: bool,
    ) -> Self {
        let snapshot = Snapshot {
            state: AtomicU64::new(UNATTENDED | OBSERVED),
            cleared: AtomicU64::new(0),
            suspect: Relaxed::default(),
            leapt: Relaxed::default(),
            home: Relaxed::default(),
            compared_until: AtomicU64::new(0),
            behind: Relaxed::default(),
            settings: Settings::default(),
            config: Mutex::new(Arc::new(PoolConfig::default())),
            provides,
            observed: if observes_gets { OBSERVED } else { 0 },
        };
        snapshot.set_home(home);
        snapshot.settings.announced.set(None);
        snapshot.configure(config);
        snapshot
    }

    /// Publishes flags and versions. The caller holds the pool's lock.
    pub(crate) fn publish(&self, flags: u64, versions: Versions) {
        let state = versions.current << FLAG_BITS | flags;
        // Written under the lock only, so a relaxed read finds the last write.
        if self.state.load(Ordering::Relaxed) == state {
            return;
        }
        // The version last: a reader that sees it finds the others of the same version, or later.
        self.suspect.set(versions.suspect);
        self.leapt.set(versions.leapt);
        self.set_home(versions.home);
        self.cleared.store(versions.cleared, Ordering::SeqCst);
        self.state.store(state, Ordering::SeqCst);
    }

    /// Publishes whether callers wait, if nothing else has changed. The caller holds the pool's lock.
    pub(crate) fn publish_waiters(&self, any: bool) {
        let before = self.state.load(Ordering::Relaxed);
        let state = if any { before | WAITERS } else { before & !WAITERS };
        if state != before {
            self.state.store(state, Ordering::SeqCst);
        }
    }

    /// Publishes settings.
    pub(crate) fn configure(&self, config: PoolConfig) {
        let settings = &self.settings;
        settings.get_timeout.set(config.get_timeout);
        settings.idle_timeout.set(config.idle_timeout);
        settings.max_lifetime.set(config.max_lifetime);
        settings.max_uses.set(config.max_uses.unwrap_or(u64::MAX));
        settings.ping_after.set(config.ping_after);
        // A manager without liveness is not probed.
        settings.liveness_after.set(config.liveness_after.filter(|_| self.provides.liveness));
        settings.keepalive.set(config.keepalive);
        settings.slow_get_warning.set(config.slow_get_warning);
        settings.leak_warning.set(config.leak_warning);
        let (_, rules) = self.versions_and_rules();
        let fresh_for = rules.fresh_for();
        settings.fresh_for.set(fresh_for);
        settings.fresh_until_compared.set(fresh_for.min(COMPARED_AFTER.into()));
        self.choose_clock(&rules);
        settings.leak_backtrace.set(config.leak_backtrace.into());
        settings.histograms.set(config.histograms.into());
        let has_more_to_do = config.min_idle > 0 || config.leak_backtrace;
        let more_to_do = if has_more_to_do { MORE_TO_DO } else { 0 };
        settings.standing_flags.set(self.observed | more_to_do);
        *self.config.lock() = Arc::new(config);
    }

    /// Has the clock read that a limit needs which a peer has announced.
    pub(crate) fn announced(&self, limit: Nanos) {
        self.settings.announced.set(self.settings.announced.get().min(limit).as_duration());
        let (_, rules) = self.versions_and_rules();
        self.choose_clock(&rules);
    }

    fn choose_clock(&self, rules: &Rules) {
        let Settings { leak_warning, announced, clock, .. } = &self.settings;
        clock.set(rules.clock(leak_warning.get().min(announced.get())) as u64);
    }

    // Flags and versions.

    /// Returns the version if nothing obstructs the fast path of a checkout.
    #[inline]
    pub(crate) fn fast_checkout(&self) -> Option<u64> {
        let state = self.state.load(Ordering::SeqCst);
        (state & (OBSTRUCT_CHECKOUT | OBSERVED | MORE_TO_DO) == 0).then_some(state >> FLAG_BITS)
    }

    /// Returns the version, and whether nothing obstructs a return.
    #[inline]
    pub(crate) fn fast_return(&self) -> (u64, bool) {
        let state = self.state.load(Ordering::SeqCst);
        (state >> FLAG_BITS, state & OBSTRUCT_RETURN == 0)
    }

    /// Returns the version, if a waiter may keep what it was handed without a look at the pool's state.
    #[inline]
    pub(crate) fn undisturbed(&self) -> Option<u64> {
        let state = self.state.load(Ordering::SeqCst);
        (state & (CLOSED | PAUSED | UNATTENDED | DRAINING) == 0).then_some(state >> FLAG_BITS)
    }

    /// Returns whether no maintenance task runs.
    #[inline]
    pub(crate) fn is_unattended(&self) -> bool {
        self.flags(UNATTENDED) != 0
    }

    /// Returns whether a `get` may take from the idle set.
    #[inline]
    pub(crate) fn allows_checkout(&self) -> bool {
        self.flags(OBSTRUCT_CHECKOUT) == 0
    }

    /// Returns whether a `try_get` may take from the idle set.
    #[inline]
    pub(crate) fn allows_try(&self) -> bool {
        self.flags(OBSTRUCT_TRY) == 0
    }

    /// Returns whether a connection that comes back is reset before it becomes idle.
    #[inline]
    pub(crate) fn resets_on_return(&self) -> bool {
        self.flags(RESETS) != 0
    }

    /// Returns whether a returned connection may become idle.
    #[inline]
    pub(crate) fn allows_return(&self) -> bool {
        self.flags(OBSTRUCT_RETURN) == 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.flags(CLOSED) != 0
    }

    /// Returns whether new callers are refused.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.flags(CLOSED | DRAINING) != 0
    }

    /// Returns whether a checkout has more to do than the fast path does.
    #[inline]
    pub(crate) fn has_more_to_do(&self) -> bool {
        self.flags(MORE_TO_DO) != 0
    }

    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.flags(PAUSED) != 0
    }

    /// Returns whether the last connects failed, and no connection opened since has passed a check.
    #[inline]
    pub(crate) fn is_failing(&self) -> bool {
        self.flags(FAILING) != 0
    }

    /// Returns whether the last ping or reset failed.
    #[inline]
    pub(crate) fn is_check_failing(&self) -> bool {
        self.flags(CHECKS_FAIL) != 0
    }

    #[inline]
    fn flags(&self, flags: u64) -> u64 {
        self.state.load(Ordering::SeqCst) & flags
    }

    /// Returns whether the pool was cleared after this version.
    #[inline]
    pub(crate) fn outdates(&self, version: u64) -> bool {
        version < self.cleared.load(Ordering::SeqCst)
    }

    /// Returns the versions, and rules of the same version or a later one.
    #[inline]
    pub(crate) fn versions_and_rules(&self) -> (Versions, Rules) {
        // The version changes after the settings, so it is read before them.
        let versions = self.versions();
        let rules = Rules {
            idle_timeout: self.settings.idle_timeout.get(),
            max_lifetime: self.settings.max_lifetime.get(),
            max_uses: self.settings.max_uses.get(),
            ping_after: self.settings.ping_after.get(),
            liveness_after: self.settings.liveness_after.get(),
            keepalive: self.settings.keepalive.get(),
            needs_reset: self.provides.reset,
        };
        (versions, rules)
    }

    #[inline]
    pub(crate) fn versions(&self) -> Versions {
        // The version first, see `publish`.
        let current = self.state.load(Ordering::SeqCst) >> FLAG_BITS;
        Versions {
            current,
            cleared: self.cleared.load(Ordering::SeqCst),
            suspect: self.suspect.get(),
            leapt: self.leapt.get(),
            home: self.home(),
        }
    }

    fn set_home(&self, home: Option<RuntimeId>) {
        self.home.set(home.map_or(0, |home| home.get().into()));
    }

    /// Returns the runtime that the pool is at home on.
    #[inline]
    pub(crate) fn home(&self) -> Option<RuntimeId> {
        RuntimeId::of_bits(self.home.get())
    }

    // The comparison of the clocks.

    /// Returns until when the last comparison of the clocks by a `get` is good enough. What is read of the versions
    /// afterwards includes what followed from it.
    #[inline]
    pub(crate) fn compared_until(&self) -> Instant {
        Instant::from_nanos(self.compared_until.load(Ordering::Acquire))
    }

    /// Records that a `get` has compared the clocks, after what followed from it was published.
    pub(crate) fn compared(&self, now: Instant) {
        let until = now.checked_add(COMPARED_AFTER).unwrap_or(Instant::NEVER);
        self.compared_until.store(until.as_nanos(), Ordering::Release);
    }

    /// Records the readings of a comparison.
    pub(crate) fn set_wall(&self, now: Instant, wall: Instant) {
        self.behind.set(now.as_nanos().wrapping_sub(wall.as_nanos()));
    }

    /// Returns the time of the monotonic clock as the wall clock tells it. Wrong by as much as one of them has
    /// leapt since they were last compared.
    #[inline]
    pub(crate) fn time_by_wall(&self, wall: Instant) -> Instant {
        Instant::from_nanos(wall.as_nanos().wrapping_add(self.behind.get()))
    }

    // Settings.

    /// Returns how long after its return a connection that is verified under `version` needs only a liveness
    /// probe.
    #[inline]
    pub(crate) fn fresh_for(&self, version: u64, now: Instant) -> Nanos {
        let Settings { fresh_for, fresh_until_compared, .. } = &self.settings;
        // The version last: if the comparison found a leap, `version` may be from before it.
        let is_compared = now < self.compared_until()
            && self.state.load(Ordering::SeqCst) >> FLAG_BITS == version;
        if is_compared { fresh_for.get() } else { fresh_until_compared.get() }
    }

    /// Returns the flags that depend on settings alone.
    #[inline]
    pub(crate) fn standing_flags(&self) -> u64 {
        self.settings.standing_flags.get()
    }

    /// Returns whether the backtrace of each checkout is recorded.
    pub(crate) fn takes_backtraces(&self) -> bool {
        self.settings.leak_backtrace.get() > 0
    }

    /// Returns whether histograms are kept.
    #[inline]
    pub(crate) fn keeps_histograms(&self) -> bool {
        self.settings.histograms.get() > 0
    }

    /// Returns all settings. Not for the fast paths: takes a lock, never for long.
    pub(crate) fn config(&self) -> Arc<PoolConfig> {
        Arc::clone(&self.config.lock())
    }

    /// Returns the clock that is read at a checkout and a return.
    #[inline]
    pub(crate) fn clock(&self) -> Clock {
        match self.settings.clock.get() {
            0 => Clock::None,
            1 => Clock::Recent,
            _ => Clock::Precise,
        }
    }

    /// Returns whether some setting depends on time.
    #[inline]
    pub(crate) fn needs_clock(&self) -> bool {
        self.clock() != Clock::None
    }
}
