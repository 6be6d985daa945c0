//! A socket that is not wrapped cannot be checked by the pool.

use connpool_tokio::{Manager, StreamOf};
use tokio::net::TcpStream;

struct Quotes;

impl Manager for Quotes {
    type Connection = TcpStream;
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect("127.0.0.1:17").await
    }

    fn stream(&self) -> Option<StreamOf<TcpStream>> {
        Some(|conn| conn)
    }
}

fn main() {}
