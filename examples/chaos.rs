//! Runs clients against a server that is killed, restarted, stops answering, closes connections and
//! sends unsolicited data. A table shows the results of the clients and the state of the pool.
//!
//! $ cargo run --release --example chaos
//! $ cargo run --release --example chaos -- --runtime smol

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use connpool_core::{CloseReason, Connection, Event, Manager, Pool, Runtime, Stats};
use connpool_examples::args::{Args, Which};
use connpool_examples::fault_server::{Client, FaultServer, Mode, ask};
use connpool_examples::pause;
use futures_lite::FutureExt;

const CLIENTS: usize = 16;
const TICK: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_millis(200);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The steps: a title, what happens to the server, and the number of ticks until the next step.
const SCRIPT: [(&str, Action, u32); 10] = [
    ("normal operation", Action::Nothing, 3),
    ("it is killed", Action::Kill, 6),
    ("it is started again", Action::Restart, 6),
    ("it stops answering", Action::SetMode(Mode::Unresponsive), 6),
    ("it answers again", Action::SetMode(Mode::Normal), 5),
    ("it sends unsolicited data", Action::SetMode(Mode::Unsolicited), 2),
    ("it behaves normally again", Action::SetMode(Mode::Normal), 2),
    ("it closes every connection", Action::SetMode(Mode::Disconnecting), 6),
    ("it is killed and started again", Action::Restart, 6),
    ("the end", Action::Nothing, 1),
];

enum Action {
    Nothing,
    Kill,
    Restart,
    SetMode(Mode),
}

impl Action {
    fn apply(&self, server: &mut FaultServer) -> io::Result<()> {
        match self {
            Action::Nothing => {}
            Action::Kill => server.kill(),
            Action::Restart => server.restart()?,
            Action::SetMode(mode) => server.set_mode(*mode),
        }
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let server = FaultServer::start()?;
    let address = server.address();
    match Args::parse().runtime {
        Which::Tokio => {
            use connpool_tokio::{TcpManager, TokioRuntime};
            println!("tokio clients of a faulty server on {address}\n");
            tokio::runtime::Runtime::new()?.block_on(async {
                demo(TcpManager::new(address), TokioRuntime::new(), server).await
            })
        }
        Which::Smol => {
            use connpool_smol::{SmolRuntime, TcpManager};
            println!("smol clients of a faulty server on {address}\n");
            smol::block_on(demo(TcpManager::new(address), SmolRuntime::new(), server))
        }
    }
}

/// Runs the demo, the same on every runtime.
async fn demo<T>(tcp: T, runtime: impl Runtime, mut server: FaultServer) -> Outcome<()>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let events = Arc::new(EventLog::default());
    let pool = Pool::builder(Client::over(tcp), Arc::clone(&runtime))
        .name("chaos")
        .min_size(2)
        .max_size(8)
        .ping_after(Duration::from_millis(50))
        .ping_timeout(Duration::from_millis(100))
        .connect_timeout(Duration::from_millis(150))
        .keepalive(Duration::from_millis(200))
        .evict_interval(Duration::from_millis(100))
        .observer({
            let events = Arc::clone(&events);
            move |_pool: &str, event: &Event<'_>| events.take(event)
        })
        .build()
        .await?;

    let results = Arc::new(Results::default());
    for client in 0..CLIENTS {
        let client = run_client(client, pool.clone(), Arc::clone(&runtime), Arc::clone(&results));
        runtime.spawn(Box::pin(client));
    }
    println!("{HEAD}");
    let mut before = pool.stats();
    for (what, action, ticks) in SCRIPT {
        println!("-- {what}");
        action.apply(&mut server)?;
        for _ in 0..ticks {
            pause(&*runtime, TICK).await;
            let stats = pool.stats();
            let accepted = server.accepted();
            println!("{}", row(&results, &before, &stats, accepted));
            for line in events.read() {
                println!("   {line}");
            }
            before = stats;
        }
    }
    let report = pool.close(Duration::from_secs(5)).await;
    println!("\n{}", pool.stats());
    println!("closed: {} connections, {} still in use", report.closed, report.still_out.len());
    server.kill();
    match results.wrong.load(Relaxed) {
        0 => Ok(()),
        wrong => Err(format!("{wrong} replies belonged to another request").into()),
    }
}

/// Sends requests until the pool closes, each with a time limit. A request whose connection breaks is
/// sent once more, since the server may have been killed meanwhile.
async fn run_client<M>(
    client: usize,
    pool: Pool<M>,
    runtime: Arc<dyn Runtime>,
    results: Arc<Results>,
) where
    M: Manager<Connection: Connection, Error = io::Error>,
{
    let mut number = client as u64;
    while !pool.is_closed() {
        number += CLIENTS as u64;
        let mut answer = request(&pool, &*runtime, number).await;
        if answer.as_ref().is_err_and(|error| is_broken(&**error)) {
            answer = request(&pool, &*runtime, number).await;
        }
        match answer {
            Ok(answered) if answered == number => results.right.fetch_add(1, Relaxed),
            Ok(_) => results.wrong.fetch_add(1, Relaxed),
            Err(_) => results.failed.fetch_add(1, Relaxed),
        };
        pause(&*runtime, Duration::from_millis(4)).await;
    }
}

/// Waits for a connection for as long as the pool allows, and for the reply for `PATIENCE`.
async fn request<M>(pool: &Pool<M>, runtime: &dyn Runtime, number: u64) -> Outcome<u64>
where
    M: Manager<Connection: Connection, Error = io::Error>,
{
    let mut conn = pool.get().await?;
    let answer = conn.exchange(async |conn| Ok(ask(conn, number).await?));
    let timed_out = async {
        pause(runtime, PATIENCE).await;
        Err(io::Error::from(io::ErrorKind::TimedOut).into())
    };
    answer.or(timed_out).await
}

fn is_broken(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() != io::ErrorKind::TimedOut)
}

/// Results of the clients since the last row. `wrong` is never reset.
#[derive(Default)]
struct Results {
    right: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

const HEAD: &str = "   clients: right failed wrong   pool: open in use idle connecting waiting   \
                    accepted   closed since the row before";

fn row(results: &Results, before: &Stats, now: &Stats, accepted: u64) -> String {
    let closed: Vec<String> = CloseReason::ALL
        .iter()
        .map(|&reason| (reason, now.closed.get(reason) - before.closed.get(reason)))
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{} {count}", reason.label()))
        .collect();
    format!(
        "   {:>14} {:>6} {:>5} {:>12} {:>6} {:>4} {:>10} {:>7} {accepted:>10}   {}",
        results.right.swap(0, Relaxed),
        results.failed.swap(0, Relaxed),
        results.wrong.load(Relaxed),
        now.size,
        now.active,
        now.available,
        now.connecting,
        now.waiting,
        closed.join(", "),
    )
}

/// Events of the pool since the last row, as text.
#[derive(Default)]
struct EventLog(Mutex<Vec<String>>);

impl EventLog {
    fn take(&self, event: &Event<'_>) {
        let line = match event {
            Event::Breaker { from, to, .. } => format!("breaker: {from:?} -> {to:?}"),
            Event::Burst => {
                "burst of broken connections: older ones are pinged before reuse".to_owned()
            }
            _ => return,
        };
        self.0.lock().expect("the lock is not poisoned").push(line);
    }

    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("the lock is not poisoned"))
    }
}
