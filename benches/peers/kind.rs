//! The kinds of workloads.

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// One task, ten idle connections, no checks or limits.
    Sequential,
    /// The same with an idle timeout and a lifetime.
    SequentialLimits,
    /// The first workload on one of two worker threads.
    SequentialMulti,
    /// Several tasks on two worker threads.
    ManyTasks {
        /// The number of tasks.
        tasks: usize,
        /// The number of connections.
        max: usize,
        /// Hold each connection over a yield.
        yields: bool,
    },
    /// One task, one TCP connection, with a liveness probe at each get.
    TcpLook,
    /// One task, one TCP connection, with a round trip of one byte at each get.
    TcpPing,
    /// One task, this many idle connections.
    Idle(usize),
    /// One task, this many connections, all but one borrowed.
    OneIdle(usize),
    /// 100 concurrent gets from an empty pool; the server greets after 5 ms.
    ColdStart,
    /// The first get when 1,000 idle TCP connections have expired.
    Expired,
    /// 1,000 concurrent gets that time out after a millisecond.
    CancelStorm,
    /// Bytes per idle connection.
    MemoryIdle,
    /// Bytes per waiting get, beside its future.
    MemoryWaiter,
    /// Allocations of a get and a return.
    Allocations,
    /// Allocations of a get that waits, with a timeout, and a return.
    AllocationsWait,
}

impl Kind {
    /// Returns the number of worker threads. With none, tasks run on the thread that waits for
    /// them.
    pub(crate) fn workers(self) -> usize {
        match self {
            Kind::SequentialMulti | Kind::ManyTasks { .. } => 2,
            _ => 0,
        }
    }

    /// Returns the factor of the time limit, for workloads with a long setup.
    pub(crate) fn weight(self) -> u32 {
        match self {
            Kind::Idle(100_000) | Kind::OneIdle(_) => 4,
            _ => 1,
        }
    }

    /// Returns the unit of the figure.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Kind::MemoryIdle | Kind::MemoryWaiter => "bytes",
            Kind::Allocations | Kind::AllocationsWait => "allocations",
            _ => "ns",
        }
    }

    /// Returns whether the figure is a count, which needs one round only.
    pub(crate) fn is_a_count(self) -> bool {
        self.unit() != "ns"
    }

    /// Returns whether connections have an idle timeout and a lifetime.
    pub(crate) fn has_limits(self) -> bool {
        matches!(self, Kind::SequentialLimits | Kind::Expired)
    }

    /// Returns whether gets have a timeout that is not the default.
    pub(crate) fn has_timeout(self) -> bool {
        matches!(self, Kind::CancelStorm | Kind::AllocationsWait)
    }

    /// Returns whether several tasks use the pool.
    pub(crate) fn has_tasks(self) -> bool {
        matches!(self, Kind::ManyTasks { .. } | Kind::ColdStart | Kind::CancelStorm)
    }
}
