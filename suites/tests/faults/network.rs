//! Faults in the private network of a test: lost packets, exhausted ports, changed names.

use std::fs::{self, File};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{self, Command, Stdio};

/// Brings up the loopback interface.
pub(crate) fn bring_up_loopback() {
    run("ip", &["link", "set", "lo", "up"], "");
}

/// Restricts the ports of outgoing connections to this range.
pub(crate) fn take_ports_from(range: RangeInclusive<u16>) {
    let range = format!("{} {}", range.start(), range.end());
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
}

/// A rule that drops packets silently. The rule stays if this is dropped.
pub(crate) struct PacketLoss(());

impl PacketLoss {
    /// Drops packets that match this nftables expression from now on. Only one rule may exist at a
    /// time.
    pub(crate) fn matching(expression: &str) -> PacketLoss {
        let rules = format!(
            "table inet lost {{
                chain arriving {{ type filter hook input priority 0; {expression} drop; }}
            }}"
        );
        run("nft", &["-f", "-"], &rules);
        PacketLoss(())
    }

    /// Removes the rule.
    pub(crate) fn stop(self) {
        run("nft", &["delete", "table", "inet", "lost"], "");
    }
}

/// The host names known to this process, and a name server at `127.0.0.1:53` that the test may run.
pub(crate) struct Hosts {
    hosts: File,
}

impl Hosts {
    pub(crate) fn empty() -> Hosts {
        let resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        replace("/etc/resolv.conf").write_all(resolver.as_bytes()).unwrap();
        if Path::new("/etc/nsswitch.conf").exists() {
            let order = "hosts: files dns\n";
            replace("/etc/nsswitch.conf").write_all(order.as_bytes()).unwrap();
        }
        Hosts { hosts: replace("/etc/hosts") }
    }

    /// From now on, `name` has these addresses, and no other name is known.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let lines: String = addresses.iter().map(|ip| format!("{ip} {name}\n")).collect();
        // The file is empty for a moment, before any lookup can read it.
        self.hosts.set_len(0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&self.hosts, lines.as_bytes(), 0).unwrap();
    }
}

/// Mounts an empty file over another one, for this process only. Written through its handle, so the
/// original is safe.
fn replace(path: &str) -> File {
    let name = path.replace('/', "-");
    let own = std::env::temp_dir().join(format!("connpool{name}-{}", process::id()));
    let file = File::create(&own).unwrap();
    run("mount", &["--bind", own.to_str().unwrap(), path], "");
    // The mount does not need the name.
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
}
