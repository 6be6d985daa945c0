//! The state of the kernel for this process and its connections.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use suites::server::LIMIT;

/// Returns the number of open sockets of this process.
pub(crate) fn open_sockets() -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Returns the number of established connections to a port, as seen by their clients.
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

/// Waits for a condition that the kernel or another process brings about.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "timed out waiting for {what}");
        yield_now().await;
    }
}

/// Waits until exactly `count` sockets are open.
pub(crate) async fn wait_until_open_sockets_are(count: usize) {
    let start = Instant::now();
    while open_sockets() != count {
        let left = open_sockets();
        assert!(start.elapsed() < LIMIT, "{left} sockets are open, not {count}");
        yield_now().await;
    }
}

/// Raises the limit of open files to its maximum.
pub(crate) fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    limit_files(maximum);
}

/// Prevents this process from opening any more files. Open ones stay open.
pub(crate) fn allow_no_more_files() {
    limit_files(Some(0));
}

fn limit_files(current: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Stops this process with `SIGSTOP` for this duration, like a suspended machine: time goes on.
pub(crate) fn stop_process(span: Duration) {
    let pid = std::process::id();
    let seconds = span.as_secs_f32();
    let script = format!("kill -STOP {pid} && sleep {seconds} && kill -CONT {pid}");
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{status}");
}
