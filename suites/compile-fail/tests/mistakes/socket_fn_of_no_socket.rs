//! `socket_fn` takes only what the kernel knows.

use connpool_tokio::socket_fn;

fn main() {
    let _ = socket_fn(|| async { Ok::<_, std::io::Error>(tokio::io::duplex(64).0) });
}
