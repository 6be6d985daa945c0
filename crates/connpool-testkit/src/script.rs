//! Scripts: the behavior of the calls of a `FaultyManager`.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The behavior of one call of a [`FaultyManager`](crate::FaultyManager).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// Succeeds at once.
    Succeed,
    /// Fails at once.
    Fail,
    /// Succeeds after the given time.
    Take(Duration),
    /// Fails after the given time.
    FailAfter(Duration),
    /// Yields this many times, waking itself each time, and succeeds.
    Yield(usize),
    /// Yields this many times, and fails.
    YieldThenFail(usize),
    /// Yields this many times, and panics.
    YieldThenPanic(usize),
    /// Stays pending forever.
    Hang,
    /// Waits until the test calls [`FaultyManager::release`](crate::FaultyManager::release).
    Hold,
    /// Panics at the first poll.
    Panic,
    /// Succeeds, and the peer sends unsolicited bytes.
    SendUnsolicited,
    /// Succeeds, and the peer closes the connection.
    HangUp,
}

/// The calls of a manager that can be scripted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `Manager::connect`.
    Connect,
    /// `Manager::ping`.
    Ping,
    /// `Manager::reset`.
    Reset,
    /// `Manager::close`. Its failures have no effect.
    Close,
}

impl Call {
    /// All calls.
    pub const ALL: [Call; 4] = [Call::Connect, Call::Ping, Call::Reset, Call::Close];
}

/// The error of a call scripted to fail, with the number of the call, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptedError(pub usize);

impl fmt::Display for ScriptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused the call number {}", self.0)
    }
}

impl Error for ScriptedError {}

/// The script of one kind of call: the queued behaviors first, then the default.
#[derive(Debug)]
pub(crate) struct Plan {
    next: VecDeque<Behavior>,
    always: Behavior,
    calls: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { next: VecDeque::new(), always: Behavior::Succeed, calls: 0 }
    }
}

impl Plan {
    pub(crate) fn always(&mut self, behavior: Behavior) {
        self.always = behavior;
    }

    pub(crate) fn next(&mut self, behaviors: impl IntoIterator<Item = Behavior>) {
        self.next.extend(behaviors);
    }

    pub(crate) fn clear(&mut self) {
        self.next.clear();
        self.always = Behavior::Succeed;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Counts a call. Returns its behavior and its number.
    pub(crate) fn call(&mut self) -> (Behavior, usize) {
        self.calls += 1;
        (self.next.pop_front().unwrap_or(self.always), self.calls)
    }
}
