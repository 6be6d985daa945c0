use std::time::Duration;

use crate::config::{Breaker, PoolConfig};

fn error_of(change: impl FnOnce(&mut PoolConfig)) -> String {
    let mut config = PoolConfig::default();
    change(&mut config);
    config.validate().expect_err("should not be allowed").to_string()
}

#[test]
fn every_error_names_the_field_the_value_and_the_rule() {
    type Change = fn(&mut PoolConfig);
    let cases: [(Change, &str); 13] = [
        (|c| c.max_size = 0, "max_size is 0: it must be at least 1"),
        (|c| c.min_size = 11, "min_size is 11: it must be at most max_size, which is 10"),
        (|c| c.increment = 0, "increment is 0: it must be at least 1"),
        (|c| c.lifetime_jitter = 1.5, "lifetime_jitter is 1.5: it must lie between 0.0 and 1.0"),
        (
            |c| c.lifetime_jitter = f64::NAN,
            "lifetime_jitter is NaN: it must lie between 0.0 and 1.0",
        ),
        (
            |c| (c.min_size, c.max_idle) = (3, Some(2)),
            "max_idle is 2: it must be at least min_size, which is 3",
        ),
        (|c| c.min_idle = 11, "min_idle is 11: it must be at most max_size, which is 10"),
        (
            |c| (c.min_idle, c.max_idle) = (3, Some(2)),
            "min_idle is 3: it must be at most max_idle, which is 2",
        ),
        (|c| c.max_uses = Some(0), "max_uses is 0: it must be at least 1, or None"),
        (|c| c.max_connecting = Some(0), "max_connecting is 0: it must be at least 1, or None"),
        (
            |c| c.breaker = Some(Breaker { failures: 0, ..Breaker::default() }),
            "breaker.failures is 0: it must be at least 1, or breaker None",
        ),
        (
            |c| c.backoff.first = Duration::from_secs(6),
            "backoff.first is 6s: it must be at most backoff.max, which is 5s",
        ),
        (|c| c.backoff.factor = 0.5, "backoff.factor is 0.5: it must be a number of at least 1.0"),
    ];
    for (change, text) in cases {
        assert_eq!(error_of(change), text);
    }
}

#[test]
fn the_extremes_of_every_duration_and_number_are_legal() {
    for span in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let mut config = PoolConfig::default();
        for field in [
            &mut config.idle_timeout,
            &mut config.max_lifetime,
            &mut config.evict_interval,
            &mut config.get_timeout,
            &mut config.connect_timeout,
            &mut config.ping_timeout,
            &mut config.reset_timeout,
            &mut config.close_timeout,
            &mut config.abandon_timeout,
            &mut config.ping_after,
            &mut config.liveness_after,
            &mut config.slow_get_warning,
            &mut config.leak_warning,
            &mut config.keepalive,
        ] {
            *field = Some(span);
        }
        (config.backoff.first, config.backoff.max) = (span, span);
        config.breaker = Some(Breaker { failures: u32::MAX, probe_every: span });
        config.max_size = usize::MAX;
        config.increment = usize::MAX;
        config.max_waiters = Some(0);
        config.max_idle = Some(0);
        assert_eq!(config.validate(), Ok(()));
    }
}
