//! An echo server and its client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use connpool_core::Connection;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

/// Starts the server on a loopback port, with a thread per connection. It runs until the process
/// exits.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Ends when the client disconnects. Errors have no receiver.
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

/// Sends a byte and reads one.
pub async fn once(conn: &mut impl Connection) -> io::Result<()> {
    conn.write_all(b"?").await?;
    conn.read_exact(&mut [0]).await
}
