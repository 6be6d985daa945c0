//! Names with several addresses, on a `Net` of blocking sockets: the addresses tried, and the errors.

use std::cell::RefCell;
use std::error::Error;
use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::time::Duration;

use connpool_core::{Liveness, Manager, Probe};
use connpool_tcp::{Net, Prepare, Tcp, peek};
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
    type Conn = Conn;

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

    async fn connect(address: SocketAddr) -> io::Result<Conn> {
        record(Call::Connect(address));
        match address.ip() {
            IpAddr::V4(HANGS) => pending().await,
            IpAddr::V4(SELF) => self_connect().map(Conn),
            _ => TcpStream::connect(address).map(Conn),
        }
    }

    async fn connect_prepared(_: SocketAddr, _: &Prepare) -> io::Result<Conn> {
        unreachable!("no test sets `before_connect`")
    }

    async fn within<T: Send>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        let result = poll_once(pin!(work)).await;
        if result.is_none() {
            record(Call::TimeOutAfter(limit));
        }
        result
    }

    fn socket(conn: &Conn) -> SockRef<'_> {
        SockRef::from(&conn.0)
    }

    async fn read_to_end(_: &mut Conn) -> io::Result<()> {
        unreachable!("no test sets `linger`")
    }

    fn allow_unsolicited(_: &mut Conn) {
        unreachable!("no test sets `allow_unsolicited`")
    }
}

#[derive(Debug)]
struct Conn(TcpStream);

impl Conn {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

impl Probe for Conn {
    fn probe(&mut self) -> Liveness {
        peek(SockRef::from(&self.0))
    }

    fn is_clean(&self) -> bool {
        true
    }

    fn set_strict(&mut self, _: bool) {}
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
fn connect(addresses: &[SocketAddr], limit: Option<Duration>) -> io::Result<Conn> {
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

/// Returns the delays between the attempts of a connect.
fn delays() -> Vec<Duration> {
    let delay = |call| match call {
        Call::TimeOutAfter(delay) => Some(delay),
        Call::Resolve(_) | Call::Connect(_) => None,
    };
    calls().into_iter().filter_map(delay).collect()
}

#[test]
fn next_address_joins_after_a_quarter_of_a_second() {
    let (_listener, good) = listening();
    let addresses = [hanging(1), hanging(2), hanging(3), good];
    let conn = connect(&addresses, LIMIT).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
    assert_eq!(delays(), [Duration::from_millis(250); 3]);
}

#[test]
fn attempts_fit_into_a_short_time_limit() {
    let (_listener, good) = listening();
    for (limit, delay) in [(Duration::from_millis(200), 100), (Duration::ZERO, 0)] {
        let conn = connect(&[hanging(1), good], Some(limit)).unwrap();
        assert_eq!(conn.peer_addr().unwrap(), good);
        assert_eq!(delays(), [Duration::from_millis(delay)]);
    }
}

#[test]
fn maximal_time_limit_is_legal() {
    let (_listener, good) = listening();
    let conn = connect(&[hanging(1), good], Some(Duration::MAX)).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
}

#[test]
fn connect_goes_on_while_the_last_address_hangs() {
    let (_bound, dead) = refusing();
    let name = format!("{dead},{}", hanging(1));
    let manager = Tcp::<Fake>::new(name);
    // The pool's own limit ends this connect.
    let attempt = block_on(poll_once(pin!(manager.connect_within(LIMIT))));
    assert!(attempt.is_none());
}

#[test]
fn address_that_answered_last_is_tried_first() {
    let (_listener, good) = listening();
    let manager = Tcp::<Fake>::new(format!("{},{good}", hanging(1)));
    for delays_of_this_connect in [1, 0, 0] {
        let conn = block_on(manager.connect()).unwrap();
        assert_eq!(conn.peer_addr().unwrap(), good);
        assert_eq!(delays().len(), delays_of_this_connect);
    }
}

#[test]
fn spread_connects_use_all_addresses_alike() {
    let servers = [listening(), listening(), listening()];
    let names = servers.each_ref().map(|(_, address)| address.to_string());
    let manager = Tcp::<Fake>::new(names.join(",")).spread(true);
    let mut peers: Vec<_> =
        (0..12).map(|_| block_on(manager.connect()).unwrap().peer_addr().unwrap()).collect();
    peers.sort_unstable();
    for (_, address) in servers {
        assert_eq!(peers.iter().filter(|peer| **peer == address).count(), 4);
    }
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
fn connect_error_keeps_its_kind_and_names_every_address() {
    let (_bound, first) = refusing();
    let (_bound_too, last) = refusing();
    let error = connect(&[first, last], LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let refused = io::Error::from_raw_os_error(error_number(&first));
    assert_eq!(error.to_string(), format!("{first}: {refused}; {last}: {refused}"));
    assert!(error.source().is_none(), "each cause is in the text once");
}

/// Returns the number of the error of a refused connect.
fn error_number(refusing: &SocketAddr) -> i32 {
    TcpStream::connect(refusing).unwrap_err().raw_os_error().unwrap()
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
