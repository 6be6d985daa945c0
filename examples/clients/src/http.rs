//! HTTP/1 with hyper: a `SendRequest`, whose driver task owns the socket.
//!
//! [`fetch`] sends a request. The body of its response holds the connection until it has been read.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use connpool_tokio::{
    Liveness, Manager, Pool, PooledConnection, SocketProbe, StreamOf, TcpManager,
};
use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HeaderMap};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;

/// Connects HTTP/1 clients over TCP.
#[derive(Debug)]
pub struct Http {
    tcp: TcpManager,
}

/// A client, and what its last response said about the connection.
#[derive(Debug)]
pub struct HttpConn {
    sender: SendRequest<Full<Bytes>>,
    socket: SocketProbe,
    /// The server, or hyper, closes the connection after this response.
    closes: bool,
    keep_alive: Option<Duration>,
}

/// The error of the manager.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Of the socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Of the protocol.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Http {
    /// Creates a manager that connects through `tcp`.
    pub fn new(tcp: TcpManager) -> Self {
        Http { tcp }
    }
}

impl Manager for Http {
    type Connection = HttpConn;
    type Error = HttpError;

    async fn connect(&self) -> Result<HttpConn, HttpError> {
        let stream = self.tcp.connect().await?;
        let socket = SocketProbe::new(stream.get_ref())?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        // On the runtime of the pool, where connects run: that of a caller may end sooner. The driver ends
        // with the sender.
        tokio::spawn(driver);
        Ok(HttpConn { sender, socket, closes: false, keep_alive: None })
    }

    // The driver task owns the stream.
    fn stream(&self) -> Option<StreamOf<HttpConn>> {
        None
    }

    // The driver may still be sending the request, if the response came early: `is_ready` in `is_reusable`
    // would destroy good connections.
    async fn reset(&self, conn: &mut HttpConn) -> Result<(), HttpError> {
        Ok(conn.sender.ready().await?)
    }

    fn liveness(&self, conn: &mut HttpConn) -> Liveness {
        if conn.sender.is_closed() { Liveness::Closed } else { conn.socket.liveness() }
    }

    // A connection that closes is not broken: a failed reset would be held against the server.
    fn is_reusable(&self, conn: &mut HttpConn) -> bool {
        !conn.closes && !conn.sender.is_closed()
    }

    fn expires_in(&self, conn: &HttpConn) -> Option<Duration> {
        conn.keep_alive
    }
}

impl HttpConn {
    /// Sends a request and waits for the head of its response. If nothing of the request was written, the
    /// error contains it.
    ///
    /// # Errors
    ///
    /// If the connection fails, or was closed.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let response = self.sender.try_send_request(request).await?;
        self.closes = response.version() < Version::HTTP_11
            || token(response.headers(), CONNECTION.as_str(), "close").is_some();
        let timeout = token(response.headers(), "keep-alive", "timeout");
        self.keep_alive = timeout.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        Ok(response)
    }
}

/// Returns the value of a token in a header such as `timeout=5, max=100`, empty for a token without one.
fn token<'a>(headers: &'a HeaderMap, header: &str, name: &str) -> Option<&'a str> {
    let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    let mut tokens = values.flat_map(|value| value.split(',')).map(|token| {
        let (name, value) = token.split_once('=').unwrap_or((token, ""));
        (name.trim(), value.trim())
    });
    tokens.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Sends a request over a connection of the pool, and returns the response with a body that holds it.
///
/// # Errors
///
/// If the pool has no connection, or the request fails.
///
/// # Cancel safety
///
/// If the future is dropped, the request may have been sent, and its connection is destroyed.
pub async fn fetch(
    pool: &Pool<Http>,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<PooledBody>, Box<dyn Error + Send + Sync>> {
    loop {
        let mut conn = pool.get_owned().await?;
        let is_reused = conn.uses() > 1;
        match conn.exchange(async |conn| conn.send(request).await).await {
            Ok(response) => return Ok(response.map(|body| PooledBody::new(body, conn))),
            // The server has closed the connection since the probe, and nothing of the request was written.
            Err(mut error) => match error.take_message() {
                Some(unsent) if is_reused => request = unsent,
                _ => return Err(error.into_error().into()),
            },
        }
    }
}

/// A body that holds its connection until it has been read to the end.
///
/// If it is dropped before, its connection is destroyed: the rest may be long, and the server may send it
/// slowly.
#[derive(Debug)]
pub struct PooledBody {
    body: Incoming,
    conn: Option<PooledConnection<'static, Http>>,
}

impl PooledBody {
    fn new(body: Incoming, conn: PooledConnection<'static, Http>) -> Self {
        let conn = Some(conn).filter(|_| !body.is_end_stream());
        PooledBody { body, conn }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let is_end = match &frame {
            Poll::Pending => false,
            Poll::Ready(None) => true,
            // An error may seem to be the end.
            Poll::Ready(Some(frame)) => frame.is_ok() && self.body.is_end_stream(),
        };
        if is_end {
            self.conn = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        if let Some(conn) = &mut self.conn {
            conn.mark_unusable();
        }
    }
}
