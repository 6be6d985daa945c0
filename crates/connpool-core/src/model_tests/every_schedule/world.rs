//! A pool in a model, and what its threads do with it.

use std::panic;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::model;
use loom::thread::{self, JoinHandle};

use super::inline::{Hook, Inline, hooked};
use crate::config::builder::Builder;
use crate::error::GetError;
use crate::model_tests::fake::{Act, Fake, Op, Refused, YES};
use crate::pool::close::CloseReport;
use crate::pool::guard::PooledConnection;
use crate::pool::handle::Pool;
use crate::runtime::Runtime;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) const NO: Act = Act { succeeds: false, ..YES };
pub(super) const HANGS: Act = Act { polls: usize::MAX, ..NO };

pub(super) type Guard = PooledConnection<'static, Fake>;

/// Runs `act` in every schedule with at most two preemptions, or as many as `LOOM_MAX_PREEMPTIONS`
/// in the environment says.
pub(super) fn check(act: impl Fn() + Send + Sync + 'static) {
    end_with_the_first_panic();
    let mut builder = model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    let schedules = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&schedules);
    builder.check(move || {
        count.fetch_add(1, Ordering::SeqCst);
        act();
    });
    let schedules = schedules.load(Ordering::SeqCst);
    println!("{schedules} schedules of {:?}", std::thread::current().name());
}

/// Unwinding from a failure would ask loom for locks once more, and a second panic would hide
/// the first.
fn end_with_the_first_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            tell(info);
            std::process::exit(1);
        }));
    });
}

/// The backend says no to the calls of this kind that `no` names, counted from zero.
pub(super) fn says_no(
    op: Op,
    no: impl Fn(usize) -> bool + Send + Sync,
) -> impl Fn(Op) -> Act + Send + Sync {
    let calls = AtomicUsize::new(0);
    move |asked| match asked == op && no(calls.fetch_add(1, Ordering::SeqCst)) {
        true => NO,
        false => YES,
    }
}

/// One pool and what it runs on. Clones are the same world.
#[derive(Clone)]
pub(super) struct World {
    pub(super) runtime: Inline,
    pub(super) pool: Pool<Fake>,
    fake: Fake,
}

impl World {
    /// A pool of at most `max_size` whose backend always says yes, and which checks out without a probe what
    /// has come back once: the ways on which least is done.
    pub(super) fn new(max_size: usize) -> Self {
        let no_look = |builder: Builder<Fake>| builder.liveness_after(None);
        World::with(Inline::default(), max_size, |_| YES, no_look)
    }

    pub(super) fn with(
        runtime: Inline,
        max_size: usize,
        play: impl Fn(Op) -> Act + Send + Sync + 'static,
        change: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
    ) -> Self {
        World::over(Fake::new(false, play), runtime, max_size, change)
    }

    /// A pool whose connections are reset after their return, which takes a second poll.
    pub(super) fn that_resets(max_size: usize) -> Self {
        let resets_wait = |op| if op == Op::Reset { Act { polls: 1, ..YES } } else { YES };
        let no_look = |builder: Builder<Fake>| builder.liveness_after(None);
        World::over(Fake::new(true, resets_wait), Inline::default(), max_size, no_look)
    }

    fn over(
        fake: Fake,
        runtime: Inline,
        max_size: usize,
        change: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
    ) -> Self {
        let builder = fake.pool(runtime.clone()).max_size(max_size);
        let pool = change(builder).build_lazy().expect("legal settings");
        World { runtime, pool, fake }
    }

    /// Runs `act` on a thread of its own.
    pub(super) fn go<T: 'static>(&self, act: impl FnOnce(&World) -> T + 'static) -> JoinHandle<T> {
        let world = self.clone();
        thread::spawn(move || act(&world))
    }

    pub(super) fn get(&self) -> Result<Guard, GetError<Refused>> {
        self.got(self.pool.get_owned())
    }

    pub(super) fn get_within(&self, limit: Duration) -> Result<Guard, GetError<Refused>> {
        self.got(self.pool.get_owned_timeout(limit))
    }

    fn got(
        &self,
        get: impl Future<Output = Result<Guard, GetError<Refused>>>,
    ) -> Result<Guard, GetError<Refused>> {
        let mut got = self.runtime.block_on(get);
        if let Ok(guard) = &mut got {
            guard.check_out();
        }
        got
    }

    pub(super) fn give_back(&self, mut guard: Guard) {
        guard.returned();
        drop(guard);
        self.runtime.run();
    }

    pub(super) fn detach(&self, guard: Guard) {
        self.fake.detach(guard);
        self.runtime.run();
    }

    pub(super) fn hold<const N: usize>(&self) -> [Guard; N] {
        std::array::from_fn(|_| self.get().expect("a connection"))
    }

    pub(super) fn use_one(&self) {
        self.give_back(self.get().expect("a connection"));
    }

    pub(super) fn use_one_unless_closed(&self) {
        match self.get() {
            Ok(guard) => self.give_back(guard),
            Err(GetError::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// A `get` that is dropped after its first poll, and whose waker calls `hook` in the end.
    pub(super) fn give_up(&self, hook: impl Hook) {
        let mut get = Box::pin(self.pool.get_owned());
        let waker = hooked(hook);
        let polled = get.as_mut().poll(&mut Context::from_waker(&waker));
        self.runtime.run();
        drop(waker);
        drop((polled, get));
        self.runtime.run();
    }

    pub(super) fn resize(&self, max_size: usize) {
        self.pool.resize(max_size).expect("a legal size");
        self.runtime.run();
    }

    pub(super) fn clear(&self) {
        self.pool.clear();
        self.runtime.run();
    }

    /// Closes the pool and waits for nothing: `None` if there is something to wait for.
    pub(super) fn close(&self) -> Option<CloseReport> {
        let mut close = pin!(self.pool.close(SECOND));
        // Listens to an event of the pool, and so must not have a waker that switches threads.
        let polled = close.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.runtime.run();
        match polled {
            Poll::Ready(report) => Some(report),
            Poll::Pending => None,
        }
    }

    /// Closes the pool in a task of its own, which leaves the report when its wait is over.
    pub(super) fn begin_to_close(&self) -> Arc<Mutex<Option<CloseReport>>> {
        let report = Arc::new(Mutex::new(None));
        let (place, pool) = (Arc::clone(&report), self.pool.clone());
        self.runtime.spawn(Box::pin(async move {
            let report = pool.close(SECOND).await;
            *place.lock().unwrap() = Some(report);
        }));
        self.runtime.run();
        report
    }

    pub(super) fn assert_at_rest(&self) {
        let stats = self.pool.stats();
        assert!(self.fake.agrees_with(&stats), "{stats}");
        let busy = (stats.active, stats.connecting, stats.waiting);
        assert_eq!(busy, (0, 0, 0), "{stats}");
        assert!(self.fake.peak() <= self.pool.config().max_size, "{stats}");
    }

    /// Asserts that nothing was lost: all of `max_size` can be checked out, and nothing is left behind.
    pub(super) fn end(self) {
        self.assert_at_rest();
        let most = self.pool.config().max_size;
        let borrowed: Vec<_> = (0..most).map(|_| self.get()).collect();
        for got in borrowed {
            self.give_back(got.expect("all of max_size"));
        }
        self.assert_at_rest();
        self.vanish();
    }

    pub(super) fn vanish(self) {
        self.drop_the_pool().assert_nothing_is_left();
    }

    pub(super) fn drop_the_pool(self) -> Gone {
        let World { runtime, pool, fake } = self;
        drop(pool);
        runtime.run();
        Gone { runtime, fake }
    }
}

/// The rest of a world without its pool.
pub(super) struct Gone {
    runtime: Inline,
    fake: Fake,
}

impl Gone {
    pub(super) fn assert_nothing_is_left(&self) {
        assert_eq!(self.fake.alive(), 0);
        assert!(self.runtime.is_idle(), "a task outlives the pool");
    }
}
