//! What some tests need beyond a Rust toolchain.

use std::cmp::Reverse;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Something that a machine may lack. The tests that need it are left out then, unless the variable
/// `CI` is set: a run in CI leaves nothing out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// A Redis server to start, crash and restart.
    Redis,
    /// A PostgreSQL server to restart.
    Postgres,
    /// A network of the test's own, to lose packets, ports and names in.
    Network,
}

/// A program, and the Debian package that has it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const REDIS: &[Program] = &[Program { name: "redis-server", package: "redis-server" }];

/// As root, the server is run as another user.
const SETPRIV: Program = Program { name: "setpriv", package: "util-linux" };

const NETWORK: &[Program] = &[
    Program { name: "unshare", package: "util-linux" },
    Program { name: "mount", package: "mount" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "nft", package: "nftables" },
];

impl Requirement {
    /// All requirements.
    pub const ALL: &[Requirement] =
        &[Requirement::Redis, Requirement::Postgres, Requirement::Network];

    /// Returns whether a test that needs this can run.
    ///
    /// # Panics
    ///
    /// If it cannot, and the variable `CI` is set.
    pub fn is_met(self) -> bool {
        match self.missing() {
            None => true,
            Some(why) if is_ci() => panic!("{self}: {why}"),
            Some(_) => false,
        }
    }

    /// Returns what is missing and how to get it, or `None` if the requirement is met.
    pub fn missing(self) -> Option<String> {
        let programs = match self {
            Requirement::Redis => REDIS,
            Requirement::Postgres if postgres_programs().is_none() => {
                return Some("not installed: apt-get install postgresql".to_owned());
            }
            Requirement::Postgres if is_root() => &[SETPRIV],
            Requirement::Postgres => &[],
            Requirement::Network if !is_root() => return Some("root is needed".to_owned()),
            Requirement::Network => NETWORK,
        };
        let absent: Vec<_> = programs.iter().filter(|program| !program.is_installed()).collect();
        let list = |of: fn(&Program) -> &'static str| {
            absent.iter().map(|program| of(program)).collect::<Vec<_>>().join(" ")
        };
        (!absent.is_empty()).then(|| {
            let (names, packages) = (list(|one| one.name), list(|one| one.package));
            format!("not on the PATH: {names}; apt-get install {packages}")
        })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Requirement::Redis => "tests with Redis",
            Requirement::Postgres => "tests with PostgreSQL",
            Requirement::Network => "tests in a network of their own",
        })
    }
}

impl Program {
    fn is_installed(&self) -> bool {
        on_the_path().iter().any(|folder| folder.join(self.name).is_file())
    }
}

/// Returns the folder with the programs of a PostgreSQL server: one of the PATH, or else the newest
/// of Debian's, which are not on the PATH.
pub fn postgres_programs() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = installed.map(|entry| entry.path().join("bin")).collect();
    debian.sort_by_key(|folder| Reverse(version_of(folder)));
    let folders = on_the_path().into_iter().chain(debian);
    let has_all = |folder: &PathBuf| {
        ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
    };
    folders.into_iter().find(has_all)
}

/// Returns the version in `/usr/lib/postgresql/<version>/bin`.
fn version_of(folder: &Path) -> Option<u32> {
    folder.parent()?.file_name()?.to_str()?.parse().ok()
}

fn on_the_path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

/// Returns whether nothing may be left out.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false")
}

/// Returns whether this process runs as root.
#[cfg(target_os = "linux")]
pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Asked only for what Linux alone has: network namespaces, `setpriv`.
#[cfg(not(target_os = "linux"))]
pub fn is_root() -> bool {
    false
}
