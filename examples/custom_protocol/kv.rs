//! The frames of the protocol, and a server that prints its requests.

use std::future::pending;
use std::io;
use std::net::TcpStream;

use connpool_examples::server::Server;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::Async;

/// Writes a frame: the length of the text as a big-endian `u16`, then the text.
pub(crate) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    text: &str,
) -> io::Result<()> {
    let length = u16::try_from(text.len()).map_err(io::Error::other)?;
    // One write: a separate write of the length could become a packet of its own.
    let frame = [&length.to_be_bytes(), text.as_bytes()].concat();
    stream.write_all(&frame).await?;
    stream.flush().await
}

pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    // The peer chooses the length. Two bytes limit it to 64 KiB; four would need an explicit limit.
    let mut text = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut text).await?;
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

pub(crate) fn start_server() -> io::Result<Server> {
    Server::start(serve)
}

/// Answers each frame with a frame that starts with `+`, or with `-` for a refusal.
async fn serve(mut stream: Async<TcpStream>) -> io::Result<()> {
    let mut welcome = false;
    let mut space = "main".to_owned();
    loop {
        let request = read_frame(&mut stream).await?;
        println!("    the server is asked {request:?}");
        let (word, rest) = request.split_once(' ').unwrap_or((&request, ""));
        let answer = match word {
            "HELLO" if rest == "1 sesame" => {
                welcome = true;
                "+welcome".to_owned()
            }
            "HELLO" => "-not this version or token".to_owned(),
            _ if !welcome => "-say hello first".to_owned(),
            "PING" => "+pong".to_owned(),
            "USE" => {
                space = rest.to_owned();
                "+done".to_owned()
            }
            "RESET" => {
                space = "main".to_owned();
                "+done".to_owned()
            }
            "WHERE" => format!("+in {space}"),
            "WAIT" => pending().await,
            "BYE" => return write_frame(&mut stream, "+bye").await,
            _ => format!("-what is {word}?"),
        };
        write_frame(&mut stream, &answer).await?;
    }
}
