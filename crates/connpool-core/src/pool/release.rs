//! The way of a connection back into the pool, from the drop of its guard.

use crate::machine::disposition::{Disposition, GuardFlags, on_return};
use crate::machine::wait_queue::Source;
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::observe::event::Event;
use crate::pool::shared::{BoxConn, Shared};
use crate::time::{Instant, Nanos};

/// Takes back the connection of a dropped guard.
#[inline]
pub(crate) fn release<M: Manager>(shared: &Shared<M>, mut conn: BoxConn<M>) {
    let observed = shared.events.tells_of_gets();
    let borrowed_at = observed.then(|| conn.slot.lease()?.borrowed_at()).flatten();
    if conn.slot.flags.has(GuardFlags::MEASURED) {
        shared.measured(&conn);
    }
    end_lease(shared, &conn);
    if observed {
        shared.events.announce(&Event::Returned {
            id: conn.meta.id(),
            held: borrowed_at.map(|at| shared.age(at)),
        });
    }
    if let Some(reason) = spoiled(shared, &mut conn) {
        return settle(shared, conn, Disposition::Discard(reason));
    }
    let Some(announced) = shared.announced_limit(&conn.inner) else {
        return settle(shared, conn, Disposition::Discard(CloseReason::Panicked));
    };
    let now = shared.clock();
    conn.meta.returned(now);
    if let Some(left) = announced {
        let config = shared.snapshot.config();
        conn.meta.announced(left, now, (config.max_lifetime, config.lifetime_jitter));
    }
    let (version, unobstructed) = shared.snapshot.fast_return();
    // It may expire later than before, so that another limit comes first.
    if announced.is_none()
        && conn.meta.may_return(version, shared.snapshot.settings.max_uses.get(), now)
    {
        return keep(shared, conn, unobstructed, Some(now));
    }
    let (versions, rules) = shared.snapshot.versions_and_rules();
    conn.meta.verified(now, versions, &rules);
    let disposition = on_return(&conn.meta, &rules, versions, now);
    settle(shared, conn, disposition);
}

/// Puts a connection where its disposition says. The caller holds no lock.
pub(crate) fn settle<M: Manager>(shared: &Shared<M>, conn: BoxConn<M>, disposition: Disposition) {
    if disposition == Disposition::Reuse {
        return keep(shared, conn, shared.snapshot.allows_return(), None);
    }
    let now = shared.runtime.now();
    shared.with(|locked| locked.place(conn, disposition, now));
}

/// Adds a reusable connection to the idle set, or hands it over if something obstructs that.
// On the fast path of every return: the compiler would else call it.
#[inline(always)]
fn keep<M: Manager>(
    shared: &Shared<M>,
    conn: BoxConn<M>,
    unobstructed: bool,
    now: Option<Instant>,
) {
    if !unobstructed {
        let now = now.filter(|_| shared.snapshot.needs_clock());
        return shared.hand_over_at(conn, Source::Reused, now);
    }
    let version = conn.meta.origin.version();
    if let Err(conn) = shared.idle.push_local(conn) {
        return settle(shared, conn, Disposition::Close(CloseReason::Overflow));
    }
    // Between the first look at the snapshot and the push, a caller may have been queued, or the pool
    // closed or cleared. See `snapshot` for why one of the two sees the other.
    if !shared.snapshot.allows_return() {
        let now = shared.runtime.now();
        shared.with(|locked| locked.rebalance(now));
    }
    if shared.snapshot.outdates(version) {
        shared.redistribute_idle();
    }
    if shared.idle.is_contended() {
        shared.with(|_| shared.idle.widen_if_contended());
    }
}

/// Returns why a returned connection cannot be used again, from what its guard was told and what its
/// manager says.
#[inline]
fn spoiled<M: Manager>(shared: &Shared<M>, conn: &mut BoxConn<M>) -> Option<CloseReason> {
    let panicking = std::thread::panicking();
    if panicking || conn.slot.flags != GuardFlags::NONE {
        if let Some(reason) = take_flags(shared, conn).spoiled(panicking) {
            return Some(reason);
        }
    }
    let is_reusable = || shared.manager.is_reusable(&mut conn.inner);
    match shared.events.guarded("is_reusable", is_reusable) {
        Some(true) => None,
        Some(false) => Some(CloseReason::NotReusable),
        None => Some(CloseReason::Panicked),
    }
}

/// Takes what the guard was told, and forgets its label and its backtrace.
#[cold]
pub(crate) fn take_flags<M: Manager>(shared: &Shared<M>, conn: &mut BoxConn<M>) -> GuardFlags {
    let flags = std::mem::take(&mut conn.slot.flags);
    if flags.has(GuardFlags::NOTED) {
        shared.leases.forget_notes(conn.slot.index);
    }
    flags
}

/// Records that a connection is no longer borrowed.
#[inline]
pub(crate) fn end_lease<M: Manager>(shared: &Shared<M>, conn: &BoxConn<M>) {
    let Some(cell) = conn.slot.lease() else { return };
    if shared.snapshot.settings.leak_warning.get() == Nanos::NEVER {
        return cell.end();
    }
    let now = shared.runtime.now();
    let reported = shared.leases.end(conn.slot.index, cell, now);
    if let Some(holder) = reported {
        shared.events.tell(|| Event::LeakReturned { holder });
    }
}
