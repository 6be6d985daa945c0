//! A Redis server for a test or an example.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use futures_lite::io::AssertAsync;

use crate::redis::RedisUrl;
use crate::resp;

const PROGRAM: &str = "redis-server";

/// Time limit of a start and of a command.
const LIMIT: Duration = Duration::from_secs(10);

/// The number of ports to try.
const PORTS: usize = 20;

/// A `redis-server` on a loopback port, without configuration file or persistence. Stopped on drop.
pub struct RedisServer {
    port: u16,
    // Declared before its directory: fields are dropped in this order.
    running: Option<Running>,
    folder: Folder,
}

impl RedisServer {
    /// Starts a server and waits until it answers. Blocks for about ten milliseconds.
    ///
    /// # Errors
    ///
    /// If `redis-server` is not installed (the error names the remedy), or if it does not start
    /// (the error contains the end of its log).
    pub fn start() -> io::Result<RedisServer> {
        // Below the ephemeral ports, so that no client is given this port while the server is down.
        let ports = (0..PORTS).map(|_| rand::random_range(20_000..32_000));
        RedisServer::start_on_one_of(PROGRAM, ports)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> RedisUrl {
        RedisUrl { address: self.address(), password: None }
    }

    /// Shuts the server down gracefully and waits until it has exited.
    pub fn stop(&mut self) {
        // The server closes the connection instead of replying.
        let _ = self.command(&["SHUTDOWN", "NOSAVE"]);
        self.kill();
    }

    /// Kills the server, as a crash would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Restarts the server on the same port, and stops it first if it runs. Data, passwords and
    /// settings are lost. Blocks until it answers.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let start = Instant::now();
        self.running = loop {
            match Running::start(PROGRAM, self.port, &self.folder.0) {
                Ok(running) => break Some(running),
                // Old connections may hold the port for a moment.
                Err(error) if is_about_the_port(&error) && start.elapsed() < LIMIT => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error),
            }
        };
        Ok(())
    }

    /// Runs a command on a separate connection, which stays authenticated when the password
    /// changes. Blocks until the reply has arrived, and returns it as text.
    ///
    /// # Errors
    ///
    /// If Redis replies with an error, or does not run.
    pub fn command(&mut self, words: &[&str]) -> io::Result<String> {
        match &self.running {
            Some(running) => command(&running.admin, words),
            None => Err(io::Error::new(
                ErrorKind::NotConnected,
                "redis-server was stopped: restart it before",
            )),
        }
    }

    fn start_on_one_of(
        program: &str,
        ports: impl IntoIterator<Item = u16>,
    ) -> io::Result<RedisServer> {
        let folder = Folder::new()?;
        let mut last = io::Error::other("no port to start redis-server on");
        for port in ports {
            match Running::start(program, port, &folder.0) {
                Ok(running) => {
                    return Ok(RedisServer { port, running: Some(running), folder });
                }
                Err(error) if is_about_the_port(&error) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// The process, and a connection to it.
struct Running {
    admin: TcpStream,
    _process: Process,
}

impl Running {
    fn start(program: &str, port: u16, folder: &Path) -> io::Result<Running> {
        let log = folder.join("redis.log");
        let child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(Stdio::null())
            .spawn();
        let mut process = Process(child.map_err(|error| cannot_run(program, &error))?);

        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = process.0.try_wait()? {
                return Err(ended_at_once(port, &fs::read_to_string(log)?, status));
            }
            if let Ok(admin) = log_in(port, folder) {
                return Ok(Running { admin, _process: process });
            }
            // Poll: Redis does not report when it starts to listen.
            thread::sleep(Duration::from_millis(2));
        }
        Err(io::Error::new(
            ErrorKind::TimedOut,
            format!("redis-server on port {port} did not answer within {LIMIT:?}"),
        ))
    }
}

/// Connects to the server that uses this directory. Another server on the same port would answer as
/// well, hence the check.
fn log_in(port: u16, folder: &Path) -> io::Result<TcpStream> {
    let admin = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    admin.set_nodelay(true)?;
    // The process on this port need not be a Redis, and may never answer.
    admin.set_read_timeout(Some(Duration::from_millis(200)))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    if !command(&admin, &["CONFIG", "GET", "dir"])?.contains(&*name) {
        return Err(ErrorKind::AddrInUse.into());
    }
    admin.set_read_timeout(Some(LIMIT))?;
    Ok(admin)
}

fn command(admin: &TcpStream, words: &[&str]) -> io::Result<String> {
    let mut admin = AssertAsync::new(admin);
    let reply = block_on(resp::exchange(&mut admin, &resp::request(words)))?;
    let text = resp::text(&reply);
    if reply.starts_with(b"-") { Err(io::Error::other(text)) } else { Ok(text) }
}

fn cannot_run(program: &str, error: &io::Error) -> io::Error {
    let what = match error.kind() {
        ErrorKind::NotFound => format!(
            "{program} is not installed: `apt-get install redis-server` installs it; an example \
             uses another server with `--url redis://host:port`"
        ),
        _ => format!("cannot run {program}: {error}"),
    };
    io::Error::new(error.kind(), what)
}

/// The usual cause is that the port is taken.
fn ended_at_once(port: u16, log: &str, status: impl std::fmt::Display) -> io::Error {
    let lines: Vec<_> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(2)..].join("\n  ");
    io::Error::new(
        ErrorKind::AddrInUse,
        format!("redis-server on port {port} ended with {status}:\n  {last}"),
    )
}

fn is_about_the_port(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if the process has exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let name = format!("connpool-redis-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use suites::requirement::Requirement;

    fn start() -> RedisServer {
        RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn it_runs_until_it_is_dropped() {
        if !Requirement::Redis.is_met() {
            return;
        }
        let mut server = start();
        assert_eq!(server.command(&["PING"]).unwrap(), "PONG");
        let (address, folder) = (server.address(), server.folder.0.clone());
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn a_restart_keeps_the_port_and_loses_all_data() {
        if !Requirement::Redis.is_met() {
            return;
        }
        let mut server = start();
        let address = server.address();
        for end in [RedisServer::stop, RedisServer::kill] {
            server.command(&["SET", "key", "value"]).unwrap();
            end(&mut server);
            assert!(TcpStream::connect(&address).is_err());
            let error = server.command(&["PING"]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            server.restart().unwrap();
            assert_eq!(server.address(), address);
            assert_eq!(server.command(&["EXISTS", "key"]).unwrap(), "0");
        }
    }

    #[test]
    fn an_error_reply_is_an_error() {
        if !Requirement::Redis.is_met() {
            return;
        }
        let error = start().command(&["HELP", "ME"]).unwrap_err();
        assert!(error.to_string().contains("unknown command"), "{error}");
    }

    #[test]
    fn a_taken_port_is_skipped() {
        if !Requirement::Redis.is_met() {
            return;
        }
        let other = start();
        let free = start().port;
        let mut server = RedisServer::start_on_one_of(PROGRAM, [other.port, free]).unwrap();
        assert_eq!(server.address(), format!("127.0.0.1:{free}"));
        assert_eq!(server.command(&["PING"]).unwrap(), "PONG");
    }

    #[test]
    fn without_a_free_port_the_error_says_why() {
        if !Requirement::Redis.is_met() {
            return;
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = RedisServer::start_on_one_of(PROGRAM, [port]).err().unwrap();
        assert!(error.to_string().contains("already in use"), "{error}");
    }

    #[test]
    fn without_the_program_the_error_says_how_to_install_it() {
        let error = RedisServer::start_on_one_of("no-such-redis-server", [1]);
        let error = error.err().unwrap().to_string();
        assert!(error.contains("`apt-get install redis-server`"), "{error}");
        assert!(error.contains("`--url redis://host:port`"), "{error}");
    }
}
