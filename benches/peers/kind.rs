//! The kinds of workloads.

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// One task, ten idle connections, nothing to look after.
    Sequential,
    /// The same, with an idle timeout and a lifetime.
    SequentialLimits,
    /// The same as the first, on one of two workers.
    SequentialMulti,
    /// So many tasks on two workers, with so many connections.
    ManyTasks {
        /// How many tasks.
        tasks: usize,
        /// How many connections.
        max: usize,
        /// Whether each holds its connection over a yield.
        yields: bool,
    },
    /// One task, one TCP connection, which is looked at in the kernel each time.
    TcpLook,
    /// One task, one TCP connection, and one byte there and back each time.
    TcpPing,
    /// One task, so many idle connections.
    Idle(usize),
    /// One task, so many connections, all of them lent but one.
    OneIdle(usize),
    /// A hundred gets at once from an empty pool, of a server that greets after 5 ms.
    ColdStart,
    /// The first get where a thousand idle TCP connections are past their time.
    Expired,
    /// A thousand gets that wait in vain, for a millisecond each.
    CancelStorm,
    /// The bytes of an idle connection.
    MemoryIdle,
    /// The bytes of a get that waits, beside its future.
    MemoryWaiter,
    /// The allocations of a get and a return.
    Allocations,
    /// The allocations of a get that waits, with a timeout, and a return.
    AllocationsWait,
}

impl Kind {
    /// On how many workers. With none, tasks run on the thread that waits for them.
    pub(crate) fn workers(self) -> usize {
        match self {
            Kind::SequentialMulti | Kind::ManyTasks { .. } => 2,
            _ => 0,
        }
    }

    /// How many times as much patience as others it needs, for what comes before the measurement.
    pub(crate) fn weight(self) -> u32 {
        match self {
            Kind::Idle(100_000) | Kind::OneIdle(_) => 4,
            _ => 1,
        }
    }

    /// What the figure counts.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Kind::MemoryIdle | Kind::MemoryWaiter => "bytes",
            Kind::Allocations | Kind::AllocationsWait => "allocations",
            _ => "ns",
        }
    }

    /// Whether it is counted rather than timed, and the same each time.
    pub(crate) fn is_a_count(self) -> bool {
        self.unit() != "ns"
    }

    /// Whether connections have an idle timeout and a lifetime.
    pub(crate) fn has_limits(self) -> bool {
        matches!(self, Kind::SequentialLimits | Kind::Expired)
    }

    /// Whether a get has a timeout that it would not have by default.
    pub(crate) fn has_timeout(self) -> bool {
        matches!(self, Kind::CancelStorm | Kind::AllocationsWait)
    }

    /// Whether several tasks use the pool.
    pub(crate) fn has_tasks(self) -> bool {
        matches!(
            self,
            Kind::ManyTasks { .. } | Kind::ColdStart | Kind::CancelStorm
        )
    }
}
