//! The socket options of pooled connections.

use std::io;
use std::time::Duration;

use socket2::SockRef;

/// The options that a TCP manager sets on every socket. [`Tcp`](crate::Tcp) has a setter for each.
#[derive(Debug, Clone)]
pub(crate) struct TcpOptions {
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<TcpKeepalive>,
    pub(crate) user_timeout: Option<Duration>,
}

/// The kernel's keepalive probes of a silent peer. Durations have whole seconds; less than 1 s
/// counts as 1 s, more than 32,767 s as 32,767 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// The silence before the first probe. Default: 60 s.
    pub after: Duration,
    /// The time between two probes. Default: 10 s.
    pub every: Duration,
    /// The number of unanswered probes after which the connection is dead, from 1 to 127; values
    /// beyond are clamped. Default: 3. On Linux, a `user_timeout` replaces this limit.
    pub times: u32,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions {
            nodelay: true,
            keepalive: Some(TcpKeepalive::default()),
            user_timeout: Some(Duration::from_secs(30)),
        }
    }
}

impl TcpKeepalive {
    /// Creates the settings from the silence before the first probe, the time between two probes,
    /// and the number of unanswered probes after which the connection is dead.
    pub const fn new(after: Duration, every: Duration, times: u32) -> Self {
        TcpKeepalive { after, every, times }
    }
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        TcpKeepalive { after: Duration::from_secs(60), every: Duration::from_secs(10), times: 3 }
    }
}

impl TcpOptions {
    pub(crate) fn apply(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        // Otherwise an urgent byte would be kept out of the stream, and the liveness probe could
        // not see it.
        socket.set_out_of_band_inline(true)?;
        if let Some(TcpKeepalive { after, every, times }) = self.keepalive {
            // The kernel takes whole seconds and rejects zero and values beyond its maximum.
            let seconds = |span: Duration| {
                Duration::from_secs(span.as_secs().clamp(1, MAX_KEEPALIVE_SECONDS))
            };
            let keepalive = socket2::TcpKeepalive::new()
                .with_time(seconds(after))
                .with_interval(seconds(every))
                .with_retries(times.clamp(1, MAX_KEEPALIVE_PROBES));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(all(any(target_os = "android", target_os = "linux"), not(connpool_portable)))]
        if let Some(limit) = self.user_timeout {
            // Zero would mean the kernel's default. The option has 31 bits of milliseconds.
            let limit =
                limit.clamp(Duration::from_millis(1), Duration::from_millis(i32::MAX as u64));
            socket.set_tcp_user_timeout(Some(limit))?;
        }
        Ok(())
    }
}

/// Linux, `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` in `include/net/tcp.h`.
const MAX_KEEPALIVE_SECONDS: u64 = 32_767;
/// Linux, `MAX_TCP_KEEPCNT` in `include/net/tcp.h`.
const MAX_KEEPALIVE_PROBES: u32 = 127;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn connected() -> (TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener)
    }

    #[test]
    fn default_options_reach_the_socket() {
        let (stream, _listener) = connected();
        TcpOptions::default().apply(SockRef::from(&stream)).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.out_of_band_inline().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        #[cfg(all(target_os = "linux", not(connpool_portable)))]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn extreme_options_are_clamped_to_what_the_kernel_accepts() {
        for span in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            for times in [0, 1, u32::MAX] {
                let (stream, _listener) = connected();
                let options = TcpOptions {
                    nodelay: false,
                    keepalive: Some(TcpKeepalive { after: span, every: span, times }),
                    user_timeout: Some(span),
                };
                options.apply(SockRef::from(&stream)).unwrap();
            }
        }
    }
}
