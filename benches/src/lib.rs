//! What the benchmarks stand on: the [`Lane`] that they run in, the [`Subject`] that they measure,
//! the [`Crowd`] that uses it, and an [echo server](echo::start) for it to talk to.

#![forbid(unsafe_code)]

mod crowd;
pub mod echo;
pub mod figures;
mod lane;
mod subject;

pub use crowd::{Crowd, Hold};
pub use lane::{Lane, Smol, Tokio};
pub use subject::Subject;
