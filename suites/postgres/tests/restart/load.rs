//! Tasks that send requests through a pool until stopped.

use std::collections::BTreeMap;
use std::error::Error;
use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postgres_suite::until::until;
use tokio::task::JoinSet;

use crate::pools::{ENDLESS, QUICK, Requests};

const TASKS: usize = 32;

/// The pause of a task between two requests.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Load {
    name: &'static str,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    over: AtomicBool,
    endless: AtomicBool,
    log: Mutex<Log>,
}

/// What became of the requests.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) served: usize,
    /// When the first success was seen since [`Load::forget_successes`].
    pub(crate) first_success: Option<Instant>,
    pub(crate) failures: Vec<Failed>,
}

pub(crate) struct Failed {
    pub(crate) at: Instant,
    text: String,
}

impl Load {
    pub(crate) fn start<P: Requests>(pool: &P) -> Load {
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (pool, state) = (pool.clone(), Arc::clone(&state));
            tasks.spawn(async move {
                while !state.over.load(Ordering::Relaxed) {
                    let result = pool.request(|| state.query()).await;
                    state.log().add(result.map_err(|error| text_of(&*error)));
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Load { name: P::NAME, state, tasks }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Waits until so many requests were served. None may fail.
    pub(crate) async fn warm_up(&self, requests: usize) {
        let what = format!("{} served {requests} requests", self.name);
        until(&what, async || self.log().served >= requests).await;
        assert_eq!(self.log().failures(), "", "{} fails while the server runs", self.name);
    }

    /// Makes the tasks run queries that do not end, or quick ones again.
    pub(crate) fn set_endless(&self, endless: bool) {
        self.state.endless.store(endless, Ordering::Relaxed);
    }

    /// Makes [`Log::first_success`] the first from now on.
    pub(crate) fn forget_successes(&self) {
        self.log().first_success = None;
    }

    pub(crate) async fn until_served(&self) {
        let what = format!("{} serves again", self.name);
        until(&what, async || self.log().first_success.is_some()).await;
    }

    /// Waits for the requests under way.
    pub(crate) async fn stop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        let Load { name, tasks, .. } = self;
        until(&format!("the tasks of {name} end"), async || match tasks.join_next().await {
            Some(ended) => {
                ended.unwrap_or_else(|error| panic!("a task of {name}: {error}"));
                false
            }
            None => true,
        })
        .await;
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.state.log()
    }
}

impl State {
    fn query(&self) -> &'static str {
        if self.endless.load(Ordering::Relaxed) { ENDLESS } else { QUICK }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

impl Log {
    fn add(&mut self, result: Result<(), String>) {
        let at = Instant::now();
        match result {
            Ok(()) => {
                self.served += 1;
                self.first_success.get_or_insert(at);
            }
            Err(text) => self.failures.push(Failed { at, text }),
        }
    }

    /// Returns the errors, each with how often it occurred.
    pub(crate) fn failures(&self) -> String {
        let mut counts = BTreeMap::<&str, usize>::new();
        for failed in &self.failures {
            *counts.entry(&failed.text).or_default() += 1;
        }
        let lines = counts.iter().map(|(text, count)| format!("{count} times: {text}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn text_of(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
