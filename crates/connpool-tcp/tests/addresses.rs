//! Names with several addresses, on a `Net` of blocking sockets: the addresses tried, their shares
//! of the time limit, and the errors.

use std::cell::RefCell;
use std::error::Error;
use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::time::Duration;

use connpool_core::{Liveness, Manager};
use connpool_tcp::{Net, Tcp, peek};
use futures_lite::future::{block_on, poll_once};
use socket2::{Domain, SockRef, Socket, Type};

/// A `Net` that connects to real sockets, except for two simulated addresses. A name is a list of
/// addresses. No time passes: an operation that does not complete immediately times out.
enum Fake {}

/// Never answers.
const HANGS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// A name without addresses.
const NAMELESS: &str = "nameless:1";
/// Answers with a self-connection.
const SELF: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

#[derive(Debug, PartialEq)]
enum Call {
    Resolve(String),
    Connect(SocketAddr),
    TimeOutAfter(Duration),
}

thread_local! {
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

fn record(call: Call) {
    CALLS.with_borrow_mut(|calls| calls.push(call));
}

fn calls() -> Vec<Call> {
    CALLS.take()
}

impl Net for Fake {
    type Conn = TcpStream;

    async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
        record(Call::Resolve(address.to_owned()));
        if address == NAMELESS {
            return Ok(Vec::new());
        }
        let addresses = address.split(',').map(str::parse);
        addresses
            .collect::<Result<_, _>>()
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))
    }

    async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        record(Call::Connect(address));
        match address.ip() {
            IpAddr::V4(HANGS) => pending().await,
            IpAddr::V4(SELF) => self_connect(),
            _ => TcpStream::connect(address),
        }
    }

    async fn within<T: Send>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        let result = poll_once(pin!(work)).await;
        if result.is_none() {
            record(Call::TimeOutAfter(limit));
        }
        result
    }

    fn socket(conn: &TcpStream) -> SockRef<'_> {
        SockRef::from(conn)
    }

    fn liveness(conn: &mut TcpStream) -> Liveness {
        peek(SockRef::from(&*conn))
    }

    fn is_clean(_: &TcpStream) -> bool {
        true
    }
}

/// Creates a self-connection, as Linux does on a connect to a free port that it picks as the local
/// port.
fn self_connect() -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into())?;
    socket.connect(&socket.local_addr()?)?;
    Ok(socket.into())
}

/// Returns a bound port without a listener.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn hanging(port: u16) -> SocketAddr {
    SocketAddr::from((HANGS, port))
}

fn self_address() -> SocketAddr {
    SocketAddr::from((SELF, 1))
}

/// Connects to these addresses with this time limit.
fn connect(addresses: &[SocketAddr], limit: Option<Duration>) -> io::Result<TcpStream> {
    let names: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    block_on(Tcp::<Fake>::new(names.join(",")).connect_within(limit))
}

const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

#[test]
fn first_address_that_answers_is_used() {
    let (_listener, good) = listening();
    let (_other, second) = listening();
    let conn = connect(&[good, second], LIMIT).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
    let name = format!("{good},{second}");
    assert_eq!(calls(), [Call::Resolve(name), Call::Connect(good)]);
}

#[test]
fn dead_address_is_skipped() {
    let (_bound, dead) = refusing();
    let (_listener, good) = listening();
    for limit in [LIMIT, None] {
        let conn = connect(&[dead, good], limit).unwrap();
        assert_eq!(conn.peer_addr().unwrap(), good);
    }
}

#[test]
fn name_is_resolved_for_every_connect() {
    let (_listener, good) = listening();
    let manager = Tcp::<Fake>::new(good.to_string());
    for _ in 0..3 {
        block_on(manager.connect()).unwrap();
    }
    let lookups = calls();
    let lookups = lookups.iter().filter(|call| matches!(call, Call::Resolve(_)));
    assert_eq!(lookups.count(), 3);
}

#[test]
fn hanging_address_gets_its_share_of_the_time_limit() {
    let (_listener, good) = listening();
    let addresses = [hanging(1), hanging(2), hanging(3), good];
    let conn = connect(&addresses, LIMIT).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
    let shares: Vec<_> = calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::TimeOutAfter(share) => Some(share),
            Call::Resolve(_) | Call::Connect(_) => None,
        })
        .collect();
    // Equal shares of the time left; almost no time was used.
    let max = [15, 20, 30].map(Duration::from_secs);
    assert_eq!(shares.len(), max.len());
    for (share, max) in shares.into_iter().zip(max) {
        assert!(share <= max && share > max / 2, "{share:?} of {max:?}");
    }
}

#[test]
fn last_address_is_not_limited() {
    let (_bound, dead) = refusing();
    let name = format!("{dead},{}", hanging(1));
    let manager = Tcp::<Fake>::new(name);
    // The pool's own limit ends this connect.
    let attempt = block_on(poll_once(pin!(manager.connect_within(LIMIT))));
    assert!(attempt.is_none());
    assert!(!calls().iter().any(|call| matches!(call, Call::TimeOutAfter(_))));
}

#[test]
fn zero_time_limit_still_tries_every_address() {
    let (_bound, dead) = refusing();
    let (_listener, good) = listening();
    let addresses = [dead, hanging(1), good];
    let conn = connect(&addresses, Some(Duration::ZERO)).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
    assert!(calls().contains(&Call::TimeOutAfter(Duration::ZERO)));
}

#[test]
fn maximal_time_limit_can_be_shared() {
    let (_listener, good) = listening();
    let conn = connect(&[hanging(1), good], Some(Duration::MAX)).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
}

#[test]
fn self_connection_is_refused() {
    let error = connect(&[self_address()], LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    let text = error.to_string();
    assert!(text.contains(&self_address().to_string()), "{text}");
    assert!(text.contains("itself"), "{text}");
}

#[test]
fn self_connection_is_skipped_for_the_next_address() {
    let (_listener, good) = listening();
    let conn = connect(&[self_address(), good], LIMIT).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
}

#[test]
fn connect_error_keeps_its_kind_and_names_its_address() {
    let (_bound, first) = refusing();
    let (_bound_too, last) = refusing();
    let error = connect(&[first, last], LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("{last}: ")));
    let source = error.source().expect("no source");
    let source = source.downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn name_without_an_address_is_an_error() {
    let manager = Tcp::<Fake>::new(NAMELESS);
    let error = block_on(manager.connect()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.contains(NAMELESS) && text.contains("no address"), "{text}");
}

#[test]
fn failed_lookup_names_the_host() {
    let manager = Tcp::<Fake>::new("no such name");
    let error = block_on(manager.connect()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().starts_with("no such name: "), "{error}");
}

#[test]
fn manager_debug_output_shows_address_and_options() {
    let manager = Tcp::<Fake>::new("db:5432").nodelay(false);
    let text = format!("{manager:?}");
    assert!(text.contains("db:5432") && text.contains("nodelay: false"));
}

#[test]
fn fake_self_connection_connects_to_itself() {
    let conn = self_connect().unwrap();
    assert_eq!(conn.local_addr().unwrap(), conn.peer_addr().unwrap());
}
