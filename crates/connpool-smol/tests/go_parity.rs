//! The tests of parity with the Go library on smol.

use connpool_smol as adapter;
use connpool_smol::SmolRuntime as RealRuntime;
use executor::spawn;

mod executor;
#[path = "../../connpool-tcp/tests/go_parity/mod.rs"]
mod go_parity;
#[path = "../../connpool-tcp/tests/support/mod.rs"]
mod support;

go_parity::go_parity_on!(crate::executor::run);
