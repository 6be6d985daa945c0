//! Outages of the backend: which callers hear of them, when the pool probes, and how it recovers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_core::{
    BuildError, ConnectError, GetError, Manager, Pool, PoolConfig, Severity, StreamOf,
};
use connpool_testkit::SimRuntime;

use crate::support::{
    Behavior, Call, Conn, Fake, Job, MILLI, SECOND, ScriptedError, fill, hold, new, spawn,
    spawn_get,
};

const MINUTE: Duration = Duration::from_secs(60);

/// One get of a caller.
#[derive(Debug, Clone, Copy)]
struct Answer {
    asked: Duration,
    answered: Duration,
    is_ok: bool,
}

impl Answer {
    fn waited(self) -> Duration {
        self.answered - self.asked
    }
}

type Answers = Arc<Mutex<Vec<Answer>>>;

/// Spawns callers that get a connection again and again until `end`. They use one for 5 ms, and
/// pause for 100 ms after an error.
fn spawn_callers<M: Manager>(
    sim: &SimRuntime,
    pool: &Pool<M>,
    count: usize,
    end: Duration,
) -> Answers {
    let answers = Answers::default();
    for _ in 0..count {
        let (sim_, pool, answers) = (sim.clone(), pool.clone(), Arc::clone(&answers));
        drop(spawn(sim, async move {
            while sim_.elapsed() < end {
                let asked = sim_.elapsed();
                let got = pool.get().await;
                let answer = Answer { asked, answered: sim_.elapsed(), is_ok: got.is_ok() };
                answers.lock().unwrap().push(answer);
                let pause = if answer.is_ok { 5 } else { 100 };
                sim_.sleep(pause * MILLI).await;
            }
        }));
    }
    answers
}

fn failures(answers: &Answers) -> Vec<Answer> {
    answers.lock().unwrap().iter().copied().filter(|answer| !answer.is_ok).collect()
}

/// The connections of the backend are dead from now on, and connects behave as `connect`.
fn take_down(fake: &Fake, connect: Behavior) {
    fake.hang_up_all();
    fake.always(Call::Connect, connect);
}

/// Returns the highest number of connects within any second from `start` on.
fn max_per_second(fake: &Fake, start: Duration) -> usize {
    let at: Vec<_> = fake.connects_at().into_iter().filter(|at| *at >= start).collect();
    let within = |from: Duration| at.iter().filter(|at| (from..from + SECOND).contains(at)).count();
    at.iter().map(|from| within(*from)).max().unwrap_or(0)
}

fn ended<T>(jobs: &[Job<T>]) -> usize {
    jobs.iter().filter(|job| job.has_ended()).count()
}

// ---- a restart

#[test]
fn restart_of_one_second_fails_no_request_with_default_settings() {
    for seed in 0..10 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(8).build_lazy().unwrap();
        let answers = spawn_callers(&sim, &pool, 32, 6 * SECOND);
        sim.advance(SECOND);
        assert_eq!(pool.stats().size, 8);
        take_down(&fake, Behavior::Fail);
        sim.advance(SECOND);
        fake.clear_script();
        let back = sim.elapsed();
        sim.advance(5 * SECOND);
        assert!(failures(&answers).is_empty(), "seed {seed}: {:?}", failures(&answers));
        let answers = answers.lock().unwrap();
        let first = answers.iter().map(|answer| answer.answered).find(|at| *at >= back).unwrap();
        assert!(first - back <= 300 * MILLI, "seed {seed}: {first:?}");
        assert!(max_per_second(&fake, SECOND) <= 20, "seed {seed}");
    }
}

/// No connection was used yet, so none has proved good.
#[test]
fn restart_between_build_and_the_first_get_fails_none() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_size(4).build()).unwrap();
    take_down(&fake, Behavior::Fail);
    let job = spawn_get(&sim, &pool);
    sim.advance(500 * MILLI);
    assert!(!job.has_ended());
    fake.clear_script();
    sim.advance(300 * MILLI);
    assert!(job.take().is_some_and(|got| got.is_ok()));
}

// ---- a pool that was never connected

#[test]
fn first_error_of_a_pool_that_never_connected_is_told_at_once() {
    let (sim, fake) = new(1);
    fake.always(Call::Connect, Behavior::Fail);
    let pool = fake.pool().build_lazy().unwrap();
    let jobs: Vec<_> = (0..20).map(|_| spawn_get(&sim, &pool)).collect();
    for job in jobs {
        assert!(matches!(job.take(), Some(Err(GetError::Connect(ConnectError::Failed(_))))));
    }
    let built = sim.block_on(fake.pool().min_size(1).build());
    assert!(matches!(built, Err(BuildError::Connect(ConnectError::Failed(_)))));
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn build_with_fail_fast_after_none_ends_soon_after_a_late_backend_is_up() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        fake.always(Call::Connect, Behavior::Fail);
        let build = spawn(&sim, fake.pool().min_size(4).fail_fast_after(None).build());
        sim.advance(500 * MILLI);
        assert!(!build.has_ended());
        fake.clear_script();
        sim.advance(300 * MILLI);
        let pool = build.take().expect("still connecting").unwrap();
        assert_eq!(pool.stats().available, 4, "seed {seed}");
    }
}

#[test]
fn cold_start_at_a_server_limit_fails_no_get() {
    for delay in [MILLI, 100 * MILLI] {
        let (sim, fake) = new(1);
        let refused = Behavior::FailAfter(delay);
        let opened = Behavior::Take(delay);
        // The eleventh, twelfth .. connection is refused, and the answers mix.
        let starts = (0..20).map(|nth| if nth % 2 == 0 { refused } else { opened });
        fake.next(Call::Connect, starts).always(Call::Connect, refused);
        let pool = fake.pool().max_size(20).build_lazy().unwrap();
        let answers = spawn_callers(&sim, &pool, 40, 2 * SECOND);
        sim.advance(2 * SECOND);
        assert!(failures(&answers).is_empty(), "{:?}", failures(&answers));
    }
}

// ---- a long outage

/// A backend that fails for three minutes.
#[derive(Debug, Clone, Copy)]
struct Outage {
    connect: Behavior,
    max_size: usize,
    /// A caller keeps one connection throughout.
    holds_one: bool,
    /// The longest time from the end of the outage to the first connection.
    recovers_within: Duration,
}

fn run_outage(outage: Outage, seed: u64) {
    let (sim, fake) = new(seed);
    let case = format!("{outage:?}, seed {seed}");
    let pool = fake.pool().max_size(outage.max_size).build_lazy().unwrap();
    fill(&sim, &pool, outage.max_size);
    let held = hold(&sim, &pool, usize::from(outage.holds_one));
    sim.advance(10 * SECOND);
    let start = sim.elapsed();
    let end = start + 3 * MINUTE;
    let answers = spawn_callers(&sim, &pool, 4, end + 10 * SECOND);
    take_down(&fake, outage.connect);
    sim.advance(3 * MINUTE);
    let max = max_per_second(&fake, start);
    assert!(max <= 20, "{max} connects in a second; {case}");
    fake.clear_script();
    sim.advance(10 * SECOND);
    drop(held);
    let told = failures(&answers);
    let first = told.iter().map(|told| told.answered - start).min().expect("no caller was told");
    assert!(first >= 3 * SECOND, "told after {first:?}; {case}");
    let answers = answers.lock().unwrap().clone();
    for answer in answers.iter().filter(|answer| answer.asked >= start && answer.asked < end) {
        let since = answer.asked - start;
        if since >= 6 * SECOND && answer.asked + 50 * MILLI < end {
            assert!(answer.waited() <= 50 * MILLI, "at {since:?}: {answer:?}; {case}");
        }
        assert!(answer.waited() <= 6 * SECOND, "at {since:?}: {answer:?}; {case}");
    }
    assert!(answers.iter().any(|answer| answer.is_ok && answer.answered >= end), "{case}");
    let opens = fake.connects_at().into_iter().find(|at| *at >= end);
    let recovered = opens.expect("never connected again") - end;
    assert!(recovered <= outage.recovers_within, "recovered after {recovered:?}; {case}");
    let last = told.iter().map(|told| told.answered).max().unwrap();
    assert!(last <= end + outage.recovers_within, "told at {last:?}; {case}");
}

/// Any probe finds the backend as it then is.
const REFUSES: Outage = Outage {
    connect: Behavior::Fail,
    max_size: 8,
    holds_one: false,
    recovers_within: Duration::from_millis(1_100),
};

const HANGS: Outage = Outage { connect: Behavior::Hang, ..REFUSES };

#[test]
fn three_minutes_of_refused_connects_are_told_within_50_ms() {
    for seed in 0..5 {
        run_outage(REFUSES, seed);
        run_outage(Outage { max_size: 1, ..REFUSES }, seed);
        run_outage(Outage { connect: Behavior::FailAfter(300 * MILLI), ..REFUSES }, seed);
    }
}

#[test]
fn three_minutes_of_hanging_connects_are_told_within_50_ms() {
    for seed in 0..5 {
        run_outage(HANGS, seed);
        // The last connect that hangs holds the only slot until connect_timeout.
        run_outage(Outage { max_size: 1, recovers_within: 6 * SECOND, ..HANGS }, seed);
    }
}

#[test]
fn three_minutes_of_connects_that_are_accepted_and_closed_are_told_within_50_ms() {
    for seed in 0..5 {
        run_outage(Outage { connect: Behavior::HangUp, ..REFUSES }, seed);
    }
}

#[test]
fn held_connection_does_not_keep_an_outage_from_callers() {
    for seed in 0..5 {
        run_outage(Outage { holds_one: true, ..REFUSES }, seed);
        run_outage(Outage { holds_one: true, ..HANGS }, seed);
    }
}

#[test]
fn waiters_and_new_callers_are_told_once_connects_have_failed_for_three_seconds() {
    for connect in [Behavior::Fail, Behavior::Hang] {
        let (sim, fake) = new(1);
        let pool = fake.pool().build_lazy().unwrap();
        fill(&sim, &pool, 4);
        take_down(&fake, connect);
        let jobs: Vec<_> = (0..20).map(|_| spawn_get(&sim, &pool)).collect();
        sim.advance(2_900 * MILLI);
        assert_eq!(ended(&jobs), 0, "{connect:?}");
        sim.advance(300 * MILLI);
        assert_eq!(ended(&jobs), 20, "{connect:?}");
        let late = spawn_get(&sim, &pool);
        assert!(matches!(late.take(), Some(Err(GetError::Connect(_)))), "{connect:?}");
    }
}

#[test]
fn ping_of_the_only_connection_by_a_get_keeps_others_from_being_told() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).ping_after(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Fail);
    // A caller has long been waiting in vain, and connects have failed for longer than five seconds.
    let held = hold(&sim, &pool, 1);
    let in_vain = spawn_get(&sim, &pool);
    sim.advance(8 * SECOND);
    assert!(in_vain.has_ended());
    drop(held);
    sim.advance(2 * SECOND);
    fake.next(Call::Ping, [Behavior::Take(80 * MILLI)]);
    let pings = spawn(&sim, pool.get_owned_timeout(10 * SECOND));
    sim.advance(20 * MILLI);
    let waits = spawn_get(&sim, &pool);
    sim.advance(40 * MILLI);
    assert!(!waits.has_ended(), "told although the connection may come back");
    sim.advance(40 * MILLI);
    let conn = pings.take().unwrap().unwrap();
    assert!(!waits.has_ended(), "told although the connection has just proved alive");
    drop(conn);
    sim.settle();
    assert!(waits.take().is_some_and(|got| got.is_ok()));
}

#[test]
fn outage_shorter_than_five_seconds_is_over_300_ms_after_its_end() {
    for (seed, tenths) in (0..).zip(1..50) {
        let (sim, fake) = new(seed);
        let pool = fake.pool().fail_fast_after(None).build_lazy().unwrap();
        fill(&sim, &pool, 8);
        take_down(&fake, Behavior::Fail);
        let job = spawn_get(&sim, &pool);
        sim.advance(tenths * 100 * MILLI);
        fake.clear_script();
        sim.advance(300 * MILLI);
        assert!(job.take().is_some_and(|got| got.is_ok()), "after {tenths} tenths of a second");
    }
}

// ---- old failures

#[test]
fn failure_of_an_hour_ago_is_told_to_no_caller() {
    for connect in [Behavior::Fail, Behavior::Hang] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(8).build_lazy().unwrap();
        fill(&sim, &pool, 8);
        take_down(&fake, connect);
        let start = sim.elapsed();
        let answers = spawn_callers(&sim, &pool, 4, start + MINUTE);
        sim.advance(MINUTE + 10 * SECOND);
        assert!(!failures(&answers).is_empty());
        sim.advance(60 * MINUTE);
        fake.clear_script();
        let answers = spawn_callers(&sim, &pool, 20, sim.elapsed() + SECOND);
        sim.advance(2 * SECOND);
        assert!(failures(&answers).is_empty(), "{connect:?}: {:?}", failures(&answers));
        assert!(answers.lock().unwrap().len() > 20);
    }
}

#[test]
fn failed_connect_of_an_hour_ago_leaves_the_patience_with_the_next_outage() {
    for seed in 0..5 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(8).build_lazy().unwrap();
        fill(&sim, &pool, 7);
        let held = hold(&sim, &pool, 7);
        fake.always(Call::Connect, Behavior::Fail);
        assert!(sim.block_on(pool.get_timeout(10 * MILLI)).is_err());
        drop(held);
        for _ in 0..60 {
            sim.advance(MINUTE);
            drop(hold(&sim, &pool, 7));
        }
        let answers = spawn_callers(&sim, &pool, 7, sim.elapsed() + 5 * SECOND);
        sim.advance(SECOND);
        take_down(&fake, Behavior::Fail);
        sim.advance(SECOND);
        fake.clear_script();
        sim.advance(5 * SECOND);
        assert!(failures(&answers).is_empty(), "seed {seed}: {:?}", failures(&answers));
    }
}

// ---- a full server

/// A server that refuses more than `limit` connections.
struct Limited {
    fake: Fake,
    limit: usize,
}

impl Manager for Limited {
    type Connection = Conn;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<Conn, ScriptedError> {
        if self.fake.alive() >= self.limit {
            self.fake.next(Call::Connect, [Behavior::Fail]);
        }
        self.fake.connect().await
    }

    fn stream(&self) -> Option<StreamOf<Conn>> {
        self.fake.stream()
    }
}

#[test]
fn server_limit_below_max_size_fails_no_get_while_connections_come_back() {
    for seed in 0..3 {
        let (sim, fake) = new(seed);
        let limited = Limited { fake: fake.clone(), limit: 10 };
        let pool = Pool::builder(limited, sim.clone()).max_size(20).build_lazy().unwrap();
        let answers = spawn_callers(&sim, &pool, 40, 20 * SECOND);
        sim.advance(21 * SECOND);
        assert!(failures(&answers).is_empty(), "seed {seed}: {:?}", failures(&answers));
        assert_eq!(pool.stats().size, 10);
        // Connects succeed until the server is full, all in the first moment.
        assert!(max_per_second(&fake, MILLI) <= 20, "seed {seed}");
    }
}

// ---- permanent errors

/// A backend that refuses a password for good while `is_wrong`.
#[derive(Clone)]
struct Login {
    fake: Fake,
    is_wrong: Arc<AtomicBool>,
}

impl Login {
    fn new(fake: &Fake) -> Self {
        Login { fake: fake.clone(), is_wrong: Arc::default() }
    }

    fn set_wrong(&self, is_wrong: bool) {
        self.is_wrong.store(is_wrong, Ordering::SeqCst);
    }
}

impl Manager for Login {
    type Connection = Conn;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<Conn, ScriptedError> {
        if self.is_wrong.load(Ordering::SeqCst) {
            self.fake.next(Call::Connect, [Behavior::Fail]);
        }
        self.fake.connect().await
    }

    fn stream(&self) -> Option<StreamOf<Conn>> {
        self.fake.stream()
    }

    fn severity(&self, _: &ScriptedError) -> Severity {
        Severity::Permanent
    }
}

/// Returns a pool that was connected and whose password is now wrong, and that has no connection.
fn pool_with_a_wrong_password(sim: &SimRuntime, login: &Login, min_size: usize) -> Pool<Login> {
    let builder = Pool::builder(login.clone(), sim.clone()).min_size(min_size).max_size(4);
    let pool = builder.build_lazy().unwrap();
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    login.set_wrong(true);
    login.fake.hang_up_all();
    sim.advance(10 * SECOND);
    pool
}

#[test]
fn permanent_error_is_told_at_once_and_nothing_is_dialled_unasked() {
    for min_size in [0, 2] {
        let (sim, fake) = new(1);
        let login = Login::new(&fake);
        let pool = pool_with_a_wrong_password(&sim, &login, min_size);
        let start = sim.elapsed();
        for _ in 0..20 {
            assert!(matches!(sim.block_on(pool.get()), Err(GetError::Connect(_))));
        }
        assert_eq!(sim.elapsed(), start, "min_size {min_size}");
        sim.settle();
        let before = fake.calls(Call::Connect);
        sim.advance(60 * MINUTE);
        assert_eq!(fake.calls(Call::Connect), before, "min_size {min_size}");
        assert!(sim.block_on(pool.get()).is_err());
        sim.settle();
        assert_eq!(fake.calls(Call::Connect), before + 1, "min_size {min_size}");
    }
}

#[test]
fn permanent_error_is_tried_at_most_once_per_largest_backoff() {
    let (sim, fake) = new(1);
    let login = Login::new(&fake);
    let pool = pool_with_a_wrong_password(&sim, &login, 0);
    let start = sim.elapsed();
    let answers = spawn_callers(&sim, &pool, 4, start + MINUTE);
    sim.advance(MINUTE);
    let told = failures(&answers);
    assert!(told.iter().all(|told| told.waited() <= 50 * MILLI));
    let at: Vec<_> = fake.connects_at().into_iter().filter(|at| *at >= start).collect();
    let pauses: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() >= 10, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause >= 5 * SECOND), "{pauses:?}");
}

#[test]
fn clear_and_reconfigure_end_the_pause_after_a_permanent_error() {
    let end_by: [fn(&Pool<Login>); 2] =
        [Pool::clear, |pool| pool.reconfigure(PoolConfig::default()).unwrap()];
    for end in end_by {
        let (sim, fake) = new(1);
        let login = Login::new(&fake);
        let pool = pool_with_a_wrong_password(&sim, &login, 0);
        assert!(sim.block_on(pool.get()).is_err());
        login.set_wrong(false);
        assert!(sim.block_on(pool.get()).is_err());
        let start = sim.elapsed();
        end(&pool);
        assert!(sim.block_on(pool.get()).is_ok());
        assert_eq!(sim.elapsed(), start);
    }
}

#[test]
fn one_permanent_error_beside_an_open_connection_stops_nothing() {
    let (sim, fake) = new(1);
    let login = Login::new(&fake);
    let pool = Pool::builder(login.clone(), sim.clone()).max_size(4).build_lazy().unwrap();
    let held = sim.block_on(pool.get()).unwrap();
    login.set_wrong(true);
    let job = spawn(&sim, pool.get_owned());
    sim.settle();
    login.set_wrong(false);
    assert!(!job.has_ended());
    sim.advance(250 * MILLI);
    assert!(job.take().is_some_and(|got| got.is_ok()));
    drop(held);
}

// ---- clear, pause and resume

#[test]
fn clear_in_a_loop_keeps_to_twenty_connects_per_second() {
    let slow = [1, 5, 20, 100, 700].map(|millis| Behavior::FailAfter(millis * MILLI));
    let in_vain = [Behavior::Fail, Behavior::Hang, Behavior::Take(30 * MILLI)];
    for connect in slow.into_iter().chain(in_vain) {
        let (sim, fake) = new(1);
        let pool = fake.pool().build_lazy().unwrap();
        fill(&sim, &pool, 4);
        take_down(&fake, connect);
        sim.advance(2 * SECOND);
        let start = sim.elapsed();
        let _answers = spawn_callers(&sim, &pool, 4, start + 10 * SECOND);
        for _ in 0..10_000 {
            pool.clear();
            sim.advance(MILLI);
        }
        let max = max_per_second(&fake, start);
        assert!((1..=20).contains(&max), "{max} connects in a second; {connect:?}");
    }
}

#[test]
fn clear_in_a_loop_against_a_slow_handshake_serves_within_a_second_afterwards() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 4);
    fake.always(Call::Connect, Behavior::Take(200 * MILLI));
    let job = spawn_get(&sim, &pool);
    drop(job.take());
    let start = sim.elapsed();
    let answers = spawn_callers(&sim, &pool, 4, start + 12 * SECOND);
    for _ in 0..10_000 {
        pool.clear();
        sim.advance(MILLI);
    }
    let end = sim.elapsed();
    sim.advance(SECOND);
    let answers = answers.lock().unwrap();
    assert!(answers.iter().any(|answer| answer.is_ok && answer.answered > end));
}

#[test]
fn nothing_is_dialled_while_paused() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_size(4).evict_interval(SECOND).build()).unwrap();
    pool.pause();
    fake.hang_up_all();
    let waiters: Vec<_> = (0..8).map(|_| spawn_get(&sim, &pool)).collect();
    let before = fake.calls(Call::Connect);
    sim.advance(5 * SECOND);
    pool.clear();
    sim.advance(4 * SECOND);
    assert_eq!(fake.calls(Call::Connect), before);
    assert_eq!(ended(&waiters), 0);
    pool.resume();
    sim.settle();
    assert_eq!(ended(&waiters), 8);
}

// ---- extremes

#[test]
fn largest_increment_and_max_size_open_connections_in_bounded_batches() {
    let builder = |fake: &Fake| fake.pool().increment(usize::MAX).max_size(usize::MAX);
    let (sim, fake) = new(1);
    fake.always(Call::Connect, Behavior::Fail);
    let pool = builder(&fake).build_lazy().unwrap();
    assert!(matches!(sim.block_on(pool.get()), Err(GetError::Connect(_))));
    sim.advance(10 * SECOND);
    assert!(max_per_second(&fake, Duration::ZERO) <= 20);

    let (sim, fake) = new(1);
    fake.always(Call::Connect, Behavior::Take(MILLI));
    let pool = builder(&fake).max_connecting(300).build_lazy().unwrap();
    let job = spawn_get(&sim, &pool);
    assert_eq!(pool.stats().connecting, 256, "an increment is one batch at most");
    sim.advance(MILLI);
    assert!(job.take().is_some_and(|got| got.is_ok()));
}

// ---- keepalive

#[test]
fn get_during_a_keepalive_ping_of_the_only_connection_waits_while_connects_fail() {
    for fail_fast_after in [Duration::ZERO, 3 * SECOND] {
        let (sim, fake) = new(1);
        let builder = fake.pool().max_size(4).keepalive(SECOND).fail_fast_after(fail_fast_after);
        let pool = builder.build_lazy().unwrap();
        let held = hold(&sim, &pool, 1);
        fake.always(Call::Connect, Behavior::Fail).always(Call::Ping, Behavior::Take(500 * MILLI));
        let jobs: Vec<_> = (0..4).map(|_| spawn_get(&sim, &pool)).collect();
        sim.advance(9 * SECOND);
        drop(held);
        drop(jobs);
        let mut pings = 0;
        for _ in 0..100 {
            sim.advance(73 * MILLI);
            pings += usize::from(pool.stats().active > 0);
            let got = sim.block_on(pool.get());
            assert!(got.is_ok(), "{fail_fast_after:?}: {}", got.unwrap_err());
            drop(got);
            if sim.elapsed().as_millis() % 2 == 0 {
                sim.advance(1_300 * MILLI);
            }
        }
        assert!(pings > 0, "no get came during a ping");
    }
}
