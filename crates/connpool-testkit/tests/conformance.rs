//! Runs the conformance suite in virtual time, with several schedules.

use std::sync::Arc;

use connpool_testkit::SimRuntime;
use connpool_testkit::conformance::Scenario;

fn run(scenario: Scenario) {
    for seed in 0..3 {
        let sim = SimRuntime::new(seed);
        sim.block_on(scenario(Arc::new(sim.clone())));
        assert_eq!(sim.tasks(), 0);
    }
}

connpool_testkit::conformance!(run);
