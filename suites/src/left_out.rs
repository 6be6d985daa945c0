//! Managers that leave out a provided method. [`check`] tests that the next user of a connection reads no
//! reply of another user after a request was given up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use connpool_core::{
    Builder, CloseReason, Connection, Liveness, Manager, Pool, ResetWhen, Severity, StreamOf,
};
use futures_lite::future::poll_once;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::channel::{Receiver, Sender, unbounded};

/// The provided methods of a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provided {
    /// `connect_within`
    ConnectWithin,
    /// `severity`
    Severity,
    /// `ping`
    Ping,
    /// `reset`
    Reset,
    /// `needs_reset`
    NeedsReset,
    /// `reset_when`
    ResetWhen,
    /// `liveness`
    Liveness,
    /// `has_liveness`
    HasLiveness,
    /// `is_reusable`
    IsReusable,
    /// `close`
    Close,
    /// `has_close`
    HasClose,
}

impl Provided {
    /// All of them.
    pub const ALL: &[Provided] = &[
        Provided::ConnectWithin,
        Provided::Severity,
        Provided::Ping,
        Provided::Reset,
        Provided::NeedsReset,
        Provided::ResetWhen,
        Provided::Liveness,
        Provided::HasLiveness,
        Provided::IsReusable,
        Provided::Close,
        Provided::HasClose,
    ];
}

/// A manager with the required methods of another one, so with the default of every other method.
struct Bare<M>(Arc<M>);

impl<M: Manager> Manager for Bare<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    async fn connect(&self) -> Result<M::Connection, M::Error> {
        self.0.connect().await
    }

    fn stream(&self) -> Option<StreamOf<M::Connection>> {
        self.0.stream()
    }
}

/// A manager that leaves out some of the provided methods of another one.
pub struct Without<M: Manager> {
    manager: Arc<M>,
    bare: Bare<M>,
    left_out: Vec<Provided>,
    opened: OnOpen<M::Connection>,
}

type OnOpen<C> = Box<dyn Fn(&C) + Send + Sync>;

impl<M: Manager> Without<M> {
    fn new(manager: M, left_out: &[Provided]) -> Self {
        let manager = Arc::new(manager);
        let bare = Bare(Arc::clone(&manager));
        Without { manager, bare, left_out: left_out.to_vec(), opened: Box::new(|_| ()) }
    }

    /// Sets a function that is called with each new connection, such as one that starts its server.
    pub fn on_open(self, opened: impl Fn(&M::Connection) + Send + Sync + 'static) -> Self {
        Without { opened: Box::new(opened), ..self }
    }

    fn has(&self, method: Provided) -> bool {
        !self.left_out.contains(&method)
    }
}

impl<M: Manager> Manager for Without<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    async fn connect(&self) -> Result<M::Connection, M::Error> {
        self.connect_within(None).await
    }

    fn stream(&self) -> Option<StreamOf<M::Connection>> {
        self.manager.stream()
    }

    async fn connect_within(&self, limit: Option<Duration>) -> Result<M::Connection, M::Error> {
        let conn = match self.has(Provided::ConnectWithin) {
            true => self.manager.connect_within(limit).await?,
            false => self.bare.connect_within(limit).await?,
        };
        (self.opened)(&conn);
        Ok(conn)
    }

    fn severity(&self, error: &M::Error) -> Severity {
        match self.has(Provided::Severity) {
            true => self.manager.severity(error),
            false => self.bare.severity(error),
        }
    }

    async fn ping(&self, conn: &mut M::Connection) -> Result<(), M::Error> {
        match self.has(Provided::Ping) {
            true => self.manager.ping(conn).await,
            false => self.bare.ping(conn).await,
        }
    }

    async fn reset(&self, conn: &mut M::Connection) -> Result<(), M::Error> {
        match self.has(Provided::Reset) {
            true => self.manager.reset(conn).await,
            false => self.bare.reset(conn).await,
        }
    }

    fn needs_reset(&self) -> bool {
        match self.has(Provided::NeedsReset) {
            true => self.manager.needs_reset(),
            false => self.bare.needs_reset(),
        }
    }

    fn liveness(&self, conn: &mut M::Connection) -> Liveness {
        match self.has(Provided::Liveness) {
            true => self.manager.liveness(conn),
            false => self.bare.liveness(conn),
        }
    }

    fn has_liveness(&self) -> bool {
        match self.has(Provided::HasLiveness) {
            true => self.manager.has_liveness(),
            false => self.bare.has_liveness(),
        }
    }

    fn is_reusable(&self, conn: &mut M::Connection) -> bool {
        match self.has(Provided::IsReusable) {
            true => self.manager.is_reusable(conn),
            false => self.bare.is_reusable(conn),
        }
    }

    fn reset_when(&self) -> ResetWhen {
        match self.has(Provided::ResetWhen) {
            true => self.manager.reset_when(),
            false => self.bare.reset_when(),
        }
    }

    async fn close(&self, conn: M::Connection, reason: CloseReason) {
        match self.has(Provided::Close) {
            true => self.manager.close(conn, reason).await,
            false => self.bare.close(conn, reason).await,
        }
    }

    fn has_close(&self) -> bool {
        match self.has(Provided::HasClose) {
            true => self.manager.has_close(),
            false => self.bare.has_close(),
        }
    }
}

/// The requests and replies of a protocol. All replies are equally long.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// A request with this number. It ends with the digit and `ending`, and contains `GET`.
    pub request: fn(u8) -> Vec<u8>,
    /// The bytes after the digit of a request.
    pub ending: &'static [u8],
    /// The reply to the request with this number.
    pub reply: fn(u8) -> Vec<u8>,
    /// The reply to a request of the manager.
    pub control: fn(&[u8]) -> Vec<u8>,
}

/// Holds back the replies of a server, each until the test lets it go.
#[derive(Debug, Clone)]
pub struct Gate {
    permits: (Sender<()>, Receiver<()>),
    sent: (Sender<()>, Receiver<()>),
}

impl Gate {
    /// Creates a gate that is closed.
    #[allow(clippy::new_without_default, reason = "a gate has no neutral state")]
    pub fn new() -> Self {
        Gate { permits: unbounded(), sent: unbounded() }
    }

    /// Lets one reply go, of a request that has been sent or that will be.
    fn open_for_one(&self) {
        self.permits.0.try_send(()).expect("the channel is unbounded and open");
    }

    /// Lets one reply go and waits until it was sent.
    async fn let_one_go(&self) {
        self.open_for_one();
        self.sent.1.recv().await.expect("the channel is open");
    }
}

/// Serves a connection: answers requests of the manager at once, and those of users through the gate.
///
/// # Errors
///
/// If the connection fails.
pub async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    wire: Wire,
    gate: Gate,
) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        // Every request is one write, and none is sent before the reply to the last one was read or
        // given up, so each read is one request.
        let count = stream.read(&mut buffer).await?;
        let request = &buffer[..count];
        if request.is_empty() {
            return Ok(());
        }
        let is_get = request.windows(3).any(|word| word == b"GET");
        if !is_get {
            stream.write_all(&(wire.control)(request)).await?;
            stream.flush().await?;
            continue;
        }
        let number = request[count - wire.ending.len() - 1];
        let _ = gate.permits.1.recv().await;
        let written = stream.write_all(&(wire.reply)(number)).await;
        let flushed = stream.flush().await;
        let _ = gate.sent.0.try_send(());
        written.and(flushed)?;
    }
}

/// Tries all ways to give up a request, with each provided method left out in turn and with all of them
/// left out.
///
/// `setup` makes the manager and the gate of its server, and turns the manager with methods left out into
/// a builder. `resets` is whether the manager has a reset that reads a reply; `strict` whether its streams
/// are strict.
///
/// # Panics
///
/// If a user reads what belongs to another one, other than documented.
pub async fn check<M, B>(wire: Wire, resets: bool, strict: bool, setup: impl Fn() -> (M, Gate, B))
where
    M: Manager<Connection: Connection>,
    B: FnOnce(Without<M>) -> Builder<Without<M>>,
{
    let each = Provided::ALL.iter().map(std::slice::from_ref);
    for left_out in each.chain([&[], Provided::ALL]) {
        let resets = resets && !left_out.contains(&Provided::Reset);
        let case = async |give_up, when| {
            let (manager, gate, builder) = setup();
            let pool = builder(Without::new(manager, left_out))
                .max_size(1)
                // A reset that waits behind a held reply fails soon.
                .reset_timeout(Duration::from_millis(50))
                .build_lazy()
                .expect("settings that are allowed");
            let stale = next_user_reads_stale(&pool, wire, &gate, give_up, when).await;
            let why = format!("{give_up:?}, reply {when:?}, without {left_out:?}");
            (stale, pool, why)
        };
        for when in [When::BeforeTheNextUser, When::AfterTheNextUserCame] {
            for give_up in [GiveUp::PendingRead, GiveUp::Exchange] {
                let (stale, pool, why) = case(give_up, when).await;
                assert!(!stale, "{why}");
                let closed = pool.stats().closed;
                let reason = match give_up {
                    GiveUp::Exchange => CloseReason::Unfinished,
                    _ => CloseReason::NotReusable,
                };
                assert_eq!(closed.get(reason), 1, "{why}: {closed:?}");
            }
        }
        let (stale, _, why) = case(GiveUp::Unread, When::BeforeTheNextUser).await;
        assert!(!stale, "{why}");
        let (stale, pool, why) = case(GiveUp::Unread, When::AfterTheNextUserCame).await;
        // Nothing tells such a connection from a quiet one, unless its stream is strict, or its reset
        // waits for the reply.
        assert_eq!(stale, !strict && !resets, "{why}");
        if strict {
            assert_eq!(pool.stats().closed.get(CloseReason::NotReusable), 1, "{why}");
        }
    }
}

/// How a request is given up.
#[derive(Debug, Clone, Copy)]
enum GiveUp {
    /// Its reply is awaited, and the read is dropped.
    PendingRead,
    /// Its reply is not awaited.
    Unread,
    /// An `exchange` is dropped after the request was sent.
    Exchange,
}

/// When the reply to the request that was given up arrives.
#[derive(Debug, Clone, Copy)]
enum When {
    BeforeTheNextUser,
    AfterTheNextUserCame,
}

async fn next_user_reads_stale<M>(
    pool: &Pool<M>,
    wire: Wire,
    gate: &Gate,
    give_up: GiveUp,
    when: When,
) -> bool
where
    M: Manager<Connection: Connection>,
{
    let mut first = pool.get().await.expect("a connection");
    match give_up {
        GiveUp::PendingRead => {
            first.write_all(&(wire.request)(b'1')).await.expect("an open connection");
            first.flush().await.expect("an open connection");
            assert!(poll_once(first.read(&mut [0])).await.is_none());
        }
        GiveUp::Unread => {
            first.write_all(&(wire.request)(b'1')).await.expect("an open connection");
            first.flush().await.expect("an open connection");
        }
        GiveUp::Exchange => {
            let exchange = first.exchange(async |conn| {
                conn.write_all(&(wire.request)(b'1')).await?;
                conn.flush().await?;
                conn.read_exact(&mut [0]).await
            });
            assert!(poll_once(exchange).await.is_none());
        }
    }
    drop(first);
    if matches!(when, When::BeforeTheNextUser) {
        gate.let_one_go().await;
    }
    let mut second = pool.get().await.expect("a connection");
    if matches!(when, When::AfterTheNextUserCame) {
        gate.let_one_go().await;
    }
    second.write_all(&(wire.request)(b'2')).await.expect("an open connection");
    second.flush().await.expect("an open connection");
    gate.open_for_one();
    let mut reply = (wire.reply)(b'0');
    second.read_exact(&mut reply).await.expect("a reply");
    assert!([(wire.reply)(b'1'), (wire.reply)(b'2')].contains(&reply), "{reply:?}");
    reply == (wire.reply)(b'1')
}
