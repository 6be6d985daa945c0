use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn clock_advances_only_when_no_task_is_ready() {
    let sim = SimRuntime::new(1);
    sim.block_on(sim.sleep(Duration::from_secs(3600)));
    assert_eq!(sim.elapsed(), Duration::from_secs(3600));
    sim.block_on(async {});
    assert_eq!(sim.elapsed(), Duration::from_secs(3600));
}

#[test]
fn dropped_timer_does_not_stop_the_clock() {
    let sim = SimRuntime::new(1);
    let mut timer = sim.sleep_until(Instant::from_nanos(5));
    assert!(timer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(timer);
    assert_eq!(sim.next_timer(), None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn deadlock_panics() {
    SimRuntime::new(1).block_on(std::future::pending::<()>());
}

#[test]
fn advance_runs_the_tasks_that_timers_wake() {
    let sim = SimRuntime::new(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for seconds in [3, 1, 2] {
        let (sim_, seen) = (sim.clone(), Arc::clone(&seen));
        sim.spawn(Box::pin(async move {
            sim_.sleep(Duration::from_secs(seconds)).await;
            seen.lock().unwrap().push(seconds);
        }));
    }
    sim.advance(Duration::from_secs(2));
    assert_eq!(*seen.lock().unwrap(), [1, 2]);
    assert_eq!(sim.tasks(), 1);
}

/// Yields once: pending at the first poll, which wakes the task.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn always_ready_future_starves_no_task() {
    let sim = SimRuntime::new(1);
    let done = Arc::new(AtomicBool::new(false));
    let task = Arc::clone(&done);
    sim.spawn(Box::pin(async move {
        yield_once().await;
        task.store(true, Ordering::SeqCst);
    }));
    sim.block_on(async {
        while !done.load(Ordering::SeqCst) {
            yield_once().await;
        }
    });
}

#[test]
fn task_woken_during_its_poll_is_polled_again() {
    let sim = SimRuntime::new(1);
    let inside = sim.clone();
    sim.spawn(Box::pin(async move {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            // Running other tasks from within a task does not consume its wake-up.
            inside.settle();
            Poll::<()>::Ready(())
        })
        .await;
        yield_once().await;
    }));
    sim.settle();
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn task_order_follows_from_the_seed() {
    let order = |seed| {
        let sim = SimRuntime::new(seed);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for task in 0..20 {
            let seen = Arc::clone(&seen);
            sim.spawn(Box::pin(async move { seen.lock().unwrap().push(task) }));
        }
        sim.settle();
        std::mem::take(&mut *seen.lock().unwrap())
    };
    assert_eq!(order(7), order(7));
    assert_ne!(order(7), order(8));
}

#[test]
fn trace_hash_follows_from_seed_and_tasks() {
    let trace = |seed, tasks: u64| {
        let sim = SimRuntime::new(seed);
        for task in 0..tasks {
            let sim_ = sim.clone();
            sim.spawn(Box::pin(async move {
                sim_.sleep(Duration::from_nanos(task)).await;
            }));
        }
        sim.advance(Duration::from_secs(1));
        sim.trace_hash()
    };
    assert_eq!(trace(7, 9), trace(7, 9));
    assert_ne!(trace(7, 9), trace(8, 9));
    assert_ne!(trace(7, 9), trace(7, 8));
}

#[test]
fn task_woken_twice_is_polled_once() {
    let sim = SimRuntime::new(1);
    let polls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&polls);
    sim.spawn(Box::pin(poll_fn(move |cx| {
        seen.lock().unwrap().push(cx.waker().clone());
        Poll::<()>::Pending
    })));
    sim.settle();
    let waker = polls.lock().unwrap()[0].clone();
    waker.wake_by_ref();
    waker.wake();
    sim.settle();
    assert_eq!(polls.lock().unwrap().len(), 2);
    sim.shut_down();
    polls.lock().unwrap().drain(..).for_each(Waker::wake);
    assert!(!sim.run_one(), "a task that is gone is not ready");
}
