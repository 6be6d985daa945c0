//! The feature `tracing`: events and spans as a subscriber receives them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_testkit::{Behavior, Call, FaultyManager, SimRuntime};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber that records events and new spans as lines of text. Clones share the lines.
#[derive(Clone)]
struct Recorder {
    max_level: Level,
    lines: Arc<Mutex<Vec<String>>>,
    ids: Arc<AtomicU64>,
}

impl Recorder {
    fn up_to(max_level: Level) -> Self {
        Recorder { max_level, lines: Arc::default(), ids: Arc::default() }
    }

    fn write(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

/// Formats fields as `key=value`.
#[derive(Default)]
struct Fields(Vec<String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push(format!("{}={value:?}", field.name()));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "connpool" && *metadata.level() <= self.max_level
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let name = span.metadata().name();
        self.write(format!("span {name} {}", fields.0.join(" ")));
        Id::from_u64(1 + self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.0.sort();
        let level = event.metadata().level();
        self.write(format!("{level} {}", fields.0.join(" ")));
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn record(max_level: Level, act: impl FnOnce(&SimRuntime, &FaultyManager)) -> Vec<String> {
    let recorder = Recorder::up_to(max_level);
    let sim = SimRuntime::new(1);
    let fake = FaultyManager::new(sim.clone());
    with_default(recorder.clone(), || act(&sim, &fake));
    recorder.take()
}

#[test]
fn each_get_is_a_span_and_each_pool_event_a_tracing_event() {
    let lines = record(Level::TRACE, |sim, fake| {
        let pool = fake.pool().name("orders").build_lazy().unwrap();
        drop(sim.block_on(pool.get()).unwrap());
        pool.clear();
        sim.settle();
    });
    assert_eq!(
        lines,
        [
            r#"span connpool.get pool="orders""#,
            r#"TRACE event="waiting" message=a get has to wait pool="orders""#,
            r#"DEBUG event="opened" id=1 message=opened connection 1 in 0.0ns pool="orders""#,
            r#"TRACE event="lent" id=1 message=checked out connection 1 after 0.0ns pool="orders""#,
            r#"TRACE event="returned" id=1 message=connection 1 returned after 0.0ns pool="orders""#,
            r#"DEBUG event="cleared" message=cleared: connections opened before are not used again pool="orders""#,
            r#"DEBUG event="closed" id=1 message=closed connection 1 (cleared) 0.0ns old pool="orders""#,
        ]
    );
}

#[test]
fn only_failures_are_logged_as_warnings() {
    let lines = record(Level::WARN, |sim, fake| {
        let pool =
            fake.pool().name("orders").max_size(1).ping_after(Duration::ZERO).build_lazy().unwrap();
        fake.next(Call::Connect, [Behavior::Fail]);
        assert!(sim.block_on(pool.get()).is_err());
        sim.advance(Duration::from_secs(1));
        let held = sim.block_on(pool.get()).unwrap();
        assert!(sim.block_on(pool.get_timeout(Duration::from_secs(2))).is_err());
        drop(held);
        connpool_testkit::silence_scripted_panics();
        fake.next(Call::Ping, [Behavior::Panic, Behavior::Fail]);
        drop(sim.block_on(pool.get_many(1)).unwrap());
        drop(sim.block_on(pool.get_many(1)).unwrap());
    });
    let kinds: Vec<_> =
        lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        kinds,
        [
            r#"WARN event="connect_failed""#,
            r#"WARN event="slow_get""#,
            r#"WARN event="panicked""#,
            r#"WARN event="check_failed""#
        ]
    );
}

#[test]
fn panicking_subscriber_changes_nothing() {
    struct Panics;

    impl Subscriber for Panics {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_event()
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn event(&self, _: &Event<'_>) {
            panic!("scripted panic");
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    connpool_testkit::silence_scripted_panics();
    let sim = SimRuntime::new(1);
    let fake = FaultyManager::new(sim.clone());
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    with_default(Panics, || {
        drop(sim.block_on(pool.get_many(2)).unwrap());
        pool.clear();
        sim.settle();
    });
    assert_eq!(fake.alive(), 0);
    assert_eq!(sim.block_on(pool.get_many(2)).unwrap().len(), 2);
}
