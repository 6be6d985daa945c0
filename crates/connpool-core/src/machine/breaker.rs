//! The breaker: whether the backend is dialled as needed, or only probed.

/// What the pool thinks of its backend, see [`Breaker`](crate::Breaker).
///
/// | from     | event                                                     | to       |
/// |----------|-----------------------------------------------------------|----------|
/// | Closed   | a connect failed, and not enough have in a row            | Closed   |
/// | Closed   | a connect failed, and enough have in a row                | Open     |
/// | Open     | a connect that had begun before failed                    | Open     |
/// | Open     | a probe begins, `probe_every` after the failure           | HalfOpen |
/// | HalfOpen | the probe failed, or what it made was of no use           | Open     |
/// | any      | a connection opened since the last failure proved good    | Closed   |
/// | any      | the pool is told to have no breaker any more              | Closed   |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BreakerState {
    /// Connects begin as they are needed.
    #[default]
    Closed,
    /// The last connects failed, and none begins until the next probe is due.
    Open,
    /// A probe is under way, or what it made has still to prove good.
    HalfOpen,
}

/// What happens to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A connect failed; whether that makes enough of them in a row.
    Failed { enough: bool },
    /// A connect begins.
    Begins,
    /// A connection opened since the last failure proved good.
    ProvedGood,
    /// The pool is told to have no breaker.
    Removed,
}

impl BreakerState {
    /// The next state, as in the table.
    pub(crate) fn after(self, happening: Happening) -> Self {
        match (self, happening) {
            (_, Happening::ProvedGood | Happening::Removed) => BreakerState::Closed,
            (BreakerState::Closed, Happening::Failed { enough: false }) => BreakerState::Closed,
            (_, Happening::Failed { .. }) => BreakerState::Open,
            (BreakerState::Open, Happening::Begins) => BreakerState::HalfOpen,
            (_, Happening::Begins) => self,
        }
    }

    /// As it is called in statistics and logs.
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
    use super::Happening::*;

    #[test]
    fn the_breaker_is_its_table() {
        let table = [
            (Closed, Failed { enough: false }, Closed),
            (Closed, Failed { enough: true }, Open),
            (Closed, Begins, Closed),
            (Closed, ProvedGood, Closed),
            (Closed, Removed, Closed),
            (Open, Failed { enough: false }, Open),
            (Open, Failed { enough: true }, Open),
            (Open, Begins, HalfOpen),
            (Open, ProvedGood, Closed),
            (Open, Removed, Closed),
            (HalfOpen, Failed { enough: false }, Open),
            (HalfOpen, Failed { enough: true }, Open),
            (HalfOpen, Begins, HalfOpen),
            (HalfOpen, ProvedGood, Closed),
            (HalfOpen, Removed, Closed),
        ];
        for (from, happening, to) in table {
            assert_eq!(from.after(happening), to, "{from:?} {happening:?}");
        }
    }
}
