//! An observer is a closure, or a type that implements `Observer`.

use connpool_tokio::{TcpManager, builder};

struct Metrics;

fn main() {
    let _ = builder(TcpManager::new("127.0.0.1:17")).observer(Metrics);
}
