//! The settings in force, which may change while the pool runs.

use crate::machine::health::{Clock, Rules};
use crate::pool::actions::Effects;
use crate::pool::shared::Shared;
use crate::pool::state::{State, see_off};
use crate::time::Nanos;
use crate::util::sync::{Arc, Mutex, Setting};
use crate::{CloseReason, ConfigError, Event, Instant, Manager, PoolConfig};

/// All settings, and apart from them, as numbers, those that the fast paths read.
///
/// One that is read while they change finds some of them old and some new, which is as if it had come a
/// moment earlier or later; the seal changes after all of them.
pub(crate) struct Settings {
    config: Mutex<Arc<PoolConfig>>,
    fast: Fast<Setting>,
    resets: bool,
    looks: bool,
}

/// What the fast paths read.
#[derive(Default)]
struct Fast<T> {
    get_timeout: T,
    idle_timeout: T,
    max_lifetime: T,
    max_uses: T,
    ping_after: T,
    liveness_after: T,
    keepalive: T,
    slow_get_warning: T,
    leak_warning: T,
    watches_leases: T,
    clock: T,
    fresh_for: T,
}

impl Settings {
    pub(crate) fn new(config: PoolConfig, resets: bool, looks: bool) -> Self {
        let fast = Fast::default();
        fast.set(&Fast::of(&config, resets, looks));
        Settings {
            config: Mutex::new(Arc::new(config)),
            fast,
            resets,
            looks,
        }
    }

    #[inline]
    pub(crate) fn get_timeout(&self) -> Nanos {
        Nanos::from_nanos(self.fast.get_timeout.get())
    }

    pub(crate) fn slow_get_warning(&self) -> Nanos {
        Nanos::from_nanos(self.fast.slow_get_warning.get())
    }

    #[inline]
    pub(crate) fn leak_warning(&self) -> Nanos {
        Nanos::from_nanos(self.fast.leak_warning.get())
    }

    /// Whether there is more to do at the end of a lease than to note it.
    #[inline]
    pub(crate) fn watches_leases(&self) -> bool {
        self.fast.watches_leases.get() != 0
    }

    /// See [`Rules::fresh_for`].
    #[inline]
    pub(crate) fn fresh_for(&self) -> Nanos {
        Nanos::from_nanos(self.fast.fresh_for.get())
    }

    #[inline]
    pub(crate) fn liveness_after(&self) -> Nanos {
        Nanos::from_nanos(self.fast.liveness_after.get())
    }

    /// How often a connection may be lent.
    #[inline]
    pub(crate) fn max_uses(&self) -> u64 {
        self.fast.max_uses.get()
    }

    #[inline]
    pub(crate) fn rules(&self) -> Rules {
        let span = |setting: &Setting| Nanos::from_nanos(setting.get());
        let max_uses = self.fast.max_uses.get();
        Rules {
            idle_timeout: span(&self.fast.idle_timeout),
            max_lifetime: span(&self.fast.max_lifetime),
            max_uses: (max_uses != u64::MAX).then_some(max_uses),
            ping_after: span(&self.fast.ping_after),
            liveness_after: span(&self.fast.liveness_after),
            keepalive: span(&self.fast.keepalive),
            resets: self.resets,
        }
    }

    #[inline]
    pub(crate) fn needs_reset(&self) -> bool {
        self.resets
    }

    /// Which clock is read on the way of a connection out and back.
    #[inline]
    pub(crate) fn clock(&self) -> Clock {
        match self.fast.clock.get() {
            0 => Clock::None,
            1 => Clock::Recent,
            _ => Clock::Precise,
        }
    }

    /// Whether any setting asks what time it is.
    #[inline]
    pub(crate) fn need_clock(&self) -> bool {
        self.clock() != Clock::None
    }

    fn set(&self, config: PoolConfig) {
        self.fast.set(&Fast::of(&config, self.resets, self.looks));
        *self.config.lock() = Arc::new(config);
    }
}

impl<T> Fast<T> {
    fn all(&self) -> [&T; 12] {
        // All of them: the compiler tells if one is left out.
        let Fast {
            get_timeout,
            idle_timeout,
            max_lifetime,
            max_uses,
            ping_after,
            liveness_after,
            keepalive,
            slow_get_warning,
            leak_warning,
            watches_leases,
            clock,
            fresh_for,
        } = self;
        [
            get_timeout,
            idle_timeout,
            max_lifetime,
            max_uses,
            ping_after,
            liveness_after,
            keepalive,
            slow_get_warning,
            leak_warning,
            watches_leases,
            clock,
            fresh_for,
        ]
    }
}

impl Fast<Setting> {
    fn set(&self, to: &Fast<u64>) {
        let settings = self.all().into_iter().zip(to.all());
        settings.for_each(|(setting, value)| setting.set(*value));
    }
}

impl Fast<u64> {
    fn of(config: &PoolConfig, resets: bool, looks: bool) -> Self {
        let rules = Rules {
            idle_timeout: config.idle_timeout.into(),
            max_lifetime: config.max_lifetime.into(),
            max_uses: config.max_uses,
            ping_after: config.ping_after.into(),
            // Who cannot tell is not asked.
            liveness_after: config.liveness_after.filter(|_| looks).into(),
            keepalive: config.keepalive.into(),
            resets,
        };
        Fast {
            get_timeout: Nanos::from(config.get_timeout).as_nanos(),
            idle_timeout: rules.idle_timeout.as_nanos(),
            max_lifetime: rules.max_lifetime.as_nanos(),
            max_uses: config.max_uses.unwrap_or(u64::MAX),
            ping_after: rules.ping_after.as_nanos(),
            liveness_after: rules.liveness_after.as_nanos(),
            keepalive: rules.keepalive.as_nanos(),
            slow_get_warning: Nanos::from(config.slow_get_warning).as_nanos(),
            leak_warning: Nanos::from(config.leak_warning).as_nanos(),
            watches_leases: u64::from(config.leak_warning.is_some()),
            clock: match rules.clock(config.leak_warning.into()) {
                Clock::None => 0,
                Clock::Recent => 1,
                Clock::Precise => 2,
            },
            fresh_for: rules.fresh_for().as_nanos(),
        }
    }
}

impl<M: Manager> Shared<M> {
    /// The settings in force. Not for the fast paths: it takes a lock, though never for long.
    pub(crate) fn config(&self) -> Arc<PoolConfig> {
        Arc::clone(&self.settings.config.lock())
    }

    /// Changes the settings as `change` does, or leaves them all as they are.
    pub(crate) fn reconfigure(
        &self,
        change: impl FnOnce(&mut PoolConfig) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        let now = self.runtime.now();
        self.with(|state, effects| {
            // Read under the lock of the state: of two that change something, neither is lost.
            let mut config = PoolConfig::clone(&self.config());
            change(&mut config)?;
            self.enforce(state, effects, config, now);
            Ok(())
        })
    }

    fn enforce(
        &self,
        state: &mut State<M>,
        effects: &mut Effects<M>,
        config: PoolConfig,
        now: Instant,
    ) {
        let knew_the_time = self.settings.need_clock();
        state.ledger.reconfigure(&config);
        let beyond = self.idle.reconfigure(config.idle_order, config.max_idle);
        for entry in beyond {
            see_off(state, effects, entry, CloseReason::Overflow);
        }
        self.settings.set(config);
        if !knew_the_time && self.settings.need_clock() {
            // As long as nobody asked for the time, nobody noted when they became idle.
            self.idle
                .for_each(|entry| entry.stamps.idle_since = entry.stamps.idle_since.max(now));
        }
        effects.tell(Event::Reconfigured);
        self.publish(state);
        self.settle(state, effects, now);
        effects.rouse_driver = true;
        // Who gathers more than there may be now has nothing to wait for.
        effects.progress = true;
    }
}
