//! What a scripted manager is told to do.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What one call of a [`FaultyManager`](crate::FaultyManager) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
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
pub enum Call {
    /// `Manager::connect`.
    Connect,
    /// `Manager::ping`.
    Ping,
    /// `Manager::reset`.
    Reset,
    /// `Manager::close`, whose failures nobody hears of.
    Close,
}

impl Call {
    /// Every one of them.
    pub const ALL: [Call; 4] = [Call::Connect, Call::Ping, Call::Reset, Call::Close];
}

/// What the backend of a test says when it says no, with the number of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptedError(pub usize);

impl fmt::Display for ScriptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused the call number {}", self.0)
    }
}

impl Error for ScriptedError {}

/// What the calls of one kind do: first what was said of the next ones, then what was said of all.
#[derive(Debug)]
pub(crate) struct Plan {
    next: VecDeque<Behavior>,
    always: Behavior,
    calls: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            next: VecDeque::new(),
            always: Behavior::Succeed,
            calls: 0,
        }
    }
}

impl Plan {
    pub(crate) fn always(&mut self, act: Behavior) {
        self.always = act;
    }

    pub(crate) fn next(&mut self, acts: impl IntoIterator<Item = Behavior>) {
        self.next.extend(acts);
    }

    pub(crate) fn calm(&mut self) {
        self.next.clear();
        self.always = Behavior::Succeed;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// One more call: what it does, and its number.
    pub(crate) fn call(&mut self) -> (Behavior, usize) {
        self.calls += 1;
        (self.next.pop_front().unwrap_or(self.always), self.calls)
    }
}
