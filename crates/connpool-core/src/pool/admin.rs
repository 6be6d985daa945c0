//! What a pool has in stock, from outside: looked through, and added to.

use std::error::Error;
use std::fmt;

use crate::machine::wait_queue::Supply;
use crate::pool::conn::Entry;
use crate::pool::connect::Begun;
use crate::pool::shared::Shared;
use crate::{CloseReason, Manager, Pool};

/// Why a connection was not taken into a pool. It is given back.
#[non_exhaustive]
pub enum AddError<C> {
    /// `max_size` connections are open or being opened, or `max_idle` are idle.
    Full(C),
    /// The pool is closed.
    Closed(C),
}

impl<C> AddError<C> {
    /// The connection that was not added.
    pub fn into_inner(self) -> C {
        match self {
            AddError::Full(conn) | AddError::Closed(conn) => conn,
        }
    }
}

/// The connection is not formatted.
impl<C> fmt::Debug for AddError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddError::Full(_) => "Full(..)",
            AddError::Closed(_) => "Closed(..)",
        })
    }
}

impl<C> fmt::Display for AddError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddError::Full(_) => {
                "the pool has as many connections as it may: raise max_size or max_idle"
            }
            AddError::Closed(_) => "the pool is closed",
        })
    }
}

impl<C> Error for AddError<C> {}

impl<M: Manager> Pool<M> {
    /// Shows every connection that is idle now to `keep`, and closes those for which it says false.
    /// Returns how many that were.
    ///
    /// One at a time: only the one that is being looked at is out of the pool meanwhile, and a `get`
    /// that comes just then may open another one. What is out, or becomes idle later, is not looked
    /// at. `keep` may use the pool; it should not take long.
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>(String::from("10.0.0.7")) });
    /// # let pool = sim.block_on(Pool::builder(manager, sim.clone()).min_size(2).build())?;
    /// // This server is about to be shut down.
    /// let closed = pool.retain(|server| *server != "10.0.0.7");
    /// assert_eq!(closed, 2);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `keep` does. The connection that it was looking at is then destroyed.
    pub fn retain(&self, mut keep: impl FnMut(&mut M::Connection) -> bool) -> usize {
        let shared = self.shared();
        let mut closed = 0_usize;
        for (part, count) in shared.idle.parts() {
            for _ in 0..count {
                let Some(entry) = shared.idle.take_oldest_of(part) else {
                    break;
                };
                let mut shown = Shown {
                    shared,
                    entry: Some(entry),
                };
                if !shown.is_kept(&mut keep) {
                    closed = closed.saturating_add(1);
                }
            }
        }
        closed
    }

    /// Takes in a connection that was made elsewhere: one that was detached, or accepted instead of
    /// dialled. It goes to the first in line or becomes idle, and counts as opened just now and never
    /// lent: it is looked at before it is lent, but neither pinged nor reset.
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>(String::from("dialled")) });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// pool.add(String::from("accepted"))?;
    /// assert_eq!(*sim.block_on(pool.get())?, "accepted");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no room for it or the pool is closed; the error holds the connection.
    pub fn add(&self, conn: M::Connection) -> Result<(), AddError<M::Connection>> {
        let shared = self.shared();
        let now = shared.runtime.now();
        let begun = shared.with(|state, _| {
            if state.ledger.is_closed() {
                return Err(true);
            }
            if !state.ledger.has_room() || shared.idle.is_full() {
                return Err(false);
            }
            Begun::take_slot(shared, state, now).ok_or(true)
        });
        match begun {
            Ok(begun) => begun.adopt(conn),
            Err(true) => return Err(AddError::Closed(conn)),
            Err(false) => return Err(AddError::Full(conn)),
        }
        Ok(())
    }
}

/// A connection that somebody is looking at.
struct Shown<'a, M: Manager> {
    shared: &'a Shared<M>,
    entry: Option<Entry<M>>,
}

impl<M: Manager> Shown<'_, M> {
    fn is_kept(&mut self, keep: &mut impl FnMut(&mut M::Connection) -> bool) -> bool {
        let Some(entry) = &mut self.entry else {
            return true;
        };
        let kept = keep(&mut entry.conn);
        if let Some(entry) = self.entry.take() {
            match kept {
                true => self.shared.pass_on(entry, Supply::Used),
                false => self.shared.retire(entry, CloseReason::Evicted),
            }
        }
        kept
    }
}

impl<M: Manager> Drop for Shown<'_, M> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.destroy(entry, CloseReason::Panicked);
        }
    }
}
