//! What is done to a network of a test's own: packets lost, ports used up, names changed.

use std::fs::{self, File};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{self, Command, Stdio};

use super::isolation::Tool;

/// Everything that is run for it.
pub(crate) const TOOLS: [Tool; 4] = [
    Tool {
        program: "unshare",
        package: "util-linux",
    },
    Tool {
        program: "mount",
        package: "mount",
    },
    Tool {
        program: "ip",
        package: "iproute2",
    },
    Tool {
        program: "nft",
        package: "nftables",
    },
];

/// Brings up the loopback interface.
pub(crate) fn come_up() {
    run("ip", &["link", "set", "lo", "up"], "");
}

/// Has the kernel take the ports of outgoing connections from this range only.
pub(crate) fn take_ports_from(range: RangeInclusive<u16>) {
    let range = format!("{} {}", range.start(), range.end());
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
}

/// Packets that never arrive, and nobody is told.
pub(crate) struct Lost(());

impl Lost {
    /// From now on, those that match an expression of nftables. One such loss at a time.
    pub(crate) fn all(matching: &str) -> Lost {
        let rules = format!(
            "table inet lost {{
                chain arriving {{ type filter hook input priority 0; {matching} drop; }}
            }}"
        );
        run("nft", &["-f", "-"], &rules);
        Lost(())
    }

    /// They arrive again.
    pub(crate) fn no_more(self) {
        run("nft", &["delete", "table", "inet", "lost"], "");
    }
}

/// The names that this process knows. There is one name server, at `127.0.0.1:53`, if anybody
/// plays it.
pub(crate) struct Names {
    hosts: File,
}

impl Names {
    pub(crate) fn none() -> Names {
        let resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        replace("/etc/resolv.conf")
            .write_all(resolver.as_bytes())
            .unwrap();
        if Path::new("/etc/nsswitch.conf").exists() {
            let order = "hosts: files dns\n";
            replace("/etc/nsswitch.conf")
                .write_all(order.as_bytes())
                .unwrap();
        }
        Names {
            hosts: replace("/etc/hosts"),
        }
    }

    /// From now on `name` has these addresses, and no other name has any.
    pub(crate) fn are(&self, name: &str, addresses: &[&str]) {
        let lines: String = addresses
            .iter()
            .map(|ip| format!("{ip} {name}\n"))
            .collect();
        // Empty for a moment, which nobody sees: the name is looked up when this is over.
        self.hosts.set_len(0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&self.hosts, lines.as_bytes(), 0).unwrap();
    }
}

/// An empty file in the place of another one, for this process alone; written to by its handle, so
/// that the other one is safe.
fn replace(path: &str) -> File {
    let name = path.replace('/', "-");
    let own = std::env::temp_dir().join(format!("connpool{name}-{}", process::id()));
    let file = File::create(&own).unwrap();
    run("mount", &["--bind", own.to_str().unwrap(), path], "");
    // Mounted, it needs no name.
    fs::remove_file(own).unwrap();
    file
}

fn run(program: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
}
