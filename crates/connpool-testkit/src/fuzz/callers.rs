//! Those who ask for connections: futures that are polled by hand.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::{Connection, GetError, Instant, Liveness, Pool, PooledConnection};
use futures_lite::future::yield_now;

use super::history::Exchange;
use crate::sim::Flag;
use crate::{FaultyConn, FaultyManager, ScriptedError};

pub(crate) type Guard = PooledConnection<'static, FaultyManager>;

/// One caller and what he waits for.
pub(crate) struct Caller {
    future: Pin<Box<dyn Future<Output = Result<Option<Guard>, Failure>>>>,
    pub(crate) kind: Kind,
    pub(crate) woken: Arc<Flag>,
    pub(crate) limit: Option<Duration>,
    /// When it was first polled, and when its time is up.
    pub(crate) began: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    /// How often the settings had changed when it began.
    pub(crate) version: usize,
    inside: Inside,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Get,
    /// Keeps what it gets until it is dropped.
    Many,
    Exchange(Exchange),
}

/// What a caller has of the pool without showing it.
type Inside = Rc<RefCell<Had>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Had {
    /// By the numbers that the pool gave them.
    pub(crate) ids: Vec<u64>,
    /// By the backend's number.
    pub(crate) conn: Option<u64>,
}

impl Had {
    pub(crate) fn count(&self) -> usize {
        self.ids.len() + usize::from(self.conn.is_some())
    }
}

/// What a poll came to.
pub(crate) enum Polled {
    Waits,
    Lent(Guard),
    /// An exchange panicked as it was told to.
    Panicked,
    Ended,
}

/// Why a caller has nothing, or has spoiled what he had.
pub(crate) enum Failure {
    Get,
    Exchange,
}

impl From<GetError<ScriptedError>> for Failure {
    fn from(_: GetError<ScriptedError>) -> Self {
        Failure::Get
    }
}

impl Caller {
    pub(crate) fn get(pool: &Pool<FaultyManager>, limit: Option<Duration>) -> Self {
        let future: Pin<Box<dyn Future<Output = _>>> = match limit {
            Some(limit) => Box::pin(pool.get_owned_timeout(limit)),
            None => Box::pin(pool.get_owned()),
        };
        let future = async { Ok(Some(future.await?)) };
        Caller::new(Kind::Get, limit, Inside::default(), future)
    }

    /// Its guards borrow the pool, and so stay in the future, where `accept` is shown them.
    pub(crate) fn many(
        pool: Pool<FaultyManager>,
        n: usize,
        limit: Option<Duration>,
        accept: impl Fn(&mut FaultyConn) + 'static,
    ) -> Self {
        let inside = Inside::default();
        let had = Rc::clone(&inside);
        let future = async move {
            let got = match limit {
                Some(limit) => pool.get_many_timeout(n, limit).await,
                None => pool.get_many(n).await,
            };
            let mut guards = got?;
            assert_eq!(guards.len(), n, "neither all nor none");
            if n == 0 {
                return Ok(None);
            }
            for guard in &mut guards {
                assert_free(guard);
                accept(guard);
                had.borrow_mut().ids.push(guard.id());
            }
            pending().await
        };
        Caller::new(Kind::Many, limit, inside, future)
    }

    pub(crate) fn exchange(
        pool: Pool<FaultyManager>,
        ends: Exchange,
        accept: impl Fn(&mut FaultyConn) + 'static,
    ) -> Self {
        let inside = Inside::default();
        let had = Rc::clone(&inside);
        let future = async move {
            let act = async |conn: &mut FaultyConn| {
                assert_fit(conn);
                accept(conn);
                had.borrow_mut().conn = Some(conn.id());
                yield_now().await;
                match ends {
                    Exchange::Well => Ok(None),
                    Exchange::Badly => Err(Failure::Exchange),
                    Exchange::Panicking => panic!("scripted panic in an exchange"),
                    Exchange::Dropped => pending().await,
                }
            };
            pool.exchange(act).await
        };
        Caller::new(Kind::Exchange(ends), None, inside, future)
    }

    fn new(
        kind: Kind,
        limit: Option<Duration>,
        inside: Inside,
        future: impl Future<Output = Result<Option<Guard>, Failure>> + 'static,
    ) -> Self {
        Caller {
            future: Box::pin(future),
            kind,
            woken: Flag::raised(),
            limit,
            began: None,
            deadline: None,
            version: 0,
            inside,
        }
    }

    pub(crate) fn poll(&mut self) -> Polled {
        self.woken.take();
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        let future = self.future.as_mut();
        match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => Polled::Waits,
            Ok(Poll::Ready(Ok(Some(guard)))) => Polled::Lent(guard),
            Ok(Poll::Ready(_)) => Polled::Ended,
            Err(_) if self.kind == Kind::Exchange(Exchange::Panicking) && self.has() > 0 => {
                Polled::Panicked
            }
            Err(payload) => resume_unwind(payload),
        }
    }

    /// How many connections it has that nobody else sees.
    pub(crate) fn has(&self) -> usize {
        self.inside.borrow().count()
    }

    pub(crate) fn had(&self) -> Had {
        self.inside.borrow().clone()
    }
}

/// Whoever has just got this may use it.
pub(crate) fn assert_fit(conn: &mut FaultyConn) {
    assert_eq!(
        conn.liveness(),
        Liveness::Alive,
        "lent dead or dirty: {conn:?}"
    );
    assert_free(conn);
}

/// The same of one that was got some time ago, and may have died since.
fn assert_free(conn: &FaultyConn) {
    assert!(
        !conn.is_under_check(),
        "lent in the middle of a check: {conn:?}"
    );
}
