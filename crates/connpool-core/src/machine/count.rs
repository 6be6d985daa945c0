//! Counts that panic instead of wrapping.
//!
//! Beside [`time`](crate::time), the only module of the machines that adds integers; elsewhere the
//! lints forbid it.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used)]

/// The number of things that exist.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(usize);

impl Count {
    pub(crate) fn get(self) -> usize {
        self.0
    }

    pub(crate) fn inc(&mut self) {
        self.0 = self.0.checked_add(1).expect("more things than memory can hold");
    }

    /// # Panics
    ///
    /// Panics if the count is zero. Owners of a count exclude that by giving back only what they
    /// took.
    pub(crate) fn dec(&mut self) {
        self.0 = self.0.checked_sub(1).expect("something was given back that was never taken");
    }
}

/// Numbers that never repeat.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    /// Returns the last number handed out, or zero.
    pub(crate) fn last(&self) -> u64 {
        self.0
    }
}

/// Rounds `n` up to a multiple of `step`, or to `usize::MAX`.
pub(crate) fn round_up(n: usize, step: usize) -> usize {
    // The division costs as much as the rest of a hand-over's arithmetic, so the default step
    // avoids it.
    if step <= 1 {
        return n;
    }
    n.checked_next_multiple_of(step).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "never taken")]
    fn count_does_not_pass_below_zero() {
        Count::default().dec();
    }

    #[test]
    fn batches_are_whole_multiples() {
        assert_eq!([0, 1, 2, 3].map(|n| round_up(n, 2)), [0, 2, 2, 4]);
        assert_eq!(round_up(5, 0), 5);
        assert_eq!(round_up(usize::MAX, 2), usize::MAX);
    }
}
