//! Where a fault is let loose: beside the other tests, or in a process apart from them.
//!
//! A test that must be apart runs itself once more: this program, asked for that one test, in an
//! environment that says so.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, getuid, kill_process_group};

use super::{kernel, network};

/// Beside the other tests.
pub(crate) fn here(_name: &str, test: impl FnOnce()) {
    test();
}

/// In a process of its own, which may have as many files open as the system allows: for what
/// concerns all of a process.
pub(crate) fn own_process(name: &str, test: impl FnOnce()) {
    if is_apart(name) {
        kernel::allow_many_files();
        return test();
    }
    run_apart(name, Command::new(this_program()));
}

/// In a network of its own, which has the loopback interface and nothing else, and with mounts of
/// its own. Both are gone with the last process that is in them, however it ends.
///
/// Skipped, in words, where that is not to be had: without root and outside of CI.
pub(crate) fn own_network(name: &str, test: impl FnOnce()) {
    if is_apart(name) {
        must_be_unshared();
        network::come_up();
        return test();
    }
    let why_not = if getuid().is_root() {
        network::TOOLS.iter().find_map(|tool| tool.is_missing())
    } else {
        Some(String::from("a network of its own needs root"))
    };
    match why_not {
        None => {
            let mut command = Command::new("unshare");
            command.args(["--net", "--mount", "--"]).arg(this_program());
            run_apart(name, command);
        }
        Some(why) if getuid().is_root() || is_ci() => panic!("{why}"),
        Some(why) => {
            // Not by `eprintln`, which is not shown for a test that passes.
            let note = format!("skipped: {name}: {why}\n");
            io::stderr().write_all(note.as_bytes()).unwrap();
        }
    }
}

/// A program that a test needs, and the Debian package that has it.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

impl Tool {
    /// If it is missing, what to do about it.
    pub(crate) fn is_missing(&self) -> Option<String> {
        let Tool { program, package } = self;
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path).any(|folder| folder.join(program).is_file());
        (!found).then(|| format!("`{program}` is not on the PATH: apt-get install {package}"))
    }
}

/// Says in a process of a test's own which test that is.
const APART: &str = "CONNPOOL_TEST_APART";

/// After this a process apart is ended. It has a limit of its own, but may be unable to keep it.
const LIMIT: Duration = Duration::from_secs(90);

fn is_apart(name: &str) -> bool {
    env::var_os(APART).is_some_and(|test| test == name)
}

fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| ci == "true")
}

fn this_program() -> std::path::PathBuf {
    env::current_exe().unwrap()
}

fn run_apart(name: &str, mut command: Command) {
    command
        .args([name, "--exact", "--nocapture"])
        .env(APART, name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Whatever it starts is ended with it.
        .process_group(0);
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let in_time = receiver.recv_timeout(LIMIT).ok();
    let late = if in_time.is_some() { "" } else { ": it hangs" };
    let output = in_time.unwrap_or_else(|| {
        kill_process_group(group, Signal::KILL).unwrap();
        receiver.recv().unwrap()
    });
    waiter.join().unwrap().unwrap();

    let Output { status, .. } = output;
    let stdout = String::from_utf8_lossy(&output.stdout);
    // Asked for a test that there is not, it would succeed as well.
    if !status.success() || !stdout.contains("test result: ok. 1 passed") {
        print!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        panic!("in a process apart: {status}{late}");
    }
}

/// What follows changes the network and the mounts that this process is in.
fn must_be_unshared() {
    for kind in ["net", "mnt"] {
        let [mine, parents] = [String::from("self"), parent_id().to_string()]
            .map(|process| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap());
        assert_ne!(mine, parents, "this is everybody's: unset {APART}");
    }
}
