//! The futures of a manager move between threads.

use std::rc::Rc;

use connpool_tokio::{Manager, StreamOf, TcpConn, TcpManager};

struct Quotes(TcpManager);

impl Manager for Quotes {
    type Connection = TcpConn;
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<TcpConn> {
        let name = Rc::new("quotes");
        let conn = self.0.connect().await;
        println!("{name}");
        conn
    }

    fn stream(&self) -> Option<StreamOf<TcpConn>> {
        Some(|conn| conn)
    }
}

fn main() {}
