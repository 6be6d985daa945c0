//! The pools, each with its defaults and 8 connections.

use std::error::Error;

use bb8_postgres::PostgresConnectionManager;
use bb8_postgres::bb8;
use connpool_tokio::{Liveness, Manager, Pool, StreamOf};
use tokio_postgres::{Client, Config, NoTls};

pub(crate) const CONNECTIONS: usize = 8;

pub(crate) const QUICK: &str = "SELECT 1";

/// Does not end before the server stops.
pub(crate) const ENDLESS: &str = "SELECT pg_sleep(60)";

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A pool of PostgreSQL clients.
pub(crate) trait Requests: Clone + Send + Sync + 'static {
    const NAME: &str;

    /// Takes a client from the pool, runs one query, and returns the client.
    fn request(
        &self,
        query: impl Fn() -> &'static str + Send,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

pub(crate) struct Postgres(Config);

impl Manager for Postgres {
    type Connection = Client;
    type Error = tokio_postgres::Error;

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.0.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    // The task of the connection owns the socket.
    fn stream(&self) -> Option<StreamOf<Client>> {
        None
    }

    async fn ping(&self, client: &mut Client) -> Result<(), tokio_postgres::Error> {
        client.simple_query("").await.map(drop)
    }

    fn liveness(&self, client: &mut Client) -> Liveness {
        if client.is_closed() { Liveness::Closed } else { Liveness::Alive }
    }
}

pub(crate) async fn connpool(config: Config) -> Pool<Postgres> {
    let builder = connpool_tokio::builder(Postgres(config)).max_size(CONNECTIONS);
    builder.build().await.expect("building connpool's pool")
}

impl Requests for Pool<Postgres> {
    const NAME: &str = "connpool";

    async fn request(&self, query: impl Fn() -> &'static str + Send) -> Result<(), Failure> {
        let mut client = self.get().await?;
        // The client learns that its connection has ended only after the query has failed: without
        // `exchange`, the next task may be given the same connection.
        let query = query();
        client.exchange(async |client| client.simple_query(query).await).await?;
        Ok(())
    }
}

pub(crate) type Bb8 = bb8::Pool<PostgresConnectionManager<NoTls>>;

pub(crate) async fn bb8(config: Config) -> Bb8 {
    let builder = bb8::Pool::builder().max_size(CONNECTIONS as u32);
    let manager = PostgresConnectionManager::new(config, NoTls);
    builder.build(manager).await.expect("building bb8's pool")
}

impl Requests for Bb8 {
    const NAME: &str = "bb8";

    async fn request(&self, query: impl Fn() -> &'static str + Send) -> Result<(), Failure> {
        self.get().await?.simple_query(query()).await?;
        Ok(())
    }
}

pub(crate) fn deadpool(config: Config) -> deadpool_postgres::Pool {
    let manager = deadpool_postgres::Manager::new(config, NoTls);
    let builder = deadpool_postgres::Pool::builder(manager).max_size(CONNECTIONS);
    builder.build().expect("building deadpool's pool")
}

impl Requests for deadpool_postgres::Pool {
    const NAME: &str = "deadpool";

    async fn request(&self, query: impl Fn() -> &'static str + Send) -> Result<(), Failure> {
        self.get().await?.simple_query(query()).await?;
        Ok(())
    }
}
