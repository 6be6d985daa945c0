//! Errors: kinds, texts, sources and conversions.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::support::{Behavior, Call, MILLI, SECOND, ScriptedError, hold, new, spawn};
use connpool_core::{BuildError, GetError, PoolConfig};

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
    assert!(format!("{connect_error:?}").starts_with("Connect(ScriptedError("));
    let panicked = sim.block_on(pool.get()).unwrap_err();
    assert!(format!("{panicked:?}").starts_with("Panicked { step: \"connect\", message: "));
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
    let panicked = sim.block_on(get(SECOND)).unwrap_err();
    let held = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(get(MILLI)).unwrap_err();
    let exhausted = io::Error::from(pool.try_get().unwrap_err());
    drop(held);
    sim.block_on(pool.close(SECOND));
    let closed = sim.block_on(get(SECOND)).unwrap_err();
    let other = GetError::Connect(Arc::new(io::Error::from(ErrorKind::ConnectionReset)));
    let kinds = [&connect_error, &panicked, &timeout, &exhausted, &closed, &other.into()]
        .map(io::Error::kind);
    let expected = [
        ErrorKind::Other,
        ErrorKind::Other,
        ErrorKind::TimedOut,
        ErrorKind::WouldBlock,
        ErrorKind::NotConnected,
        ErrorKind::ConnectionReset,
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
    let connect_error = BuildError::Connect(Arc::new(ScriptedError(7)));
    let cause = connect_error.source().map(ToString::to_string);
    assert_eq!(cause, Some(ScriptedError(7).to_string()));
    let invalid = BuildError::<ScriptedError>::from(config.validate().unwrap_err());
    assert!(invalid.source().is_some());
    let panicked = BuildError::<ScriptedError>::Panicked("too hot".to_owned());
    assert!(panicked.source().is_none());
    let texts = [
        (invalid, "max_size is 0: it must be at least 1"),
        (connect_error, "cannot connect: refused"),
        (panicked, "connect panicked: too hot"),
        (BuildError::Timeout, "use build_lazy"),
        (BuildError::NoRuntime, "build the pool inside of a running one"),
    ];
    for (error, text) in texts {
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn waiter_beyond_the_counted_queue_positions_is_counted_as_waiting() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let _waiters: Vec<_> = (0..1_024).map(|_| spawn(&sim, pool.get_owned())).collect();
    sim.settle();
    let error = sim.block_on(pool.get_timeout(SECOND)).unwrap_err();
    let GetError::Timeout { diagnosis, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((diagnosis.queue_position, diagnosis.waiting), (None, 1_025));
}
