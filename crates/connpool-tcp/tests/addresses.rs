//! Names with several addresses, on a `Net` of blocking sockets: what is tried, for how long, and
//! what is said when nothing works.

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

/// Connects to real sockets, but for two addresses that it plays itself. A name is a list of
/// addresses. No time passes: what does not end at once does not end in time.
enum Fake {}

/// Never answers.
const HANGS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// Is known, but has no address.
const NAMELESS: &str = "nameless:1";
/// Answers with a connection to itself.
const MIRROR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

#[derive(Debug, PartialEq)]
enum Did {
    Resolve(String),
    Connect(SocketAddr),
    GiveUpAfter(Duration),
}

thread_local! {
    static DONE: RefCell<Vec<Did>> = const { RefCell::new(Vec::new()) };
}

fn note(did: Did) {
    DONE.with_borrow_mut(|done| done.push(did));
}

fn done() -> Vec<Did> {
    DONE.take()
}

impl Net for Fake {
    type Conn = TcpStream;

    async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
        note(Did::Resolve(address.to_owned()));
        if address == NAMELESS {
            return Ok(Vec::new());
        }
        let addresses = address.split(',').map(str::parse);
        addresses
            .collect::<Result<_, _>>()
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))
    }

    async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        note(Did::Connect(address));
        match address.ip() {
            IpAddr::V4(HANGS) => pending().await,
            IpAddr::V4(MIRROR) => to_itself(),
            _ => TcpStream::connect(address),
        }
    }

    async fn within<T: Send>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        let result = poll_once(pin!(work)).await;
        if result.is_none() {
            note(Did::GiveUpAfter(limit));
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

/// What Linux makes of a connect to a free port that happens to be its own.
fn to_itself() -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into())?;
    socket.connect(&socket.local_addr()?)?;
    Ok(socket.into())
}

/// A bound port where nobody listens.
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

fn mirror() -> SocketAddr {
    SocketAddr::from((MIRROR, 1))
}

/// A connect to these addresses, with so much time.
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
    assert_eq!(done(), [Did::Resolve(name), Did::Connect(good)]);
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
    let lookups = done();
    let lookups = lookups.iter().filter(|did| matches!(did, Did::Resolve(_)));
    assert_eq!(lookups.count(), 3);
}

#[test]
fn hanging_address_gets_its_share_of_the_time_limit() {
    let (_listener, good) = listening();
    let addresses = [hanging(1), hanging(2), hanging(3), good];
    let conn = connect(&addresses, LIMIT).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
    let shares: Vec<_> = done()
        .into_iter()
        .filter_map(|did| match did {
            Did::GiveUpAfter(share) => Some(share),
            Did::Resolve(_) | Did::Connect(_) => None,
        })
        .collect();
    // Equal parts of what is left, and as good as nothing was used up.
    let most = [15, 20, 30].map(Duration::from_secs);
    assert_eq!(shares.len(), most.len());
    for (share, most) in shares.into_iter().zip(most) {
        assert!(share <= most && share > most / 2, "{share:?} of {most:?}");
    }
}

#[test]
fn last_address_is_not_limited() {
    let (_bound, dead) = refusing();
    let name = format!("{dead},{}", hanging(1));
    let manager = Tcp::<Fake>::new(name);
    // The pool's own limit is what ends this one.
    let attempt = block_on(poll_once(pin!(manager.connect_within(LIMIT))));
    assert!(attempt.is_none());
    assert!(!done().iter().any(|did| matches!(did, Did::GiveUpAfter(_))));
}

#[test]
fn zero_time_limit_still_tries_every_address() {
    let (_bound, dead) = refusing();
    let (_listener, good) = listening();
    let addresses = [dead, hanging(1), good];
    let conn = connect(&addresses, Some(Duration::ZERO)).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
    assert!(done().contains(&Did::GiveUpAfter(Duration::ZERO)));
}

#[test]
fn maximal_time_limit_can_be_shared() {
    let (_listener, good) = listening();
    let conn = connect(&[hanging(1), good], Some(Duration::MAX)).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
}

#[test]
fn self_connection_is_refused() {
    let error = connect(&[mirror()], LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    let text = error.to_string();
    assert!(text.contains(&mirror().to_string()), "{text}");
    assert!(text.contains("itself"), "{text}");
}

#[test]
fn self_connection_is_skipped_for_the_next_address() {
    let (_listener, good) = listening();
    let conn = connect(&[mirror(), good], LIMIT).unwrap();
    assert_eq!(conn.peer_addr().unwrap(), good);
}

#[test]
fn connect_error_keeps_its_kind_and_names_its_address() {
    let (_bound, first) = refusing();
    let (_bound_too, last) = refusing();
    let error = connect(&[first, last], LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("{last}: ")));
    let source = error.source().expect("the error as the system gave it");
    let source = source.downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn name_without_an_address_is_an_error() {
    let manager = Tcp::<Fake>::new(NAMELESS);
    let error = block_on(manager.connect()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(
        text.contains(NAMELESS) && text.contains("no address"),
        "{text}"
    );
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
    let conn = to_itself().unwrap();
    assert_eq!(conn.local_addr().unwrap(), conn.peer_addr().unwrap());
}
