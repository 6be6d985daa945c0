//! What errors say of themselves.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::support::{Behavior, Call, MILLI, SECOND, ScriptedError, go, hold, new};
use connpool_core::{BuildError, GetError, PoolConfig};

#[test]
fn get_error_kinds_are_distinguishable() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let lent = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(pool.get_timeout(MILLI)).unwrap_err();
    let exhausted = pool.try_get().unwrap_err();
    drop(lent);
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
    let refused = sim.block_on(pool.get()).unwrap_err();
    assert!(format!("{refused:?}").starts_with("Connect(ScriptedError("));
    let panicked = sim.block_on(pool.get()).unwrap_err();
    assert!(format!("{panicked:?}").starts_with("Panicked { step: \"connect\", message: "));
    let lent = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(pool.get_timeout(MILLI)).unwrap_err();
    assert!(format!("{timeout:?}").starts_with("Timeout { phase: Wait, diagnosis: Diagnosis {"));
    let exhausted = pool.try_get().unwrap_err();
    assert!(format!("{exhausted:?}").starts_with("Exhausted(Diagnosis {"));
    drop(lent);
    let closed: GetError<ScriptedError> = GetError::Closed;
    assert_eq!(format!("{closed:?}"), "Closed");
}

#[test]
fn get_error_converts_to_io_error_and_keeps_its_text() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let through = async |limit| -> io::Result<u64> { Ok(pool.get_timeout(limit).await?.id()) };
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Panic]);
    let refused = sim.block_on(through(SECOND)).unwrap_err();
    let panicked = sim.block_on(through(SECOND)).unwrap_err();
    let lent = sim.block_on(pool.get()).unwrap();
    let timeout = sim.block_on(through(MILLI)).unwrap_err();
    let exhausted = io::Error::from(pool.try_get().unwrap_err());
    drop(lent);
    sim.block_on(pool.close(SECOND));
    let closed = sim.block_on(through(SECOND)).unwrap_err();
    let other = GetError::Connect(Arc::new(io::Error::from(ErrorKind::ConnectionReset)));
    let kinds = [
        &refused,
        &panicked,
        &timeout,
        &exhausted,
        &closed,
        &other.into(),
    ]
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
    let inside = timeout.get_ref().and_then(|inside| inside.downcast_ref());
    assert!(inside.is_some_and(GetError::<ScriptedError>::is_timeout));
    assert!(timeout.to_string().contains("1 of 1 in use"), "{timeout}");
}

#[test]
fn build_errors_name_the_cause_or_the_remedy() {
    let mut wrong = PoolConfig::default();
    wrong.max_size = 0;
    let refused = BuildError::Connect(Arc::new(ScriptedError(7)));
    let cause = refused.source().map(ToString::to_string);
    assert_eq!(cause, Some(ScriptedError(7).to_string()));
    let config = BuildError::<ScriptedError>::from(wrong.validate().unwrap_err());
    assert!(config.source().is_some());
    let panicked = BuildError::<ScriptedError>::Panicked("too hot".to_owned());
    assert!(panicked.source().is_none());
    let texts = [
        (config, "max_size is 0: it must be at least 1"),
        (refused, "cannot connect: refused"),
        (panicked, "connect panicked: too hot"),
        (BuildError::Timeout, "use build_lazy"),
        (
            BuildError::NoRuntime,
            "build the pool inside of a running one",
        ),
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
    let _others: Vec<_> = (0..1_024).map(|_| go(&sim, pool.get_owned())).collect();
    sim.settle();
    let error = sim.block_on(pool.get_timeout(SECOND)).unwrap_err();
    let GetError::Timeout { diagnosis, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((diagnosis.queue_position, diagnosis.waiting), (None, 1_025));
}
