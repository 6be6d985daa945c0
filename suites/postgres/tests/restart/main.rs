//! A real PostgreSQL restarts under load, with connpool, bb8 and deadpool on the same server in the
//! same run. Without PostgreSQL the test is left out.
//!
//! To see the figures: `cargo test -p postgres-suite -- --nocapture`.

#![cfg(unix)]

mod load;
mod pools;

use std::time::{Duration, Instant};

use postgres_suite::server::PostgresServer;
use postgres_suite::until::until;
use suites::requirement::Requirement;
use tokio_postgres::Client;

use crate::load::{Load, Log};
use crate::pools::{CONNECTIONS, ENDLESS};

/// How long the server is down.
const DOWN: Duration = Duration::from_secs(1);

/// How long failures are counted after all pools serve again.
const AFTER: Duration = Duration::from_secs(1);

/// A longer outage may be told to callers: less than the default of `fail_fast_after`.
const LONGEST: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_fails_no_more_requests_than_with_bb8_and_none_once_the_server_is_back() {
    if !Requirement::Postgres.is_met() {
        return;
    }
    // On a very busy machine PostgreSQL may take seconds to start.
    for _ in 0..5 {
        let restart = Restart::under_load().await;
        restart.print();
        if restart.outage() < LONGEST {
            return restart.check();
        }
    }
    panic!("no restart took less than {LONGEST:?}: the machine is too busy");
}

/// Waits until so many connections are in a query that does not end.
async fn until_in_a_query(watcher: &Client, connections: usize) {
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{ENDLESS}'"
    );
    let what = format!("{connections} connections are in a query");
    until(&what, async || {
        let row = watcher.query_one(&count, &[]).await.expect("asking for the queries");
        row.get::<_, i64>(0) == connections as i64
    })
    .await;
}

/// What became of the requests around a restart.
struct Restart {
    loads: [Load; 3],
    stopping: Instant,
    stopped: Instant,
    starting: Instant,
    /// When the server accepted a client again.
    back: Instant,
}

impl Restart {
    async fn under_load() -> Restart {
        let mut server = PostgresServer::create();
        server.start().await;
        let watcher = server.client().await;
        let mut loads = [
            Load::start(&pools::connpool(server.config()).await),
            Load::start(&pools::bb8(server.config()).await),
            Load::start(&pools::deadpool(server.config())),
        ];
        for load in &loads {
            load.warm_up(100).await;
        }

        // Equally many requests are under way in each pool then. With quick queries their number, and
        // so the number of failures, would differ by chance.
        loads.iter().for_each(|load| load.set_endless(true));
        until_in_a_query(&watcher, loads.len() * CONNECTIONS).await;
        let stopping = Instant::now();
        server.stop().await;
        let stopped = Instant::now();
        loads.iter().for_each(|load| load.set_endless(false));
        tokio::time::sleep(DOWN).await;
        loads.iter().for_each(Load::forget_successes);
        let starting = Instant::now();
        server.start().await;
        let back = Instant::now();

        for load in &loads {
            load.until_served().await;
        }
        tokio::time::sleep(AFTER).await;
        for load in &mut loads {
            load.stop().await;
        }
        Restart { loads, stopping, stopped, starting, back }
    }

    fn outage(&self) -> Duration {
        self.back - self.stopping
    }

    fn print(&self) {
        let stop = self.stopped - self.stopping;
        let start = self.back - self.starting;
        println!("PostgreSQL: stopped in {stop:.0?}, down for {DOWN:?}, started in {start:.0?}");
        println!("| pool | requests | failed | last failure | first success |");
        println!("|---|---|---|---|---|");
        for load in &self.loads {
            println!("| {} | {} |", load.name(), self.row(&load.log()));
        }
    }

    /// Returns the cells of the table, with times relative to the return of the server.
    fn row(&self, log: &Log) -> String {
        let relative = |at: Option<Instant>| match at {
            None => "none".to_owned(),
            Some(at) if at < self.back => format!("{} ms before", (self.back - at).as_millis()),
            Some(at) => format!("{} ms after", (at - self.back).as_millis()),
        };
        let failed = log.failures.len();
        let last = relative(log.failures.iter().map(|failed| failed.at).max());
        let first = relative(log.first_success);
        format!("{} | {failed} | {last} | {first}", log.served + failed)
    }

    fn check(&self) {
        let (connpool, bb8) = (self.loads[0].log(), self.loads[1].log());
        let (failed, most) = (connpool.failures.len(), bb8.failures.len() + 2);
        let errors = connpool.failures();
        assert!(failed <= most, "{failed} requests failed instead of at most {most}:\n{errors}");
        let late = connpool.failures.iter().filter(|failed| failed.at >= self.back).count();
        assert_eq!(late, 0, "requests failed after the server was back:\n{errors}");
    }
}
