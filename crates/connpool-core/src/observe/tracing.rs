//! Events and spans of the crate [`tracing`](https://docs.rs/tracing). Without the feature, nothing.

#[cfg(feature = "tracing")]
pub(crate) use on::{emit, get, is_on, receives_gets};

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{emit, get, is_on, receives_gets};

#[cfg(feature = "tracing")]
mod on {

    use tracing::instrument::{Instrument, Instrumented};
    use tracing::level_filters::LevelFilter;
    use tracing::{Level, debug_span, event};

    use crate::machine::breaker::BreakerState;
    use crate::observe::event::Event;

    /// Returns whether some subscriber is enabled.
    pub(crate) fn is_on() -> bool {
        LevelFilter::current() != LevelFilter::OFF
    }

    /// Returns whether some subscriber may receive the span of each `get`, or its events.
    #[inline]
    pub(crate) fn receives_gets() -> bool {
        LevelFilter::current() >= LevelFilter::DEBUG
    }

    pub(crate) fn emit(pool: &str, what: &Event<'_>) {
        // The macro needs a constant level.
        macro_rules! emit {
            ($level:expr) => {
                event!(
                    target: "connpool",
                    $level,
                    pool,
                    event = what.label(),
                    id = what.id(),
                    "{what}"
                )
            };
        }
        match what {
            Event::Breaker { to: BreakerState::Open, .. }
            | Event::ConnectFailed { .. }
            | Event::CheckFailed { .. }
            | Event::ConfigWarning { .. }
            | Event::SlowGet { .. }
            | Event::TakenOver { .. }
            | Event::LeakSuspected { .. }
            | Event::Panicked { .. } => emit!(Level::WARN),
            Event::Breaker { .. }
            | Event::Burst
            | Event::ClockLeap { .. }
            | Event::MovedBack
            | Event::Paused
            | Event::Resumed
            | Event::LeakReturned { .. } => emit!(Level::INFO),
            Event::Waiting | Event::Lent { .. } | Event::Returned { .. } => emit!(Level::TRACE),
            Event::Opened { .. }
            | Event::Detached { .. }
            | Event::Closed { .. }
            | Event::CloseCutShort { .. }
            | Event::Cleared
            | Event::Reconfigured => emit!(Level::DEBUG),
        }
    }

    /// Wraps a `get` in a span.
    pub(crate) fn get<F: Future>(pool: &str, get: F) -> Instrumented<F> {
        get.instrument(debug_span!(target: "connpool", "connpool.get", pool))
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::observe::event::Event;

    #[inline]
    pub(crate) fn receives_gets() -> bool {
        false
    }

    #[inline]
    pub(crate) fn is_on() -> bool {
        false
    }

    #[inline]
    pub(crate) fn emit(_pool: &str, _what: &Event<'_>) {}

    #[inline]
    pub(crate) fn get<F>(_pool: &str, get: F) -> F {
        get
    }
}
