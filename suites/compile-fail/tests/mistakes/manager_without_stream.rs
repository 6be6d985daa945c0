//! A manager must say where its stream is, or that its socket is out of reach.

use connpool_tokio::{Manager, TcpConn, TcpManager};

struct Quotes(TcpManager);

impl Manager for Quotes {
    type Connection = TcpConn;
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<TcpConn> {
        self.0.connect().await
    }
}

fn main() {}
