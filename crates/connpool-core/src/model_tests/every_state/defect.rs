//! Defects that the checker must find, to show that its properties say something.

/// A defect in the use of the machine. Each breaks one property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    /// A connect starts for each waiter, whatever room there is.
    ConnectsBeyondTheRoom,
    /// A returned connection becomes idle without a look at the queue.
    ReturnsPastTheQueue,
    /// A caller takes an idle connection although others wait.
    BargesIn,
    /// A waiter whose connection failed its check goes to the end of the queue.
    LosesItsPlace,
    /// A failed connect keeps its slot.
    KeepsTheSlot,
    /// A freed slot does not serve the queue.
    FreesWithoutServing,
    /// A check that passes does not look if the pool was closed meanwhile.
    IgnoresTheClose,
    /// The maintenance task is not notified of connects that are missing.
    ForgetsTheMaintenance,
    /// Each failed connect is told to all waiters.
    TellsEachFailure,
    /// The machine does not hear of checkouts, so it does not know what can come back.
    IgnoresCheckouts,
}
