//! The circuit breaker: whether connects start as needed, or only as probes.

/// The state of the circuit breaker. [`Breaker`](crate::Breaker) has its settings.
///
/// | from     | event                                                     | to       |
/// |----------|-----------------------------------------------------------|----------|
/// | Closed   | a connect failed, and not enough have in a row            | Closed   |
/// | Closed   | a connect failed, and enough have in a row                | Open     |
/// | Open     | a connect that started before failed                      | Open     |
/// | Open     | a probe starts, `probe_every` after the failure           | HalfOpen |
/// | HalfOpen | the probe failed, or its connection failed its first check | Open    |
/// | any      | a connection opened since the last failure passed a check | Closed   |
/// | any      | the breaker is removed from the settings                  | Closed   |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BreakerState {
    /// Connects start as they are needed.
    #[default]
    Closed,
    /// The last connects failed. No connect starts until the next probe is due.
    Open,
    /// A probe is under way, or its connection has not passed a check yet.
    HalfOpen,
}

/// An input of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// A connect failed; `enough` have failed in a row to open the breaker.
    Failed {
        enough: bool,
    },
    ConnectStarted,
    /// A connection opened since the last failure passed a check.
    Succeeded,
    /// The settings no longer have a breaker.
    Removed,
}

impl BreakerState {
    /// Returns the next state, as in the table.
    pub(crate) fn after(self, input: Input) -> Self {
        match (self, input) {
            (_, Input::Succeeded | Input::Removed) => BreakerState::Closed,
            (BreakerState::Closed, Input::Failed { enough: false }) => BreakerState::Closed,
            (_, Input::Failed { .. }) => BreakerState::Open,
            (BreakerState::Open, Input::ConnectStarted) => BreakerState::HalfOpen,
            (_, Input::ConnectStarted) => self,
        }
    }

    /// Returns the name used in statistics and metrics, such as `half_open`.
    pub fn label(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

impl std::fmt::Display for BreakerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BreakerState::HalfOpen => "half open",
            BreakerState::Closed | BreakerState::Open => self.label(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::BreakerState::*;
    use super::Input::*;

    #[test]
    fn breaker_is_its_table() {
        let table = [
            (Closed, Failed { enough: false }, Closed),
            (Closed, Failed { enough: true }, Open),
            (Closed, ConnectStarted, Closed),
            (Closed, Succeeded, Closed),
            (Closed, Removed, Closed),
            (Open, Failed { enough: false }, Open),
            (Open, Failed { enough: true }, Open),
            (Open, ConnectStarted, HalfOpen),
            (Open, Succeeded, Closed),
            (Open, Removed, Closed),
            (HalfOpen, Failed { enough: false }, Open),
            (HalfOpen, Failed { enough: true }, Open),
            (HalfOpen, ConnectStarted, HalfOpen),
            (HalfOpen, Succeeded, Closed),
            (HalfOpen, Removed, Closed),
        ];
        for (from, input, to) in table {
            assert_eq!(from.after(input), to, "{from:?} {input:?}");
        }
    }
}
