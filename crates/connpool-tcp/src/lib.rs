//! What connpool's adapter crates share about TCP: the factory, the socket options and the look
//! into the kernel. The runtime comes in through [`Net`].
//!
//! Not for use on its own: `connpool-tokio` and `connpool-smol` re-export what their users need.

#![forbid(unsafe_code)]

mod clock;
mod manager;
mod options;
mod peek;

pub use clock::RecentClock;
pub use manager::{Net, PingFn, Tcp};
pub use options::{TcpKeepalive, TcpOptions};
pub use peek::peek;
