//! PostgreSQL with tokio-postgres: a `Client`, whose driver task owns the socket. Without TLS.
//!
//! Run queries in an [`exchange_with`](connpool_tokio::PooledConnection::exchange_with) and [`judge`]. A query
//! that is given up is then cancelled at the server, and counts against `max_size` until it has ended, but
//! not longer than `abandon_timeout`. One that the server refuses leaves its connection usable.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use connpool_tokio::{CloseReason, Liveness, Manager, Severity, SocketProbe, StreamOf, TcpManager};
use tokio::time::timeout;
use tokio_postgres::error::{Severity as DbSeverity, SqlState};
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use tokio_util::task::AbortOnDropHandle;

/// Resets a session. Unlike `DISCARD ALL` it ends a transaction, and keeps prepared statements: the client
/// goes on using those by which it looks up types.
///
/// `BEGIN` comes first because a `ROLLBACK` outside of a transaction writes a warning to the server's log.
const RESET: &str = "BEGIN; ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; \
    UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// The time between two cancel requests for one query.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// Connects PostgreSQL clients over TCP.
#[derive(Debug)]
pub struct Postgres {
    tcp: TcpManager,
    config: Config,
}

/// A client and its driver task, which is aborted if the connection is dropped.
#[derive(Debug)]
pub struct PostgresConn {
    client: Client,
    socket: SocketProbe,
    driver: AbortOnDropHandle<()>,
}

/// The error of the manager.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Of the socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Of the protocol, or of the server.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
}

impl Postgres {
    /// Creates a manager that connects through `tcp`, with the user and the database of `config`.
    pub fn new(tcp: TcpManager, config: Config) -> Self {
        Postgres { tcp, config }
    }

    /// Asks the server to stop a query, over a connection of its own as the protocol wants it.
    async fn cancel(&self, token: &CancelToken) -> Result<(), PostgresError> {
        let stream = self.tcp.connect().await?;
        Ok(token.cancel_query_raw(stream, NoTls).await?)
    }
}

impl Manager for Postgres {
    type Connection = PostgresConn;
    type Error = PostgresError;

    async fn connect(&self) -> Result<PostgresConn, PostgresError> {
        let stream = self.tcp.connect().await?;
        let socket = SocketProbe::new(stream.get_ref())?;
        let (client, driver) = self.config.connect_raw(stream, NoTls).await?;
        // On the runtime of the pool, where connects run: that of a caller may end sooner. Errors of the driver
        // also reach the client.
        let driver = tokio::spawn(async { _ = driver.await });
        Ok(PostgresConn { client, socket, driver: AbortOnDropHandle::new(driver) })
    }

    // The driver task owns the stream.
    fn stream(&self) -> Option<StreamOf<PostgresConn>> {
        None
    }

    fn severity(&self, error: &PostgresError) -> Severity {
        match error {
            PostgresError::Io(_) => Severity::Connection,
            PostgresError::Postgres(error) => judge(error),
        }
    }

    async fn ping(&self, conn: &mut PostgresConn) -> Result<(), PostgresError> {
        Ok(conn.client.simple_query("").await.map(drop)?)
    }

    // A query that was given up without an `exchange` is answered first: the reset waits for it.
    async fn reset(&self, conn: &mut PostgresConn) -> Result<(), PostgresError> {
        match conn.client.batch_execute(RESET).await {
            Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                conn.client.batch_execute("ROLLBACK").await?;
                Ok(conn.client.batch_execute(RESET).await?)
            }
            done => Ok(done?),
        }
    }

    fn liveness(&self, conn: &mut PostgresConn) -> Liveness {
        if conn.client.is_closed() {
            return Liveness::Closed;
        }
        match conn.socket.liveness() {
            // The driver will read it: a notice, or the answer to the close of a statement.
            Liveness::Unsolicited => Liveness::Alive,
            seen => seen,
        }
    }

    fn is_reusable(&self, conn: &mut PostgresConn) -> bool {
        !conn.client.is_closed()
    }

    async fn close(&self, conn: PostgresConn, reason: CloseReason) {
        let PostgresConn { client, mut driver, .. } = conn;
        if reason.is_healthy() {
            // The driver tells the server, and ends.
            drop(client);
            _ = driver.await;
        } else if reason.is_unfinished() || reason == CloseReason::ResetTimeout {
            // The driver ends with the query, so the slot is held while the server works. Repeated, since a
            // cancel request that overtakes its query has no effect.
            let token = client.cancel_token();
            drop(client);
            loop {
                _ = self.cancel(&token).await;
                if timeout(CANCEL_AGAIN, &mut driver).await.is_ok() {
                    return;
                }
            }
        }
    }
}

/// Judges an error of a client.
pub fn judge(error: &tokio_postgres::Error) -> Severity {
    let Some(error) = error.as_db_error() else { return Severity::Connection };
    match *error.code() {
        // The server has become a replica.
        SqlState::READ_ONLY_SQL_TRANSACTION => Severity::Generation,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        | SqlState::INVALID_PASSWORD
        | SqlState::INVALID_CATALOG_NAME => Severity::Permanent,
        // After any other than `ERROR` the server closes the connection.
        _ if error.parsed_severity() == Some(DbSeverity::Error) => Severity::Request,
        _ => Severity::Connection,
    }
}

impl Deref for PostgresConn {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

// For transactions.
impl DerefMut for PostgresConn {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
