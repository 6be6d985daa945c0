//! A suite that cannot fail proves nothing: what is wrong with a runtime is found.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_testkit::SimRuntime;
use connpool_testkit::conformance::SCENARIOS;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing at all.
    None,
    ClockGoesBack,
    TimerForgetsThePast,
    TimerFiresAtTheEndOfTime,
    TimerWakesItsFirstTaskOnly,
    DropsTasks,
    RunsTasksNotFurtherThanTheirFirstAwait,
    AlwaysDrawsTheSame,
    DrawsHalfTheBits,
    NeverProbes,
    ProbesTwice,
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
            Fault::TimerForgetsThePast if at <= self.sim.now() => Box::pin(pending()),
            Fault::TimerFiresAtTheEndOfTime if at.as_nanos() == u64::MAX => Box::pin(async {}),
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
            Fault::RunsTasksNotFurtherThanTheirFirstAwait => {
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
            Fault::AlwaysDrawsTheSame => 4,
            Fault::DrawsHalfTheBits => self.sim.random() >> 32,
            _ => self.sim.random(),
        }
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        match self.fault {
            Fault::NeverProbes => {}
            Fault::ProbesTwice => (0..2).for_each(|_| probe()),
            _ => probe(),
        }
    }
}

/// Whether the scenario finds the fault.
fn finds(scenario: &str, fault: Fault) -> bool {
    let (_, scenario) = SCENARIOS
        .iter()
        .find(|(name, _)| *name == scenario)
        .expect("a scenario of the suite");
    let sim = SimRuntime::new(1);
    let broken = Broken {
        sim: sim.clone(),
        fault,
        reads: AtomicU64::new(0),
    };
    let scenario: Pin<Box<dyn Future<Output = ()> + Send>> = scenario(Arc::new(broken));
    catch_unwind(AssertUnwindSafe(|| sim.block_on(scenario))).is_err()
}

#[test]
fn every_fault_of_a_runtime_is_found_by_the_scenario_made_for_it() {
    let cases = [
        (
            Fault::ClockGoesBack,
            "runtime::the_clock_moves_and_never_goes_back",
        ),
        (
            Fault::TimerForgetsThePast,
            "runtime::a_timer_that_is_due_fires",
        ),
        (
            Fault::TimerFiresAtTheEndOfTime,
            "runtime::a_timer_at_the_end_of_time_only_waits",
        ),
        (
            Fault::TimerWakesItsFirstTaskOnly,
            "runtime::a_timer_polled_in_one_task_fires_in_another",
        ),
        (Fault::DropsTasks, "runtime::a_task_runs_by_itself"),
        (
            Fault::RunsTasksNotFurtherThanTheirFirstAwait,
            "runtime::fifty_tasks_wait_for_each_other",
        ),
        (
            Fault::AlwaysDrawsTheSame,
            "runtime::random_numbers_vary_in_every_bit",
        ),
        (
            Fault::DrawsHalfTheBits,
            "runtime::random_numbers_vary_in_every_bit",
        ),
        (Fault::NeverProbes, "runtime::a_probe_runs_once_and_at_once"),
        (Fault::ProbesTwice, "runtime::a_probe_runs_once_and_at_once"),
    ];
    for (fault, scenario) in cases {
        assert!(finds(scenario, fault), "{fault:?} passes {scenario}");
        assert!(!finds(scenario, Fault::None), "{scenario} finds a fault");
    }
}
