//! Isolation of tests: in the test process, in a process of its own, or in a network of its own.
//!
//! An isolated test runs this test program again for that one test, with an environment variable
//! that says so.

use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, kill_process_group};
use suites::requirement::Requirement;

use super::{kernel, network};

/// Runs the test in the test process.
pub(crate) fn here(_name: &str, test: impl FnOnce()) {
    test();
}

/// Runs the test in its own process, with the limit of open files at its maximum: for faults that
/// concern a whole process.
pub(crate) fn own_process(name: &str, test: impl FnOnce()) {
    if is_isolated(name) {
        kernel::allow_many_files();
        return test();
    }
    run_isolated(name, Command::new(this_program()));
}

/// Like [`own_process`], for a test that starts a Redis server. Left out if there is none.
pub(crate) fn own_process_with_redis(name: &str, test: impl FnOnce()) {
    if Requirement::Redis.is_met() {
        own_process(name, test);
    }
}

/// Runs the test in its own network namespace, which has only the loopback interface, and its own
/// mount namespace. Both end with the last process in them. Left out if that is impossible.
pub(crate) fn own_network(name: &str, test: impl FnOnce()) {
    if is_isolated(name) {
        assert_unshared();
        network::bring_up_loopback();
        return test();
    }
    if Requirement::Network.is_met() {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--"]).arg(this_program());
        run_isolated(name, command);
    }
}

/// Names the test that runs in an isolated process.
const ISOLATED: &str = "CONNPOOL_TEST_ISOLATED";

/// An isolated process is killed after this time. The test inside has a shorter limit, but may be
/// unable to enforce it.
const LIMIT: Duration = Duration::from_secs(90);

fn is_isolated(name: &str) -> bool {
    env::var_os(ISOLATED).is_some_and(|test| test == name)
}

fn this_program() -> std::path::PathBuf {
    env::current_exe().unwrap()
}

fn run_isolated(name: &str, mut command: Command) {
    command
        .args([name, "--exact", "--nocapture"])
        .env(ISOLATED, name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its child processes are killed with it.
        .process_group(0);
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let in_time = receiver.recv_timeout(LIMIT).ok();
    let hang = if in_time.is_some() { "" } else { ": it hung" };
    let output = in_time.unwrap_or_else(|| {
        kill_process_group(group, Signal::KILL).unwrap();
        receiver.recv().unwrap()
    });
    waiter.join().unwrap().unwrap();

    let Output { status, .. } = output;
    let stdout = String::from_utf8_lossy(&output.stdout);
    // Without a matching test the process would succeed as well.
    if !status.success() || !stdout.contains("test result: ok. 1 passed") {
        print!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        panic!("in an isolated process: {status}{hang}");
    }
}

/// The caller will change the network and the mounts of this process.
fn assert_unshared() {
    for kind in ["net", "mnt"] {
        let [mine, parents] = [String::from("self"), parent_id().to_string()]
            .map(|process| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap());
        assert_ne!(mine, parents, "not in a namespace of its own: unset {ISOLATED}");
    }
}
