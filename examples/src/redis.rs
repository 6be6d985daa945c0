//! A manager of Redis connections, on any runtime.

use std::io;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard};

use connpool_core::{Connection, Manager, StreamOf};

use crate::resp;

/// Connects to Redis over `tcp`, the `TcpManager` of either runtime, and authenticates.
///
/// To change the password while the pool runs, call [`set_password`](Redis::set_password), then
/// [`Pool::clear`](connpool_core::Pool::clear).
pub struct Redis<T> {
    tcp: T,
    password: Mutex<Option<String>>,
}

impl<T> Redis<T> {
    /// Creates a manager that authenticates with `password`, if there is one.
    pub fn new(tcp: T, password: Option<&str>) -> Self {
        Redis { tcp, password: Mutex::new(password.map(str::to_owned)) }
    }

    /// Sets the password of future connections.
    pub fn set_password(&self, password: &str) {
        *self.password() = Some(password.to_owned());
    }

    fn password(&self) -> MutexGuard<'_, Option<String>> {
        self.password.lock().expect("the lock is not poisoned")
    }
}

impl<T> Manager for Redis<T>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    type Connection = T::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<T::Connection> {
        let mut conn = self.tcp.connect().await?;
        let password = self.password().clone();
        if let Some(password) = password {
            expect(&mut conn, &["AUTH", &password], "OK").await?;
        }
        Ok(conn)
    }

    fn stream(&self) -> Option<StreamOf<T::Connection>> {
        self.tcp.stream()
    }

    // Nothing to say: a connection that its user left unfit is dropped with its guard.
    fn has_close(&self) -> bool {
        false
    }

    async fn ping(&self, conn: &mut T::Connection) -> io::Result<()> {
        expect(conn, &["PING"], "PONG").await
    }

    /// Fails if the connection was left in a transaction or subscribed to a channel: the answer is
    /// then different, and the pool destroys the connection.
    async fn reset(&self, conn: &mut T::Connection) -> io::Result<()> {
        expect(conn, &["UNWATCH"], "OK").await
    }
}

async fn expect(conn: &mut impl Connection, words: &[&str], answer: &str) -> io::Result<()> {
    let reply = resp::exchange(conn, &resp::request(words)).await?;
    if reply == format!("+{answer}\r\n").as_bytes() {
        return Ok(());
    }
    // Name only the command: another word may be the password.
    let command = words.first().unwrap_or(&"");
    let reply = resp::text(&reply);
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{command} was answered with {reply:?} instead of {answer:?}"),
    ))
}

/// The address and password in a URL: `redis://host:port` or `redis://:password@host:port`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// `host:port`.
    pub address: String,
    /// The password, if any.
    pub password: Option<String>,
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let form = "it must be redis://host:port or redis://:password@host:port";
        let rest = url.strip_prefix("redis://").ok_or(form)?;
        let rest = rest.trim_end_matches('/');
        let (password, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user.strip_prefix(':').ok_or(form)?), address),
            None => (None, rest),
        };
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !has_port {
            return Err(form.to_owned());
        }
        Ok(RedisUrl { address: address.to_owned(), password: password.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Option<(String, Option<String>)> {
        let url: RedisUrl = url.parse().ok()?;
        Some((url.address, url.password))
    }

    #[test]
    fn a_url_has_an_address_and_maybe_a_password() {
        let address = || "localhost:6379".to_owned();
        assert_eq!(parsed("redis://localhost:6379"), Some((address(), None)));
        assert_eq!(
            parsed("redis://:s3cr@t@localhost:6379/"),
            Some((address(), Some("s3cr@t".to_owned())))
        );
    }

    #[test]
    fn any_other_url_is_refused() {
        for url in [
            "localhost:6379",
            "rediss://localhost:6379",
            "redis://localhost",
            "redis://:6379",
            "redis://localhost:99999",
            "redis://localhost:6379/3",
            "redis://user:password@localhost:6379",
        ] {
            assert_eq!(parsed(url), None, "{url}");
        }
    }
}
