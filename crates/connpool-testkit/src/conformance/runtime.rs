//! What a pool takes for granted of its runtime.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use connpool_core::Instant;
use futures_lite::future::poll_once;

use super::host::{Host, MILLI, SHORT};

/// `now`: monotonic, and moving.
pub async fn the_clock_moves_and_never_goes_back(host: Host) {
    let start = host.now();
    let mut last = start;
    let mut read = || {
        let now = host.now();
        assert!(now >= last, "from {last:?} back to {now:?}");
        last = now;
        now
    };
    for _ in 0..1_000 {
        read();
    }
    host.until(|| read() > start).await;
}

/// `now` is one clock, whoever reads it.
pub async fn the_clock_is_the_same_for_all_tasks(host: Host) {
    let before = host.now();
    let clock = host.clone();
    let meanwhile = host.spawn(async move { clock.now() }).await;
    let after = host.now();
    assert!(before <= meanwhile && meanwhile <= after);
    let clock = host.clone();
    let on_a_thread = thread::spawn(move || clock.now()).join().unwrap();
    assert!(after <= on_a_thread && on_a_thread <= host.now());
}

/// `sleep_until` of a moment to come.
pub async fn a_timer_wakes_its_task(host: Host) {
    let at = host.now().checked_add(SHORT).unwrap();
    host.spawn(host.runtime().sleep_until(at)).await;
    // A coarse clock may lag behind the timer, but not for long.
    host.until(|| host.now() >= at).await;
}

/// `sleep_until` of the past and of the present.
pub async fn a_timer_that_is_due_fires(host: Host) {
    host.runtime().sleep_until(Instant::ORIGIN).await;
    host.runtime().sleep_until(host.now()).await;
}

/// `sleep_until` of what is further away than any clock tells.
pub async fn a_timer_at_the_end_of_time_only_waits(host: Host) {
    let mut timer = host.runtime().sleep_until(Instant::from_nanos(u64::MAX));
    assert!(poll_once(&mut timer).await.is_none());
    host.sleep(MILLI).await;
    assert!(poll_once(&mut timer).await.is_none());
}

/// A `get` may be begun in one task and awaited in another, and takes its timer along.
pub async fn a_timer_polled_in_one_task_fires_in_another(host: Host) {
    let at = host.now().checked_add(SHORT).unwrap();
    let mut timer = host.runtime().sleep_until(at);
    // A loaded machine may have been so slow that it has fired.
    if poll_once(&mut timer).await.is_none() {
        host.spawn(timer).await;
    }
}

/// Most timers of a pool never fire.
pub async fn a_thousand_dropped_timers_disturb_nobody(host: Host) {
    for _ in 0..1_000 {
        let at = host.now().checked_add(SHORT).unwrap();
        let mut timer = host.runtime().sleep_until(at);
        let _ = poll_once(&mut timer).await;
    }
    host.sleep(2 * SHORT).await;
}

/// `spawn`: in the background, whether anybody waits or not.
pub async fn a_task_runs_by_itself(host: Host) {
    let runs = Arc::new(AtomicUsize::new(0));
    let task = Arc::clone(&runs);
    host.runtime().spawn(Box::pin(async move {
        task.fetch_add(1, Ordering::SeqCst);
    }));
    host.until(|| runs.load(Ordering::SeqCst) == 1).await;
}

/// `spawn` from within a task; and it returns before the task has run to its end.
pub async fn tasks_wait_for_tasks_they_have_spawned(host: Host) {
    let inner = host.clone();
    let sum = host.spawn(async move {
        let parts = inner.run_tasks(10, |nth| async move { nth }).await;
        parts.into_iter().sum::<usize>()
    });
    assert_eq!(sum.await, 45);
}

/// A chain in which each task waits for the next one: none may keep another from running.
pub async fn fifty_tasks_wait_for_each_other(host: Host) {
    let passed = Arc::new(AtomicUsize::new(0));
    host.run_tasks(50, |nth| {
        let (host, passed) = (host.clone(), Arc::clone(&passed));
        async move {
            host.until(|| passed.load(Ordering::SeqCst) == 49 - nth)
                .await;
            passed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    assert_eq!(passed.load(Ordering::SeqCst), 50);
}

/// A guard that is dropped on a thread of its user's wakes who waits.
pub async fn a_task_is_woken_by_a_thread(host: Host) {
    let left = Arc::new(Mutex::new(None::<Waker>));
    let is_woken = Arc::new(AtomicUsize::new(0));
    let (leave, woken) = (Arc::clone(&left), Arc::clone(&is_woken));
    let job = host.spawn(poll_fn(move |cx| {
        if woken.load(Ordering::SeqCst) == 1 {
            return Poll::Ready(());
        }
        *leave.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }));
    host.until(|| left.lock().unwrap().is_some()).await;
    let thread = thread::spawn(move || {
        is_woken.store(1, Ordering::SeqCst);
        let waker = left.lock().unwrap().take();
        waker.into_iter().for_each(Waker::wake);
    });
    thread.join().unwrap();
    job.await;
}

/// `random`: uniform, so that each bit is both 0 and 1 among a hundred numbers.
pub async fn random_numbers_vary_in_every_bit(host: Host) {
    let draws: Vec<u64> = (0..100).map(|_| host.runtime().random()).collect();
    let ever_set = draws.iter().fold(0, |bits, draw| bits | draw);
    let always_set = draws.iter().fold(u64::MAX, |bits, draw| bits & draw);
    assert_eq!((ever_set, always_set), (u64::MAX, 0), "{draws:x?}");
}

/// `unconstrained`: at once, and once.
pub async fn a_probe_runs_once_and_at_once(host: Host) {
    let mut runs = 0;
    host.runtime().unconstrained(&mut || runs += 1);
    assert_eq!(runs, 1);
}
