//! The tasks of a simulated runtime, and which of them are ready.
//!
//! A wake puts its task into the list of ready tasks, so that a poll costs the same however many
//! tasks wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use connpool_core::BoxFuture;

/// The tasks that have not ended, by number.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: BTreeMap<usize, Task>,
    ready: Arc<Mutex<Vec<usize>>>,
}

struct Task {
    /// `None` while the task is being polled.
    future: Option<BoxFuture>,
    waker: Arc<TaskWaker>,
}

/// Wakes a task. Locks `phase` before `ready`.
pub(super) struct TaskWaker {
    number: usize,
    phase: Mutex<Phase>,
    ready: Arc<Mutex<Vec<usize>>>,
}

/// | from         | event              | to           |
/// |--------------|--------------------|--------------|
/// | Waiting      | woken              | Ready        |
/// | Ready        | its poll starts    | Polled       |
/// | Polled       | woken              | PolledAgain  |
/// | Polled       | its poll ends      | Waiting      |
/// | PolledAgain  | its poll ends      | Ready        |
/// | any          | the task ends      | Ended        |
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    /// In the list of ready tasks, as in no other phase.
    Ready,
    Polled,
    /// Not ready before the poll ends: other tasks may run from within it.
    PolledAgain,
    Ended,
}

impl Tasks {
    pub(super) fn insert(&mut self, number: usize, future: BoxFuture) {
        let ready = Arc::clone(&self.ready);
        let waker = Arc::new(TaskWaker { number, phase: Mutex::new(Phase::Waiting), ready });
        waker.wake_by_ref();
        self.tasks.insert(number, Task { future: Some(future), waker });
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn ready(&self) -> usize {
        lock(&self.ready).len()
    }

    /// Takes the future of one of the ready tasks out for a poll.
    pub(super) fn start_poll(
        &mut self,
        chosen: usize,
    ) -> Option<(usize, BoxFuture, Arc<TaskWaker>)> {
        let number = lock(&self.ready).swap_remove(chosen);
        let task = self.tasks.get_mut(&number)?;
        *lock(&task.waker.phase) = Phase::Polled;
        Some((number, task.future.take()?, Arc::clone(&task.waker)))
    }

    /// Puts the future back after a poll that was pending. Returns it if the task is gone: it shut the
    /// runtime down.
    pub(super) fn end_poll(&mut self, number: usize, future: BoxFuture) -> Option<BoxFuture> {
        let Some(task) = self.tasks.get_mut(&number) else { return Some(future) };
        task.future = Some(future);
        task.waker.poll_ended();
        None
    }

    pub(super) fn remove(&mut self, number: usize) {
        if let Some(task) = self.tasks.remove(&number) {
            *lock(&task.waker.phase) = Phase::Ended;
        }
    }

    /// Removes all tasks, and returns what is to be dropped after unlocking.
    pub(super) fn remove_all(&mut self) -> impl Sized + use<> {
        let tasks = std::mem::take(&mut self.tasks);
        tasks.values().for_each(|task| *lock(&task.waker.phase) = Phase::Ended);
        lock(&self.ready).clear();
        tasks
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut phase = lock(&self.phase);
        *phase = match *phase {
            Phase::Waiting => self.list(),
            Phase::Polled => Phase::PolledAgain,
            other => other,
        };
    }
}

impl TaskWaker {
    fn poll_ended(&self) {
        let mut phase = lock(&self.phase);
        *phase = match *phase {
            Phase::Polled => Phase::Waiting,
            Phase::PolledAgain => self.list(),
            other => other,
        };
    }

    fn list(&self) -> Phase {
        lock(&self.ready).push(self.number);
        Phase::Ready
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
