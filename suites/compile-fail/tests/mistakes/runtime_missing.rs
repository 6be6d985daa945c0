//! `Pool::builder` takes the runtime of the pool, not that of the program.

use connpool_core::Pool;
use connpool_tokio::TcpManager;

fn main() {
    let _ = Pool::builder(TcpManager::new("127.0.0.1:17"), ());
}
