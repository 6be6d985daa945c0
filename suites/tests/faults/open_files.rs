//! The process has reached its limit of open files.

use std::io;

use futures_lite::future::poll_once;

use super::client::{counts_add_up, pool_of, talk, wait_until};
use super::kernel::{allow_many_files, allow_no_more_files};
use crate::adapter::{AddressErrors, GetError};
use suites::server::{LIMIT, Server};

/// `EMFILE`, too many open files.
const TOO_MANY: i32 = 24;

pub(crate) async fn open_connections_are_lent_without_free_file_descriptors() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(8).build().await.unwrap();
    let mut guards = Vec::new();
    for _ in 0..4 {
        guards.push(pool.get().await.unwrap());
    }
    let mut ends = server.accept_many(4);

    allow_no_more_files();
    let refused = pool.get().await.unwrap_err();
    assert!(matches!(refused, GetError::Connect(_)), "{refused:?}");
    assert_eq!(code(&refused), Some(TOO_MANY), "{refused}");
    assert!(refused.to_string().contains(&server.address()), "{refused}");
    for (conn, end) in guards.iter_mut().zip(&mut ends) {
        talk(&mut **conn, end).await;
    }
    drop(guards);
    for _ in 0..20 {
        drop(pool.get().await.unwrap());
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.available), (4, 4), "{stats}");
    assert_eq!(stats.closed.total(), 0);

    allow_many_files();
    let mut guards = Vec::new();
    for _ in 0..8 {
        guards.push(pool.get().await.unwrap());
    }
    assert_eq!(pool.stats().created, 8);
}

pub(crate) async fn waiter_without_file_descriptors_is_served_by_a_return_or_a_later_connect() {
    let server = Server::start();
    let pool =
        pool_of(server.address()).fail_fast_after(None).get_timeout(LIMIT).build().await.unwrap();
    let first = pool.get().await.unwrap();
    let mut end = server.accept();
    let id = first.id();

    allow_no_more_files();
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    wait_until(&pool, |stats| stats.connect_failed >= 1).await;
    drop(first);
    let mut first = waiting.await.unwrap();
    assert_eq!(first.id(), id);
    talk(&mut *first, &mut end).await;

    let get = crate::spawn(pool.get_owned());
    let failed = pool.stats().connect_failed;
    wait_until(&pool, |stats| stats.connect_failed > failed).await;
    allow_many_files();
    let mut second = get.await.unwrap();
    talk(&mut *second, &mut server.accept()).await;
    wait_until(&pool, counts_add_up).await;
}

pub(crate) async fn failed_lookup_without_file_descriptors_names_the_host() {
    let server = Server::start();
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let pool = pool_of(format!("localhost:{port}")).build().await.unwrap();
    // The runtime may open files on first use.
    let first = pool.get().await.unwrap();
    allow_no_more_files();
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, GetError::Connect(_)), "{error:?}");
    assert!(error.to_string().contains("localhost:"), "{error}");
    drop(first);
    allow_many_files();
    let _two = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    assert_eq!(pool.stats().created, 2);
}

/// Returns the OS error code of a failed connect.
fn code(error: &GetError<io::Error>) -> Option<i32> {
    let addresses = error.connect_error()?.get_ref()?.downcast_ref::<AddressErrors>()?;
    addresses.iter().last()?.1.raw_os_error()
}
