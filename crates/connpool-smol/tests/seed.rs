//! The promises of the seed on smol.

use connpool_smol as adapter;
use connpool_smol::SmolRuntime as RealRuntime;
use executor::spawn;

mod executor;
#[path = "../../connpool-tcp/tests/seed/mod.rs"]
mod seed;
#[path = "../../connpool-tcp/tests/support/mod.rs"]
mod support;

seed::promises_on!(crate::executor::run);
