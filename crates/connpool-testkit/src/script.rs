//! What a scripted manager is told to do.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What one call of a [`FaultyManager`](crate::FaultyManager) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Succeeds at once.
    Succeed,
    /// Fails at once.
    Fail,
    /// Succeeds after so much time.
    Take(Duration),
    /// Fails after so much time.
    FailAfter(Duration),
    /// Is pending for so many polls, each of which wakes at once, and succeeds.
    Pend(usize),
    /// Is pending for so many polls, and fails.
    PendThenFail(usize),
    /// Is pending for so many polls, and panics.
    PendThenPanic(usize),
    /// Never ends.
    Hang,
    /// Waits for the test's word, [`FaultyManager::release`](crate::FaultyManager::release).
    Hold,
    /// Panics at its first poll.
    Panic,
    /// Succeeds, and the peer sends bytes that nobody asked for.
    Speak,
    /// Succeeds, and the peer closes the connection.
    HangUp,
}

/// The calls that can be scripted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `Manager::connect`.
    Connect,
    /// `Manager::ping`.
    Ping,
    /// `Manager::reset`.
    Reset,
    /// `Manager::close`, whose failures nobody hears of.
    Close,
}

impl Op {
    /// Every one of them.
    pub const ALL: [Op; 4] = [Op::Connect, Op::Ping, Op::Reset, Op::Close];
}

/// What the backend of a test says when it says no, with the number of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub usize);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused the call number {}", self.0)
    }
}

impl Error for Refused {}

/// What the calls of one kind do: first what was said of the next ones, then what was said of all.
#[derive(Debug)]
pub(crate) struct Plan {
    next: VecDeque<Act>,
    always: Act,
    calls: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            next: VecDeque::new(),
            always: Act::Succeed,
            calls: 0,
        }
    }
}

impl Plan {
    pub(crate) fn always(&mut self, act: Act) {
        self.always = act;
    }

    pub(crate) fn next(&mut self, acts: impl IntoIterator<Item = Act>) {
        self.next.extend(acts);
    }

    pub(crate) fn calm(&mut self) {
        self.next.clear();
        self.always = Act::Succeed;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// One more call: what it does, and its number.
    pub(crate) fn call(&mut self) -> (Act, usize) {
        self.calls += 1;
        (self.next.pop_front().unwrap_or(self.always), self.calls)
    }
}
