//! A closure that connects is not a manager.

use connpool_tokio::builder;
use tokio::net::TcpStream;

fn main() {
    let _ = builder(|| TcpStream::connect("127.0.0.1:17"));
}
