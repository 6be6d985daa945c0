//! The server, which answers most requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::{Async, LocalExecutor, Timer};
use socket2::{Domain, SockRef, Socket, Type};

use crate::outcome::Outcome;
use crate::protocol::{Frame, frame, number};

/// A server process, killed on drop.
pub(crate) struct Server {
    pub(crate) address: String,
    process: Child,
}

impl Server {
    pub(crate) fn start() -> Outcome<Server> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut address)?;
        }
        let address = address.trim().to_owned();
        Ok(Server { address, process })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until standard input ends.
pub(crate) fn serve() -> Outcome<()> {
    let port = Port::new()?;
    println!("{}", port.address);
    io::stdout().flush()?;
    let parent = smol::unblock(|| io::stdin().read(&mut [0]));
    let executor = LocalExecutor::new();
    let serve = async {
        loop {
            accept(&port, &executor).await?;
            Timer::after(AWAY).await;
        }
    };
    let until_the_end = async {
        parent.await?;
        Ok(())
    };
    smol::block_on(executor.run(until_the_end.or(serve)))
}

/// How long the port refuses connections.
const AWAY: Duration = Duration::from_millis(20);

/// Longer than any client waits.
const STALL: Duration = Duration::from_millis(300);

/// The interval between the bytes of a slow reply.
const SLOWLY: Duration = Duration::from_millis(1);

/// A port that stays bound while it refuses connections.
struct Port {
    address: SocketAddr,
    _taken: Socket,
}

impl Port {
    fn new() -> io::Result<Port> {
        let taken = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = taken.local_addr()?.as_socket();
        Ok(Port { address: address.ok_or(io::ErrorKind::AddrNotAvailable)?, _taken: taken })
    }

    fn listen(&self) -> io::Result<Async<TcpListener>> {
        let socket = bound(self.address)?;
        socket.listen(1024)?;
        Async::new(socket.into())
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Accepts connections until it is time to refuse them.
async fn accept<'a>(port: &Port, executor: &LocalExecutor<'a>) -> Outcome<()> {
    let listener = port.listen()?;
    loop {
        let (stream, _) = listener.accept().await?;
        if one_in_a_hundred() {
            return Ok(());
        }
        stream.get_ref().set_nodelay(true)?;
        executor
            .spawn(async move {
                // Errors are visible to the clients.
                let _ = answer(stream).await;
            })
            .detach();
    }
}

fn one_in_a_hundred() -> bool {
    rand::random_range(0..100) == 0
}

/// Answers requests until it closes the connection or the client does.
async fn answer(mut stream: Async<TcpStream>) -> io::Result<()> {
    loop {
        let mut request = Frame::default();
        stream.read_exact(&mut request).await?;
        let Some(number) = number(request) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let reply = frame(number);
        match rand::random_range(0..100) {
            // Close.
            0 => return Ok(()),
            // Reset.
            1 => return SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO)),
            // Garbage, instead of the reply or after it.
            2 if rand::random() => stream.write_all(&rand::random::<Frame>()).await?,
            2 => stream.write_all(&[reply, rand::random()].concat()).await?,
            // Stall, and answer after the client's timeout.
            3 => {
                Timer::after(STALL).await;
                stream.write_all(&reply).await?;
            }
            // One byte at a time.
            4 => {
                for byte in reply {
                    stream.write_all(&[byte]).await?;
                    Timer::after(SLOWLY).await;
                }
            }
            _ => stream.write_all(&reply).await?,
        }
    }
}
