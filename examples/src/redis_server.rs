//! A Redis server of one's own, for as long as a test or an example needs it.

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

/// How long a start may take, and a command.
const LIMIT: Duration = Duration::from_secs(10);

/// How many ports are tried.
const PORTS: usize = 20;

/// A `redis-server` on a loopback port of its own: no config file, nothing kept on disk. It ends
/// when this is dropped.
pub struct RedisServer {
    port: u16,
    // Before its folder: fields are dropped in this order.
    running: Option<Running>,
    folder: Folder,
}

impl RedisServer {
    /// Starts one and waits until it answers. Blocks for some ten milliseconds.
    ///
    /// # Errors
    ///
    /// If `redis-server` is not installed, with what to do about it; if it does not start, with the
    /// last that it wrote.
    pub fn start() -> io::Result<RedisServer> {
        // Below the ports that the kernel gives to those who connect: while the server is down,
        // nobody gets its port by chance.
        let ports = (0..PORTS).map(|_| rand::random_range(20_000..32_000));
        RedisServer::start_on_one_of(PROGRAM, ports)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Where it is.
    pub fn url(&self) -> RedisUrl {
        RedisUrl {
            address: self.address(),
            password: None,
        }
    }

    /// Has it shut down in good order, and waits for its end.
    pub fn stop(&mut self) {
        // There is no reply: the connection ends with the server.
        let _ = self.command(&["SHUTDOWN", "NOSAVE"]);
        self.kill();
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again on the same port, and ends it before if it still runs. It has forgotten
    /// everything: data, passwords, settings. Blocks until it answers.
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
                // What is left of the old connections may hold the port for a moment.
                Err(error) if is_about_the_port(&error) && start.elapsed() < LIMIT => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error),
            }
        };
        Ok(())
    }

    /// Runs a command on a connection that belongs to no pool, and that stays logged in when the
    /// password changes; the reply as text. Blocks until it is there.
    ///
    /// # Errors
    ///
    /// If Redis says no, or does not run.
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
                    return Ok(RedisServer {
                        port,
                        running: Some(running),
                        folder,
                    });
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
                return Ok(Running {
                    admin,
                    _process: process,
                });
            }
            // Nobody tells when it listens.
            thread::sleep(Duration::from_millis(2));
        }
        Err(io::Error::new(
            ErrorKind::TimedOut,
            format!("redis-server on port {port} did not answer within {LIMIT:?}"),
        ))
    }
}

/// A connection to the server that was started with this folder. Another one that has the port
/// would answer as well.
fn log_in(port: u16, folder: &Path) -> io::Result<TcpStream> {
    let admin = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    admin.set_nodelay(true)?;
    // Whatever has the port need not be a Redis, and may never answer.
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
    if reply.starts_with(b"-") {
        Err(io::Error::other(text))
    } else {
        Ok(text)
    }
}

fn cannot_run(program: &str, error: &io::Error) -> io::Error {
    let what = match error.kind() {
        ErrorKind::NotFound => format!(
            "{program} is not installed: `apt-get install redis-server` brings it; an example \
             takes another server by `--url redis://host:port`"
        ),
        _ => format!("cannot run {program}: {error}"),
    };
    io::Error::new(error.kind(), what)
}

/// As a rule it did not get its port.
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
        // Fails only if it has ended already.
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

    fn start() -> RedisServer {
        RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn it_runs_until_it_is_dropped() {
        let mut server = start();
        assert_eq!(server.command(&["PING"]).unwrap(), "PONG");
        let (address, folder) = (server.address(), server.folder.0.clone());
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn it_comes_back_on_the_same_port_having_forgotten_everything() {
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
    fn a_no_of_the_server_is_an_error() {
        let error = start().command(&["HELP", "ME"]).unwrap_err();
        assert!(error.to_string().contains("unknown command"), "{error}");
    }

    #[test]
    fn a_port_that_another_server_has_is_passed_over() {
        let other = start();
        let free = start().port;
        let mut server = RedisServer::start_on_one_of(PROGRAM, [other.port, free]).unwrap();
        assert_eq!(server.address(), format!("127.0.0.1:{free}"));
        assert_eq!(server.command(&["PING"]).unwrap(), "PONG");
    }

    #[test]
    fn without_a_free_port_it_says_why_it_does_not_start() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = RedisServer::start_on_one_of(PROGRAM, [port]).err().unwrap();
        assert!(error.to_string().contains("already in use"), "{error}");
    }

    #[test]
    fn without_the_program_it_says_how_to_get_it() {
        let error = RedisServer::start_on_one_of("no-such-redis-server", [1]);
        let error = error.err().unwrap().to_string();
        assert!(error.contains("`apt-get install redis-server`"), "{error}");
        assert!(error.contains("`--url redis://host:port`"), "{error}");
    }
}
