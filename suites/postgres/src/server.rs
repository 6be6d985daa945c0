//! A PostgreSQL server of the test's own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use rustix::process::{Pid, Signal, kill_process};
use suites::requirement::{is_root, postgres_programs};
use tokio_postgres::{Client, Config, NoTls};

use crate::until::until;

/// No other server has this user: a connect to one of them would fail.
const USER: &str = "connpool";

/// How long a server may take to end when the test does.
const END: Duration = Duration::from_secs(5);

/// A server on a loopback port, with a new cluster in a directory of its own. Stopped and deleted on
/// drop.
pub struct PostgresServer {
    programs: PathBuf,
    port: u16,
    // Declared before its directory: fields are dropped in this order.
    process: Option<Process>,
    folder: Folder,
}

impl PostgresServer {
    /// Creates a cluster. The server does not run yet.
    pub fn create() -> PostgresServer {
        let programs = postgres_programs().expect("PostgreSQL is not installed");
        let name = format!("connpool-postgres-{:016x}", rand::random::<u64>());
        // `initdb` creates it: it must belong to the user that runs the server.
        let folder = Folder(env::temp_dir().join(name));
        let server = PostgresServer { programs, port: free_port(), process: None, folder };

        let mut initdb = server.program("initdb");
        initdb.args(["--username", USER, "--auth", "trust", "--encoding", "UTF8"]);
        initdb.args(["--locale", "C", "--no-sync", "--pgdata"]).arg(&server.folder.0);
        let output = initdb.output().unwrap_or_else(|error| panic!("{initdb:?}: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{initdb:?}: {}: {errors}", output.status);
        server
    }

    /// Returns how to connect to it.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.host(Ipv4Addr::LOCALHOST.to_string()).port(self.port);
        config.user(USER).dbname("postgres");
        config
    }

    /// Starts the server and waits until it accepts a client: while it starts up, its port is open,
    /// but it refuses all clients.
    pub async fn start(&mut self) {
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(&self.folder.0);
        for setting in [
            &format!("port={}", self.port),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // The data need not survive a crash of the machine.
            "fsync=off",
        ] {
            postgres.args(["-c", setting]);
        }
        let log = File::options().append(true).create(true).open(self.log_file()).unwrap();
        postgres.stdout(Stdio::null()).stderr(log);
        let child = postgres.spawn().unwrap_or_else(|error| panic!("{postgres:?}: {error}"));
        self.process = Some(Process(child));
        until("PostgreSQL accepts a client", async || {
            self.assert_running();
            self.accepts().await
        })
        .await;
    }

    /// Stops the server as Debian's service does, with a fast shutdown: it ends its connections and
    /// the queries under way. Waits until it has exited.
    pub async fn stop(&mut self) {
        let process = self.process.as_mut().expect("the server does not run");
        process.signal(Signal::INT);
        until("PostgreSQL has exited", async || process.has_ended()).await;
        self.process = None;
    }

    /// Connects to it, without a pool.
    pub async fn client(&self) -> Client {
        let connected = self.config().connect(NoTls).await;
        let (client, connection) = connected.expect("connecting to PostgreSQL");
        tokio::spawn(connection);
        client
    }

    /// Returns what the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.0.join("server.log")
    }

    async fn accepts(&self) -> bool {
        match self.config().connect(NoTls).await {
            // Closes the connection.
            Ok(_unused) => true,
            Err(_) => false,
        }
    }

    fn assert_running(&mut self) {
        if self.process.as_mut().is_none_or(Process::has_ended) {
            panic!("PostgreSQL has ended:\n{}", self.log());
        }
    }

    /// Returns a command that runs a program of the server, which refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        // A directory that every user may enter.
        command.current_dir(OsStr::new("/")).stdin(Stdio::null());
        command
    }
}

/// Below the ephemeral ports, so that no client is given this port while the server is down, and
/// below the ports of the tests with Redis.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = (0..20).map(|_| rand::random_range(10_000..20_000));
    ports.find(is_free).expect("no free port")
}

struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        // Fails only if the process has exited already.
        let _ = kill_process(Pid::from_child(&self.0), signal);
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children end with it.
        let start = Instant::now();
        while !self.has_ended() {
            let over = start.elapsed() > END;
            self.signal(if over { Signal::KILL } else { Signal::QUIT });
            thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
