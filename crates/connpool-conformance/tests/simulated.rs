//! Runs the conformance suite in virtual time, with several schedules.

use std::process::ExitCode;
use std::sync::Arc;

use connpool_conformance::Scenario;
use connpool_testkit::SimRuntime;

fn run(scenario: Scenario) {
    for seed in 0..3 {
        let sim = SimRuntime::new(seed);
        sim.block_on(scenario(Arc::new(sim.clone())));
        assert_eq!(sim.tasks(), 0);
    }
}

fn main() -> ExitCode {
    connpool_conformance::main(&[("simulated", run)])
}
