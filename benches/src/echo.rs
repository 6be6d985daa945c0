//! A server that says what it is told, and the shortest conversation with it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use connpool_core::Connection;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

/// Starts the server on a loopback port, with a thread for each connection, until the process ends.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Ends when the client hangs up; nobody is there to be told of an error.
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// One byte there and back.
pub async fn once(conn: &mut impl Connection) -> io::Result<()> {
    conn.write_all(b"?").await?;
    conn.read_exact(&mut [0]).await
}
