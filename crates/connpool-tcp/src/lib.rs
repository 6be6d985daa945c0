//! The TCP support that connpool's adapter crates share: the manager, the socket options and the
//! liveness probe. Each adapter plugs its runtime in through [`Net`].
//!
//! Not for direct use: `connpool-tokio` and `connpool-smol` re-export what their users need.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod manager;
mod options;
mod peek;
mod race;
mod socket_probe;
mod unprobed;

pub use clock::RecentClock;
pub use manager::{AddressErrors, Net, PingFn, Prepare, Tcp};
pub use options::TcpKeepalive;
pub use peek::peek;
pub use socket_probe::SocketProbe;
pub use socket2::SockRef;
pub use unprobed::remedy_for_unprobed;
