//! Checks that the conformance suite detects faulty runtimes.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use connpool_conformance::SCENARIOS;
use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_testkit::SimRuntime;

/// A fault injected into the runtime.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// No fault.
    None,
    ClockGoesBack,
    TimerIgnoresThePast,
    TimerFiresAtTheLargestInstant,
    TimerWakesItsFirstTaskOnly,
    DropsTasks,
    PollsTasksOnce,
    RandomIsConstant,
    RandomHasHalfTheBits,
    SkipsProbes,
    RunsProbesTwice,
}

struct Broken {
    sim: SimRuntime,
    fault: Fault,
    reads: AtomicU64,
}

impl Runtime for Broken {
    fn now(&self) -> Instant {
        let reads = self.reads.fetch_add(1, Ordering::SeqCst);
        let now = self.sim.now().as_nanos();
        match self.fault {
            Fault::ClockGoesBack => Instant::from_nanos(now + reads % 2),
            _ => Instant::from_nanos(now),
        }
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        match self.fault {
            Fault::TimerIgnoresThePast if at <= self.sim.now() => Box::pin(pending()),
            Fault::TimerFiresAtTheLargestInstant if at.as_nanos() == u64::MAX => Box::pin(async {}),
            Fault::TimerWakesItsFirstTaskOnly => {
                let mut timer = self.sim.sleep_until(at);
                let mut first: Option<Waker> = None;
                Box::pin(poll_fn(move |cx| {
                    let waker = first.get_or_insert_with(|| cx.waker().clone());
                    timer.as_mut().poll(&mut Context::from_waker(waker))
                }))
            }
            _ => self.sim.sleep_until(at),
        }
    }

    fn spawn(&self, mut task: BoxFuture) {
        match self.fault {
            Fault::DropsTasks => drop(task),
            Fault::PollsTasksOnce => {
                self.sim.spawn(Box::pin(poll_fn(move |cx| {
                    let _ = task.as_mut().poll(cx);
                    Poll::Ready(())
                })));
            }
            _ => self.sim.spawn(task),
        }
    }

    fn random(&self) -> u64 {
        match self.fault {
            Fault::RandomIsConstant => 4,
            Fault::RandomHasHalfTheBits => self.sim.random() >> 32,
            _ => self.sim.random(),
        }
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        match self.fault {
            Fault::SkipsProbes => {}
            Fault::RunsProbesTwice => (0..2).for_each(|_| probe()),
            _ => probe(),
        }
    }
}

/// Returns true if the scenario fails on a runtime with the fault.
fn finds(scenario: &str, fault: Fault) -> bool {
    let (_, scenario) =
        SCENARIOS.iter().find(|(name, _)| *name == scenario).expect("a scenario of this name");
    let sim = SimRuntime::new(1);
    let broken = Broken { sim: sim.clone(), fault, reads: AtomicU64::new(0) };
    let scenario: Pin<Box<dyn Future<Output = ()> + Send>> = scenario(Arc::new(broken));
    catch_unwind(AssertUnwindSafe(|| sim.block_on(scenario))).is_err()
}

#[test]
fn each_runtime_fault_is_found_by_its_scenario() {
    let cases = [
        (Fault::ClockGoesBack, "runtime::clock_advances_and_never_goes_back"),
        (Fault::TimerIgnoresThePast, "runtime::timer_in_the_past_fires"),
        (
            Fault::TimerFiresAtTheLargestInstant,
            "runtime::timer_at_the_largest_instant_stays_pending",
        ),
        (Fault::TimerWakesItsFirstTaskOnly, "runtime::timer_polled_in_one_task_fires_in_another"),
        (Fault::DropsTasks, "runtime::spawned_task_runs_without_being_awaited"),
        (Fault::PollsTasksOnce, "runtime::fifty_tasks_wait_for_each_other"),
        (Fault::RandomIsConstant, "runtime::random_numbers_vary_in_every_bit"),
        (Fault::RandomHasHalfTheBits, "runtime::random_numbers_vary_in_every_bit"),
        (Fault::SkipsProbes, "runtime::unconstrained_runs_its_probe_exactly_once"),
        (Fault::RunsProbesTwice, "runtime::unconstrained_runs_its_probe_exactly_once"),
    ];
    for (fault, scenario) in cases {
        assert!(finds(scenario, fault), "{scenario} does not detect {fault:?}");
        assert!(!finds(scenario, Fault::None), "{scenario} fails without a fault");
    }
}
