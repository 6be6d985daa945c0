//! Socket options that a pooled connection should have.

use std::io;
use std::time::Duration;

use socket2::SockRef;

/// The options set on every socket that a TCP manager connects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Send small writes at once. Default: true.
    pub nodelay: bool,
    /// Probes of a silent peer by the kernel. Default: after 60 s, every 10 s, 3 times.
    pub keepalive: Option<TcpKeepalive>,
    /// How long data may stay unacknowledged before the kernel gives up the connection; Linux
    /// only, nothing elsewhere. Default: 30 s.
    ///
    /// Without it a write to a peer that has vanished is retried for a quarter of an hour.
    pub user_timeout: Option<Duration>,
}

/// When and how often the kernel probes a silent peer. Less than a second counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// How long a connection is silent before the first probe. Default: 60 s.
    pub after: Duration,
    /// The time between probes. Default: 10 s.
    pub every: Duration,
    /// After how many unanswered probes the connection is dead. Default: 3; zero counts as one.
    /// On Linux a `user_timeout` decides instead, if there is one.
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
    /// Creates the settings: the silence before the first probe, the time between probes, and the
    /// number of unanswered probes after which the connection is dead.
    pub const fn new(after: Duration, every: Duration, times: u32) -> Self {
        TcpKeepalive {
            after,
            every,
            times,
        }
    }
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        TcpKeepalive {
            after: Duration::from_secs(60),
            every: Duration::from_secs(10),
            times: 3,
        }
    }
}

impl TcpOptions {
    pub(crate) fn apply(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        // An urgent byte that is kept out of the stream would be invisible to a look at it.
        socket.set_out_of_band_inline(true)?;
        if let Some(TcpKeepalive {
            after,
            every,
            times,
        }) = self.keepalive
        {
            // The kernel takes whole seconds, none of them zero and none beyond its limits.
            let seconds = |span: Duration| {
                Duration::from_secs(span.as_secs().clamp(1, LONGEST_PROBE_SECONDS))
            };
            let keepalive = socket2::TcpKeepalive::new()
                .with_time(seconds(after))
                .with_interval(seconds(every))
                .with_retries(times.clamp(1, MOST_PROBES));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Some(limit) = self.user_timeout {
            // To the kernel zero means its own default, and there are 31 bits of milliseconds.
            let limit = limit.clamp(
                Duration::from_millis(1),
                Duration::from_millis(i32::MAX as u64),
            );
            socket.set_tcp_user_timeout(Some(limit))?;
        }
        Ok(())
    }
}

/// Linux, `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` in `include/net/tcp.h`.
const LONGEST_PROBE_SECONDS: u64 = 32_767;
/// Linux, `MAX_TCP_KEEPCNT` in `include/net/tcp.h`.
const MOST_PROBES: u32 = 127;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn connected() -> (TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (
            TcpStream::connect(listener.local_addr().unwrap()).unwrap(),
            listener,
        )
    }

    #[test]
    fn the_defaults_reach_the_socket() {
        let (stream, _listener) = connected();
        TcpOptions::default().apply(SockRef::from(&stream)).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.out_of_band_inline().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(60)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(10)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        #[cfg(target_os = "linux")]
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn the_extremes_are_brought_within_what_the_kernel_takes() {
        for span in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            for times in [0, 1, u32::MAX] {
                let (stream, _listener) = connected();
                let options = TcpOptions {
                    nodelay: false,
                    keepalive: Some(TcpKeepalive {
                        after: span,
                        every: span,
                        times,
                    }),
                    user_timeout: Some(span),
                };
                options.apply(SockRef::from(&stream)).unwrap();
            }
        }
    }
}
