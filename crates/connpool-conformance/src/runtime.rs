//! The requirements of a pool on its `Runtime`.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use connpool_core::{Instant, Runtime};
use futures_lite::future::poll_once;

use crate::env::{Env, MILLI, SHORT};
use crate::join_handle::JoinHandle;

/// `now` is monotonic and advances.
pub(crate) async fn clock_advances_and_never_goes_back(env: Env) {
    let start = env.now();
    let mut last = start;
    let mut read = || {
        let now = env.now();
        assert!(now >= last, "from {last:?} back to {now:?}");
        last = now;
        now
    };
    for _ in 0..1_000 {
        read();
    }
    env.until(|| read() > start).await;
}

/// `now` reads one clock on every task and thread.
pub(crate) async fn clock_is_shared_by_all_tasks_and_threads(env: Env) {
    let before = env.now();
    let clock = env.clone();
    let in_task = env.spawn(async move { clock.now() }).await;
    let after = env.now();
    assert!(before <= in_task && in_task <= after);
    let clock = env.clone();
    let on_thread = thread::spawn(move || clock.now()).join().unwrap();
    assert!(after <= on_thread && on_thread <= env.now());
}

/// `sleep_until` an instant in the future.
pub(crate) async fn timer_wakes_its_task(env: Env) {
    let at = env.now().checked_add(SHORT).unwrap();
    env.spawn(env.runtime().sleep_until(at)).await;
    // A coarse clock may lag behind the timer, but not for long.
    env.until(|| env.now() >= at).await;
}

/// `sleep_until` the past and the present.
pub(crate) async fn timer_in_the_past_fires(env: Env) {
    env.runtime().sleep_until(Instant::ORIGIN).await;
    env.runtime().sleep_until(env.now()).await;
}

/// `sleep_until` the largest instant neither fires nor panics.
pub(crate) async fn timer_at_the_largest_instant_stays_pending(env: Env) {
    let mut timer = env.runtime().sleep_until(Instant::from_nanos(u64::MAX));
    assert!(poll_once(&mut timer).await.is_none());
    env.sleep(MILLI).await;
    assert!(poll_once(&mut timer).await.is_none());
}

/// A `get` polled first in one task and then in another keeps its timer.
pub(crate) async fn timer_polled_in_one_task_fires_in_another(env: Env) {
    let at = env.now().checked_add(SHORT).unwrap();
    let mut timer = env.runtime().sleep_until(at);
    // On a slow machine the timer may have fired already.
    if poll_once(&mut timer).await.is_none() {
        env.spawn(timer).await;
    }
}

/// Most timers of a pool are dropped before they fire.
pub(crate) async fn dropped_timers_have_no_effect(env: Env) {
    for _ in 0..1_000 {
        let at = env.now().checked_add(SHORT).unwrap();
        let mut timer = env.runtime().sleep_until(at);
        let _ = poll_once(&mut timer).await;
    }
    env.sleep(2 * SHORT).await;
}

/// `spawn` runs the task in the background.
pub(crate) async fn spawned_task_runs_without_being_awaited(env: Env) {
    let runs = Arc::new(AtomicUsize::new(0));
    let task = Arc::clone(&runs);
    env.runtime().spawn(Box::pin(async move {
        task.fetch_add(1, Ordering::SeqCst);
    }));
    env.until(|| runs.load(Ordering::SeqCst) == 1).await;
}

/// `spawn` works inside a task and returns before the new task has ended.
pub(crate) async fn task_can_await_tasks_it_spawned(env: Env) {
    let inner = env.clone();
    let sum = env.spawn(async move {
        let parts = inner.run_tasks(10, |nth| async move { nth }).await;
        parts.into_iter().sum::<usize>()
    });
    assert_eq!(sum.await, 45);
}

/// No task of a chain may block the task that it waits for.
pub(crate) async fn fifty_tasks_wait_for_each_other(env: Env) {
    let passed = Arc::new(AtomicUsize::new(0));
    env.run_tasks(50, |nth| {
        let (env, passed) = (env.clone(), Arc::clone(&passed));
        async move {
            env.until(|| passed.load(Ordering::SeqCst) == 49 - nth).await;
            passed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    assert_eq!(passed.load(Ordering::SeqCst), 50);
}

/// Wakes a task from a thread that does not belong to the runtime.
pub(crate) async fn task_is_woken_from_another_thread(env: Env) {
    let left = Arc::new(Mutex::new(None::<Waker>));
    let is_woken = Arc::new(AtomicUsize::new(0));
    let (leave, woken) = (Arc::clone(&left), Arc::clone(&is_woken));
    let task = env.spawn(poll_fn(move |cx| {
        if woken.load(Ordering::SeqCst) == 1 {
            return Poll::Ready(());
        }
        *leave.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    env.until(|| left.lock().unwrap().is_some()).await;
    let thread = thread::spawn(move || {
        is_woken.store(1, Ordering::SeqCst);
        let waker = left.lock().unwrap().take();
        waker.into_iter().for_each(Waker::wake);
    });
    thread.join().unwrap();
    task.await;
}

/// `random` is uniform: each bit is 0 and 1 at least once among a hundred numbers.
pub(crate) async fn random_numbers_vary_in_every_bit(env: Env) {
    let draws: Vec<u64> = (0..100).map(|_| env.runtime().random()).collect();
    let ever_set = draws.iter().fold(0, |bits, draw| bits | draw);
    let always_set = draws.iter().fold(u64::MAX, |bits, draw| bits & draw);
    assert_eq!((ever_set, always_set), (u64::MAX, 0), "{draws:x?}");
}

/// `unconstrained` calls the probe once, before it returns.
pub(crate) async fn unconstrained_runs_its_probe_exactly_once(env: Env) {
    let mut runs = 0;
    env.runtime().unconstrained(&mut || runs += 1);
    assert_eq!(runs, 1);
}

/// A task that is spawned at home runs on the runtime that `home` names, which never changes.
pub(crate) async fn task_spawned_at_home_runs_there(env: Env) {
    let home = env.runtime().home();
    let runtime = env.shared_runtime();
    let (task, completer) = JoinHandle::new();
    env.runtime().spawn_at_home(Box::pin(async move {
        completer.complete(runtime.current());
    }));
    assert_eq!(task.await, home);
    assert_eq!(env.runtime().home(), home);
}

/// `poll_coop` may make its task yield, but not for ever.
pub(crate) async fn poll_coop_lets_its_task_go_on(env: Env) {
    for _ in 0..1_000 {
        poll_fn(|cx| env.runtime().poll_coop(cx)).await;
    }
}
