//! Callers of the pool: futures that the harness polls.

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
use connpool_testkit::FaultyConn;
use connpool_testkit::FaultyManager;
use connpool_testkit::ScriptedError;
use connpool_testkit::WakeFlag;

pub(crate) type Guard = PooledConnection<'static, FaultyManager>;

/// A caller and its future.
pub(crate) struct Caller {
    future: Pin<Box<dyn Future<Output = Result<Option<Guard>, Failure>>>>,
    pub(crate) kind: Kind,
    pub(crate) woken: Arc<WakeFlag>,
    pub(crate) limit: Option<Duration>,
    /// The time of its first poll, and its deadline.
    pub(crate) started: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    /// The version of the settings when the caller was created.
    pub(crate) version: usize,
    inner: SharedInner,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Get,
    /// Keeps its connections until dropped.
    GetMany,
    Exchange(Exchange),
    /// A `get_with` whose preparation ends so.
    GetWith(Exchange),
}

/// The connections inside the future of a caller.
type SharedInner = Rc<RefCell<Inner>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Inner {
    /// The ids in the pool of the connections of a `get_many`.
    pub(crate) ids: Vec<u64>,
    /// The id at the backend of the connection of an exchange, or of one under preparation.
    pub(crate) conn: Option<u64>,
    /// Its preparation has ended well, and its caller has got it.
    pub(crate) is_prepared: bool,
}

impl Inner {
    pub(crate) fn count(&self) -> usize {
        self.ids.len() + usize::from(self.conn.is_some())
    }
}

/// The result of a poll.
pub(crate) enum Polled {
    Pending,
    Ready(Guard),
    /// An exchange panicked as scripted.
    Panicked,
    Ended,
}

/// The error of a caller: its get or its exchange failed.
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
        Caller::new(Kind::Get, limit, SharedInner::default(), future)
    }

    /// The guards borrow the pool and therefore stay in the future, which passes them to `accept`.
    pub(crate) fn get_many(
        pool: Pool<FaultyManager>,
        n: usize,
        limit: Option<Duration>,
        accept: impl Fn(&mut FaultyConn) + 'static,
    ) -> Self {
        let inner = SharedInner::default();
        let for_future = Rc::clone(&inner);
        let future = async move {
            let got = match limit {
                Some(limit) => pool.get_many_timeout(n, limit).await,
                None => pool.get_many(n).await,
            };
            let mut guards = got?;
            assert_eq!(guards.len(), n, "get_many returned some of the connections");
            if n == 0 {
                return Ok(None);
            }
            for guard in &mut guards {
                assert_not_under_check(guard);
                accept(guard);
                for_future.borrow_mut().ids.push(guard.id());
            }
            pending().await
        };
        Caller::new(Kind::GetMany, limit, inner, future)
    }

    pub(crate) fn exchange(
        pool: Pool<FaultyManager>,
        outcome: Exchange,
        accept: impl Fn(&mut FaultyConn) + 'static,
    ) -> Self {
        let inner = SharedInner::default();
        let for_future = Rc::clone(&inner);
        let future = async move {
            let exchange = async |conn: &mut FaultyConn| {
                assert_usable(conn);
                accept(conn);
                for_future.borrow_mut().conn = Some(conn.id());
                yield_now().await;
                match outcome {
                    Exchange::Succeeds => Ok(None),
                    Exchange::Fails => Err(Failure::Exchange),
                    Exchange::Panics => panic!("scripted panic in an exchange"),
                    Exchange::Dropped => pending().await,
                }
            };
            pool.exchange(exchange).await
        };
        Caller::new(Kind::Exchange(outcome), None, inner, future)
    }

    pub(crate) fn get_with(
        pool: Pool<FaultyManager>,
        outcome: Exchange,
        accept: impl Fn(&mut FaultyConn) + 'static,
    ) -> Self {
        let inner = SharedInner::default();
        let for_future = Rc::clone(&inner);
        let future = async move {
            let prepare = async |conn: &mut FaultyConn| {
                assert_usable(conn);
                accept(conn);
                for_future.borrow_mut().conn = Some(conn.id());
                yield_now().await;
                match outcome {
                    Exchange::Succeeds => Ok(()),
                    Exchange::Fails => Err(ScriptedError(0)),
                    Exchange::Panics => panic!("scripted panic in a preparation"),
                    Exchange::Dropped => pending().await,
                }
            };
            let guard = pool.get_with(prepare).await?;
            for_future.borrow_mut().is_prepared = true;
            drop(guard);
            Ok(None)
        };
        Caller::new(Kind::GetWith(outcome), None, inner, future)
    }

    fn new(
        kind: Kind,
        limit: Option<Duration>,
        inner: SharedInner,
        future: impl Future<Output = Result<Option<Guard>, Failure>> + 'static,
    ) -> Self {
        Caller {
            future: Box::pin(future),
            kind,
            woken: WakeFlag::raised(),
            limit,
            started: None,
            deadline: None,
            version: 0,
            inner,
        }
    }

    pub(crate) fn poll(&mut self) -> Polled {
        self.woken.take();
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        let future = self.future.as_mut();
        match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => Polled::Pending,
            Ok(Poll::Ready(Ok(Some(guard)))) => Polled::Ready(guard),
            Ok(Poll::Ready(_)) => Polled::Ended,
            Err(_)
                if matches!(
                    self.kind,
                    Kind::Exchange(Exchange::Panics) | Kind::GetWith(Exchange::Panics)
                ) && self.inner_count() > 0 =>
            {
                Polled::Panicked
            }
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Returns the number of connections inside the future.
    pub(crate) fn inner_count(&self) -> usize {
        self.inner.borrow().count()
    }

    pub(crate) fn inner(&self) -> Inner {
        self.inner.borrow().clone()
    }
}

/// Checks a connection that was just checked out.
pub(crate) fn assert_usable(conn: &mut FaultyConn) {
    assert_eq!(conn.liveness(), Liveness::Alive, "checked out dead or with unread bytes: {conn:?}");
    assert_not_under_check(conn);
}

/// Checks a connection that may have died since its checkout.
fn assert_not_under_check(conn: &FaultyConn) {
    assert!(!conn.is_under_check(), "checked out in the middle of a check: {conn:?}");
}
