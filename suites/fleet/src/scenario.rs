//! The scenarios, each from a backend that is new to a fleet that has recovered.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use connpool_core::Runtime;
use connpool_testkit::SimRuntime;

use crate::backend::{Backend, DeadAddress, Limits, Overflow};
use crate::client::Client;
use crate::record::{Counts, Record};

/// The number of connects that the backend accepts in a second, for a thousand pools.
const ACCEPTS: usize = 500;

/// The number of connects in the backlog of the backend, for a thousand pools: those of a quarter of
/// a second.
const BACKLOG: usize = 128;

/// The number of batches of a rolling deploy, and the time from one to the next. Each batch needs
/// four fifths of what the backend accepts meanwhile.
const BATCHES: usize = 20;
const BATCH_EVERY: Duration = Duration::from_millis(2_500);

/// How long a fleet runs before the event, and at least after its recovery.
const LEAD: Duration = Duration::from_secs(3);
const TAIL: Duration = Duration::from_secs(10);

/// The time after which pools that have not recovered are given up.
const PATIENCE: Duration = Duration::from_secs(180);

/// The size of a fleet, and the seed of its random numbers.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// The number of pools. The limits of the backend are in proportion: with 1,000 pools it accepts 500
    /// connects a second.
    pub pools: usize,
    /// The number of connections of each pool.
    pub size: usize,
    /// The seed of the schedule, the load and the jitter.
    pub seed: u64,
}

/// An event that a fleet has to recover from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// All pools start at once.
    ColdStart,
    /// The backend loses all connections and is back after a second.
    Restart,
    /// The backend loses all connections and is back after a minute.
    Outage,
    /// All clients end and start again, a twentieth of them at a time.
    RollingDeploy,
    /// All pools start at once, and one of five addresses is dead.
    DeadAddress(DeadAddress),
}

/// A scenario that has ended.
#[derive(Debug, Clone)]
pub struct Run {
    pub(crate) fleet: Fleet,
    pub(crate) scenario: Scenario,
    pub(crate) overflow: Overflow,
    pub(crate) counts: Counts,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Scenario; 6] = [
        Scenario::ColdStart,
        Scenario::Restart,
        Scenario::Outage,
        Scenario::RollingDeploy,
        Scenario::DeadAddress(DeadAddress::Refuses),
        Scenario::DeadAddress(DeadAddress::BlackHole),
    ];

    /// Returns whether all pools start at once, with no connection.
    pub(crate) fn is_cold(self) -> bool {
        matches!(self, Scenario::ColdStart | Scenario::DeadAddress(_))
    }

    /// Returns how long the backend is down.
    pub(crate) fn down_for(self) -> Duration {
        match self {
            Scenario::Restart => Duration::from_secs(1),
            Scenario::Outage => Duration::from_secs(60),
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scenario::ColdStart => "cold start",
            Scenario::Restart => "restart of 1 s",
            Scenario::Outage => "outage of 60 s",
            Scenario::RollingDeploy => "rolling deploy",
            Scenario::DeadAddress(DeadAddress::Refuses) => "1 of 5 addresses refuses",
            Scenario::DeadAddress(DeadAddress::BlackHole) => "1 of 5 addresses is silent",
        })
    }
}

impl Fleet {
    /// Returns how many connects the backend accepts in a second.
    pub(crate) fn accepts(&self) -> usize {
        (ACCEPTS * self.pools).div_ceil(1_000)
    }

    /// Returns the time in which the backend accepts all connections of the fleet.
    pub(crate) fn shortest(&self) -> Duration {
        Duration::from_secs_f64((self.pools * self.size) as f64 / self.accepts() as f64)
    }

    fn limits(&self, overflow: Overflow) -> Limits {
        Limits {
            accepts: self.accepts(),
            backlog: (BACKLOG * self.pools).div_ceil(1_000),
            overflow,
            connections: self.pools * self.size,
        }
    }

    /// Runs a scenario in virtual time, until all pools have recovered.
    pub fn run(self, scenario: Scenario, overflow: Overflow) -> Run {
        let sim = SimRuntime::new(self.seed);
        let record = Arc::new(Record::new(self.pools, self.size));
        let backend = Backend::start(&sim, self.limits(overflow), self.pools, &record);
        let stage = Stage { sim: sim.clone(), backend, record: Arc::clone(&record), fleet: self };
        sim.block_on(stage.play(scenario));
        sim.shut_down();
        let counts = record.counts().clone();
        Run { fleet: self, scenario, overflow, counts }
    }
}

/// A fleet and its backend while a scenario runs.
#[derive(Clone)]
struct Stage {
    sim: SimRuntime,
    backend: Arc<Backend>,
    record: Arc<Record>,
    fleet: Fleet,
}

impl Stage {
    async fn play(&self, scenario: Scenario) {
        match scenario {
            Scenario::ColdStart => self.start_cold(),
            Scenario::DeadAddress(how) => {
                self.backend.kill_address(how);
                self.start_cold();
            }
            Scenario::Restart | Scenario::Outage => {
                let _clients = self.set_up().await;
                self.backend.go_down();
                self.sim.sleep(scenario.down_for()).await;
                self.backend.go_up();
                self.all_recover();
            }
            Scenario::RollingDeploy => {
                let clients = self.set_up().await;
                self.deploy(clients).await;
            }
        }
        let recovery = self.sim.elapsed();
        loop {
            self.sim.sleep(Duration::from_secs(1)).await;
            let since = self.sim.elapsed() - recovery;
            if (self.record.is_complete() && since >= TAIL) || since >= PATIENCE {
                return;
            }
        }
    }

    /// Starts all clients at once.
    fn start_cold(&self) {
        self.backend.limit();
        self.record.begin(self.sim.now());
        self.all_recover();
        self.start_clients();
    }

    /// Starts all clients with a backend without limits, and begins to count once they run.
    async fn set_up(&self) -> Vec<Client> {
        self.all_recover();
        let clients = self.start_clients();
        while !self.record.is_complete() {
            self.sim.sleep(Duration::from_millis(100)).await;
        }
        self.sim.sleep(LEAD).await;
        self.backend.limit();
        self.record.begin(self.sim.now());
        clients
    }

    /// Ends all clients and starts them again, batch by batch.
    async fn deploy(&self, clients: Vec<Client>) {
        let batch = clients.len().div_ceil(BATCHES);
        for (nth, batch) in clients.chunks(batch).enumerate() {
            if nth > 0 {
                self.sim.sleep(BATCH_EVERY).await;
            }
            for client in batch {
                self.sim.spawn(Box::pin(self.clone().replace(client.clone())));
            }
        }
    }

    async fn replace(self, client: Client) {
        client.close().await;
        self.record.recovers(client.number(), self.sim.now());
        self.start_client(client.number());
    }

    fn all_recover(&self) {
        (0..self.fleet.pools).for_each(|pool| self.record.recovers(pool, self.sim.now()));
    }

    fn start_clients(&self) -> Vec<Client> {
        (0..self.fleet.pools).map(|pool| self.start_client(pool)).collect()
    }

    fn start_client(&self, number: usize) -> Client {
        Client::start(&self.sim, &self.backend, &self.record, number, self.fleet.size)
    }
}
