//! The conformance suite on smol.

use std::sync::Arc;

use connpool_smol::SmolRuntime;
use connpool_testkit::conformance::Scenario;

fn run(scenario: Scenario) {
    smol::block_on(scenario(Arc::new(SmolRuntime::new())));
}

connpool_testkit::conformance!(run);
