//! `get_with`: connections that are prepared for their caller.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::{
    Behavior, Call, MILLI, SECOND, ScriptedError, assert_at_rest, assert_full_capacity, closed,
    fill, hold, new, spawn,
};
use connpool_core::{CloseReason, GetError, Manager, Phase, Pool, ResetWhen, Severity, StreamOf};
use connpool_testkit::SimRuntime;
use futures_lite::future::yield_now;

/// Sessions with the role of a tenant, the superuser's at first.
struct Sessions(SimRuntime);

#[derive(Debug, Default)]
struct Session {
    role: Option<usize>,
}

impl Manager for Sessions {
    type Connection = Session;
    type Error = ScriptedError;

    fn stream(&self) -> Option<StreamOf<Session>> {
        None
    }

    async fn connect(&self) -> Result<Session, ScriptedError> {
        self.0.sleep(MILLI).await;
        Ok(Session::default())
    }

    fn needs_reset(&self) -> bool {
        false
    }
}

#[test]
fn six_hundred_requests_of_twenty_tenants_all_run_under_their_role() {
    let sim = SimRuntime::new(1);
    let pool = Pool::builder(Sessions(sim.clone()), sim.clone()).max_size(8).build_lazy().unwrap();
    let tenants: Vec<_> = (0..20)
        .map(|tenant| {
            let (pool, sim_) = (pool.clone(), sim.clone());
            spawn(&sim, async move {
                let mut wrong = 0;
                for _ in 0..30 {
                    let role = Some(tenant);
                    let get = pool.get_with(async |session| {
                        sim_.sleep(MILLI).await;
                        session.role = role;
                        Ok(())
                    });
                    let session = get.await.unwrap();
                    sim_.sleep(MILLI).await;
                    wrong += usize::from(session.role != Some(tenant));
                }
                wrong
            })
        })
        .collect();
    sim.advance(60 * SECOND);
    let wrong: usize = tenants.iter().map(|tenant| tenant.take().expect("not served")).sum();
    assert_eq!(wrong, 0);
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (600, 600));
}

#[test]
fn error_of_a_preparation_destroys_its_connection_and_reaches_the_caller() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 2);
    let error = sim.block_on(pool.get_with(async |_| Err(ScriptedError(7)))).unwrap_err();
    assert_eq!(error.to_string(), "cannot prepare a connection: refused the call number 7");
    assert_eq!(format!("{error:?}"), "Prepare(refused the call number 7)");
    assert_eq!(error.prepare_error(), Some(&ScriptedError(7)));
    assert!(error.connect_error().is_none());
    sim.settle();
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success, stats.available), (3, 2, 1));
    assert_eq!(closed(&pool, CloseReason::Unfinished), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn error_of_a_preparation_that_reports_a_failover_condemns_the_generation() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.set_severity(Severity::Generation);
    assert!(sim.block_on(pool.get_with(async |_| Err(ScriptedError(7)))).is_err());
    sim.settle();
    assert_eq!(pool.stats().size, 0);
}

#[test]
fn preparation_ends_with_the_deadline_of_the_whole_get() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).get_timeout(SECOND).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Take(SECOND / 2)]);
    let error = sim.block_on(pool.get_with(async |_| pending().await)).unwrap_err();
    assert_eq!(sim.elapsed(), SECOND);
    assert!(matches!(error, GetError::Timeout { phase: Phase::Prepare, .. }), "{error}");
    assert!(error.to_string().contains("while preparing one"), "{error}");
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Unfinished), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn panic_of_a_preparation_reaches_the_caller_and_destroys_the_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let get = pool.get_with(async |_| {
        yield_now().await;
        panic!("scripted")
    });
    let caught = catch_unwind(AssertUnwindSafe(|| sim.block_on(get).is_ok()));
    assert!(caught.is_err());
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Panicked), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn get_with_checks_the_connection_before_it_is_prepared() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = fake.pool().ping_after(Duration::ZERO).reset_when(ResetWhen::OnGet);
    let pool = pool.build_lazy().unwrap();
    fill(&sim, &pool, 2);
    fake.hang_up(2);
    let calls = || (fake.calls(Call::Ping), fake.calls(Call::Reset));
    let get = pool.get_with(async |conn| {
        assert_eq!((conn.id(), calls()), (1, (1, 1)));
        Ok(())
    });
    assert_eq!(sim.block_on(get).unwrap().id(), 1);
}

/// The caller has it from the start of the preparation, and returns it to a pool that destroys it.
#[test]
fn connection_counts_as_borrowed_while_it_is_prepared() {
    for end in 0..3 {
        let (sim, fake) = new(1);
        let pool = fake.pool().build_lazy().unwrap();
        let (pool_, sim_) = (pool.clone(), sim.clone());
        let job = spawn(&sim, async move {
            let get = pool_.get_owned_with(async |_| {
                sim_.sleep(MILLI).await;
                Ok(())
            });
            get.await
        });
        sim.settle();
        assert_eq!(pool.holders().len(), 1);
        match end {
            0 => pool.clear(),
            1 => pool.pause(),
            _ => {
                let report = sim.block_on(pool.close(Duration::ZERO));
                assert_eq!(report.still_out.len(), 1);
            }
        }
        sim.advance(SECOND);
        let conn = job.take().expect("not served").unwrap();
        assert_eq!((conn.id(), conn.uses(), pool.holders().len()), (1, 1, 1));
        drop(conn);
        sim.settle();
        assert_eq!(pool.stats().available, usize::from(end == 1));
        assert!(pool.holders().is_empty());
        assert_at_rest(&pool, &fake, 0);
    }
}

#[test]
fn get_with_leaves_no_lease_behind() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).leak_warning(MILLI).build_lazy().unwrap();
    assert!(sim.block_on(pool.get_with(async |_| Err(ScriptedError(7)))).is_err());
    assert!(pool.holders().is_empty());
    sim.advance(SECOND);
    assert_eq!(pool.stats().leaked, 0);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn caller_that_prepares_leaves_the_queue_to_the_next_one() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 2);
    let first = spawn(&sim, pool.get_owned_with(async |_| pending().await));
    sim.settle();
    let second = spawn(&sim, pool.get_owned());
    sim.settle();
    held.pop();
    sim.settle();
    assert_eq!(pool.stats().waiting, 1);
    held.pop();
    sim.settle();
    assert!(second.has_ended() && !first.has_ended());
}
