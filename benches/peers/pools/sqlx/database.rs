//! A minimal database for the pool of sqlx: it supports connecting and pinging only.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use sqlx_core::Url;
use sqlx_core::connection::{ConnectOptions, Connection};
use sqlx_core::database::Database;
use sqlx_core::error::Error;
use sqlx_core::sql_str::SqlStr;
use sqlx_core::transaction::{Transaction, TransactionManager};

use super::absent::{Absent, NoArguments};
use crate::transport::Transport;

/// The database.
pub(crate) struct PoolManager<K>(PhantomData<fn() -> K>);

/// The connect options.
#[derive(Clone)]
pub(crate) struct Options<K>(pub(crate) K);

/// A connection. The transport, which implements the ping, has no size if there is nothing to ping.
pub(crate) struct Conn<K: Transport> {
    transport: K,
    conn: K::Conn,
}

impl<K: Transport> Database for PoolManager<K> {
    type Connection = Conn<K>;
    type TransactionManager = PoolManager<K>;
    type Row = Absent<K>;
    type QueryResult = ();
    type Column = Absent<K>;
    type TypeInfo = Absent<K>;
    type Value = Absent<K>;
    type ValueRef<'r> = Absent<K>;
    type Arguments = NoArguments<K>;
    type ArgumentBuffer = ();
    type Statement = Absent<K>;

    const NAME: &'static str = "links";
    const URL_SCHEMES: &'static [&'static str] = &[];
}

impl<K: Transport> ConnectOptions for Options<K> {
    type Connection = Conn<K>;

    fn from_url(_url: &Url) -> Result<Self, Error> {
        Err(unsupported())
    }

    async fn connect(&self) -> Result<Conn<K>, Error> {
        Ok(Conn { conn: self.0.connect().await?, transport: self.0.clone() })
    }

    fn log_statements(self, _level: log::LevelFilter) -> Self {
        self
    }

    fn log_slow_statements(self, _level: log::LevelFilter, _duration: Duration) -> Self {
        self
    }
}

impl<K: Transport> Connection for Conn<K> {
    type Database = PoolManager<K>;
    type Options = Options<K>;

    fn close(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        drop(self);
        ready(Ok(()))
    }

    fn close_hard(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.close()
    }

    async fn ping(&mut self) -> Result<(), Error> {
        Ok(self.transport.check(&self.conn).await?)
    }

    async fn begin(&mut self) -> Result<Transaction<'_, PoolManager<K>>, Error> {
        Err(unsupported())
    }

    fn shrink_buffers(&mut self) {}

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn should_flush(&self) -> bool {
        false
    }
}

impl<K: Transport> TransactionManager for PoolManager<K> {
    type Database = PoolManager<K>;

    async fn begin(_conn: &mut Conn<K>, _statement: Option<SqlStr>) -> Result<(), Error> {
        Err(unsupported())
    }

    async fn commit(_conn: &mut Conn<K>) -> Result<(), Error> {
        Err(unsupported())
    }

    async fn rollback(_conn: &mut Conn<K>) -> Result<(), Error> {
        Err(unsupported())
    }

    fn start_rollback(_conn: &mut Conn<K>) {}

    fn get_transaction_depth(_conn: &Conn<K>) -> usize {
        0
    }
}

impl<K> FromStr for Options<K> {
    type Err = Error;

    fn from_str(_url: &str) -> Result<Self, Error> {
        Err(unsupported())
    }
}

impl<K> fmt::Debug for PoolManager<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolManager")
    }
}

impl<K> fmt::Debug for Options<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options")
    }
}

fn unsupported() -> Error {
    io::Error::from(io::ErrorKind::Unsupported).into()
}
