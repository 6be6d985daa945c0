//! Errors: kinds, texts, sources and conversions.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Behavior, Call, MILLI, SECOND, ScriptedError, hold, new, spawn};
use connpool_core::{
    BuildError, Builder, CloseReason, ConnectError, Event, GetError, Manager, Pool, PoolConfig,
    StreamOf, object_fn,
};
use connpool_testkit::SimRuntime;

#[test]
fn get_error_kinds_are_distinguishable() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(pool.get_timeout(MILLI)).unwrap_err();
    let exhausted = pool.try_get().unwrap_err();
    drop(held);
    sim.block_on(pool.close(SECOND));
    let closed = sim.block_on(pool.get()).unwrap_err();
    let kinds = [timeout, exhausted, closed].map(|error| (error.is_timeout(), error.is_closed()));
    assert_eq!(kinds, [(true, false), (false, false), (false, true)]);
}

#[test]
fn get_error_debug_output_names_variant_and_diagnosis() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Panic]);
    let connect_error = sim.block_on(pool.get()).unwrap_err();
    assert!(format!("{connect_error:?}").starts_with("Connect(Failed(refused"));
    // The pool probes once more for the caller that was told.
    sim.advance(500 * MILLI);
    let panicked = sim.block_on(pool.get()).unwrap_err();
    assert_eq!(format!("{panicked:?}"), "Connect(Panicked)");
    sim.advance(SECOND);
    let held = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(pool.get_timeout(MILLI)).unwrap_err();
    assert!(format!("{timeout:?}").starts_with("Timeout { phase: Wait, diagnosis: Diagnosis {"));
    let exhausted = pool.try_get().unwrap_err();
    assert!(format!("{exhausted:?}").starts_with("Exhausted(Diagnosis {"));
    drop(held);
    let closed: GetError<ScriptedError> = GetError::Closed;
    assert_eq!(format!("{closed:?}"), "Closed");
}

#[test]
fn get_error_converts_to_io_error_and_keeps_its_text() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let get = async |limit| -> io::Result<u64> { Ok(pool.get_timeout(limit).await?.id()) };
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Panic]);
    let connect_error = sim.block_on(get(SECOND)).unwrap_err();
    sim.advance(500 * MILLI);
    let panicked = sim.block_on(get(SECOND)).unwrap_err();
    sim.advance(SECOND);
    let held = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(get(MILLI)).unwrap_err();
    let exhausted = io::Error::from(pool.try_get().unwrap_err());
    drop(held);
    sim.block_on(pool.close(SECOND));
    let closed = sim.block_on(get(SECOND)).unwrap_err();
    let others = [
        ConnectError::Failed(Arc::new(io::Error::from(ErrorKind::ConnectionReset))),
        ConnectError::TimedOut,
        ConnectError::DeadOnArrival(CloseReason::Dead),
    ];
    let [reset, slow, dead] = others.map(|error| io::Error::from(GetError::Connect(error)));
    let all = [&connect_error, &panicked, &timeout, &exhausted, &closed, &reset, &slow, &dead];
    let kinds = all.map(io::Error::kind);
    let expected = [
        ErrorKind::Other,
        ErrorKind::Other,
        ErrorKind::TimedOut,
        ErrorKind::WouldBlock,
        ErrorKind::NotConnected,
        ErrorKind::ConnectionReset,
        ErrorKind::TimedOut,
        ErrorKind::ConnectionAborted,
    ];
    assert_eq!(kinds, expected);
    let inner = timeout.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(inner.is_some_and(GetError::<ScriptedError>::is_timeout));
    assert!(timeout.to_string().contains("1 of 1 in use"), "{timeout}");
}

#[test]
fn build_errors_name_the_cause_or_the_remedy() {
    let mut config = PoolConfig::default();
    config.max_size = 0;
    let connect_error = BuildError::Connect(ConnectError::Failed(Arc::new(ScriptedError(7))));
    assert_eq!(connect_error.connect_error(), Some(&ScriptedError(7)));
    let invalid = BuildError::<ScriptedError>::from(config.validate().unwrap_err());
    let panicked = BuildError::<ScriptedError>::Connect(ConnectError::Panicked);
    assert_eq!(panicked.connect_error(), None);
    let texts = [
        (invalid, "max_size is 0: it must be at least 1"),
        (connect_error, "cannot connect: refused"),
        (panicked, "cannot connect: it panicked"),
        (BuildError::Timeout, "use build_lazy"),
        (BuildError::NoRuntime, "build the pool inside of a running one"),
    ];
    for (error, text) in texts {
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// The error of a client that keeps its password in a field.
#[derive(Debug)]
struct LoginError {
    _dsn: &'static str,
    cause: io::Error,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "login failed")
    }
}

impl Error for LoginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

fn login_error() -> LoginError {
    LoginError { _dsn: "user:secret@host", cause: io::Error::other("wrong password") }
}

/// Returns a builder whose connects fail with a [`LoginError`].
fn failing_logins(sim: &SimRuntime) -> Builder<impl Manager<Connection = u8, Error = LoginError>> {
    Pool::builder(object_fn(|| async { Err(login_error()) }), sim.clone())
}

/// Connects, and fails each ping with a [`LoginError`].
struct FailingPings;

impl Manager for FailingPings {
    type Connection = u8;
    type Error = LoginError;

    async fn connect(&self) -> Result<u8, LoginError> {
        Ok(1)
    }

    fn stream(&self) -> Option<StreamOf<u8>> {
        None
    }

    async fn ping(&self, _: &mut u8) -> Result<(), LoginError> {
        Err(login_error())
    }
}

/// What events printed.
type Texts = Arc<Mutex<Vec<String>>>;

/// Returns an observer that keeps in `texts` what events of one kind and failed checks print.
fn debug_log(texts: &Texts, label: &'static str) -> impl Fn(&str, &Event<'_>) + use<> {
    let kept = Arc::clone(texts);
    move |_: &str, event: &Event<'_>| {
        if event.label() == label {
            kept.lock().unwrap().push(format!("{event:?} {event:#?} {event}"));
        }
        if let Event::CheckFailed { check, .. } = event {
            kept.lock().unwrap().push(format!("{check:?} {check:#?} {check}"));
        }
    }
}

/// Asserts that each text has the `Display` of a [`LoginError`] and not its `Debug`.
#[track_caller]
fn assert_tell_no_secret(texts: &[String]) {
    for text in texts {
        assert!(text.contains("login failed") && !text.contains("secret"), "{text}");
    }
}

/// Returns the text of an error with all its sources, as an error reporter prints it.
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[test]
fn source_chain_prints_each_cause_once() {
    let (sim, _) = new(1);
    let pool = failing_logins(&sim).build_lazy().unwrap();
    let connect = sim.block_on(pool.get()).unwrap_err();
    let build = sim.block_on(failing_logins(&sim).min_size(1).build()).unwrap_err();
    let patient = failing_logins(&sim).fail_fast_after(None).build_lazy().unwrap();
    let timeout = sim.block_on(patient.get_timeout(SECOND)).unwrap_err();
    assert!(timeout.is_timeout());
    let connect_error = ConnectError::Failed(Arc::new(login_error()));
    let io_error = io::Error::from(connect.clone());
    let mut config = PoolConfig::default();
    config.max_size = 0;
    let invalid: BuildError<LoginError> = config.validate().unwrap_err().into();
    assert_eq!(chain(&connect), "cannot connect: login failed: wrong password");
    assert_eq!(chain(&connect_error), "login failed: wrong password");
    assert_eq!(chain(&build), chain(&connect));
    assert_eq!(chain(&io_error), chain(&connect));
    assert_eq!(chain(&invalid), invalid.to_string());
    for cause in ["login failed", "wrong password"] {
        assert_eq!(chain(&timeout).matches(cause).count(), 1, "{}", chain(&timeout));
    }
}

#[test]
fn debug_output_never_contains_the_debug_output_of_the_managers_error() {
    let (sim, _) = new(1);
    let texts = Texts::default();
    let pool =
        failing_logins(&sim).observer(debug_log(&texts, "connect_failed")).build_lazy().unwrap();
    let connect = sim.block_on(pool.get()).unwrap_err();
    let exhausted = pool.try_get().unwrap_err();
    let patient = failing_logins(&sim).fail_fast_after(None).build_lazy().unwrap();
    let timeout = sim.block_on(patient.get_timeout(SECOND)).unwrap_err();
    let build = sim.block_on(failing_logins(&sim).min_size(1).build()).unwrap_err();
    let connect_error = ConnectError::Failed(Arc::new(login_error()));
    let mut texts = std::mem::take(&mut *texts.lock().unwrap());
    assert!(!texts.is_empty());
    for error in [connect, exhausted, timeout] {
        texts.push(format!("{error:?} {error:#?} {:?}", io::Error::from(error.clone())));
    }
    texts.push(format!("{build:?} {build:#?} {connect_error:?} {connect_error:#?}"));
    assert_tell_no_secret(&texts);
    assert!(format!("{:?}", login_error()).contains("secret"));
}

#[test]
fn debug_output_of_a_failed_check_never_contains_the_debug_output_of_its_error() {
    let (sim, _) = new(1);
    let texts = Texts::default();
    let pool = Pool::builder(FailingPings, sim.clone())
        .max_size(1)
        .ping_after(Duration::ZERO)
        .observer(debug_log(&texts, "check_failed"))
        .build_lazy()
        .unwrap();
    drop(sim.block_on(pool.get()).unwrap());
    let _held = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(pool.get_timeout(SECOND)).unwrap_err();
    let GetError::Timeout { diagnosis, .. } = &timeout else {
        panic!("{timeout}");
    };
    let check = diagnosis.last_failed_check.as_ref().unwrap();
    let mut texts = std::mem::take(&mut *texts.lock().unwrap());
    assert_eq!(texts.len(), 2);
    texts.push(format!("{check:?} {check:#?} {diagnosis:?} {diagnosis:#?}"));
    texts.push(format!("{timeout:?} {timeout:#?} {:?}", io::Error::from(timeout.clone())));
    assert_tell_no_secret(&texts);
}

#[test]
fn waiter_beyond_the_counted_queue_positions_is_counted_as_waiting() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let _waiters: Vec<_> = (0..128).map(|_| spawn(&sim, pool.get_owned())).collect();
    sim.settle();
    let error = sim.block_on(pool.get_timeout(SECOND)).unwrap_err();
    let GetError::Timeout { diagnosis, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((diagnosis.queue_position, diagnosis.waiting), (None, 129));
}
