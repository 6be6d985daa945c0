//! What the kernel knows of this process and of its connections, and does to it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::server::LIMIT;

/// How many sockets this process has open.
pub(crate) fn open_sockets() -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count()
}

/// How many connections to a port have both ends open, as far as their client knows.
pub(crate) fn established_to(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let peer = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|address| address.ends_with(&peer))
            && words.next() == Some(ESTABLISHED)
    };
    table.lines().filter(is_one).count()
}

/// Linux, `TCP_ESTABLISHED` in `include/net/tcp_states.h`.
const ESTABLISHED: &str = "01";

/// Waits for what the kernel, or another process, does in its own time.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what} did not come about");
        yield_now().await;
    }
}

/// Waits until so many sockets are open.
pub(crate) async fn until_open_sockets_are(count: usize) {
    let start = Instant::now();
    while open_sockets() != count {
        let left = open_sockets();
        assert!(
            start.elapsed() < LIMIT,
            "{left} sockets are open, not {count}"
        );
        yield_now().await;
    }
}

/// Sees to it that this process may have as many files open as an administrator lets it.
pub(crate) fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    limit_files(maximum);
}

/// Sees to it that this process can open nothing more. What is open stays open.
pub(crate) fn allow_no_more_files() {
    limit_files(Some(0));
}

fn limit_files(current: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Stops all of this process for so long, as a suspended machine does: time goes on.
pub(crate) fn stand_still(span: Duration) {
    let me = std::process::id();
    let seconds = span.as_secs_f32();
    let script = format!("kill -STOP {me} && sleep {seconds} && kill -CONT {me}");
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{status}");
}
