//! The conformance suite on smol.

use std::process::ExitCode;
use std::sync::Arc;

use connpool_conformance::Scenario;
use connpool_smol::SmolRuntime;

fn main() -> ExitCode {
    connpool_conformance::main(&[("smol", run)])
}

fn run(scenario: Scenario) {
    smol::block_on(scenario(Arc::new(SmolRuntime::new())));
}
