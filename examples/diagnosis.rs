//! Provokes every error that a `get` can return, and prints the pool's messages.
//!
//! $ cargo run --release --example diagnosis
//! $ cargo run --release --example diagnosis -- --runtime smol

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use connpool_core::{Builder, Connection, Event, Manager, Pool, Runtime};
use connpool_examples::args::{Args, Which};
use connpool_examples::fault_server::{Client, FaultServer, Mode, ask};
use connpool_examples::pause;

const MILLI: Duration = Duration::from_millis(1);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    match Args::parse().runtime {
        Which::Tokio => {
            use connpool_tokio::{TcpManager, TokioRuntime};
            tokio::runtime::Runtime::new()?
                .block_on(async { demo(TcpManager::new, TokioRuntime::new()).await })
        }
        Which::Smol => {
            use connpool_smol::{SmolRuntime, TcpManager};
            smol::block_on(demo(TcpManager::new, SmolRuntime::new()))
        }
    }
}

/// Runs the demo, the same on every runtime.
async fn demo<T>(tcp: impl Fn(String) -> T, runtime: impl Runtime) -> Outcome<()>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let mut server = FaultServer::start()?;
    let address = server.address().to_string();
    let pool = |name: &str| {
        let client = Client::over(tcp(address.clone()));
        Pool::builder(client, Arc::clone(&runtime))
            .name(name)
            .get_timeout(200 * MILLI)
            .connect_timeout(100 * MILLI)
            .observer(announce)
    };

    title("Everything is in use");
    let orders = pool("orders").max_size(2).build_lazy()?;
    let mut report = orders.get().await?;
    report.label("monthly report");
    let other = orders.get().await?;
    failed(orders.get().await);
    println!("\n  the same list from `holders()`:");
    for holder in orders.holders() {
        println!("    {holder}");
    }
    failed(orders.try_get());
    drop((report, other));

    title("Waiting is not allowed");
    let strict = pool("strict").max_size(1).max_waiters(0).build_lazy()?;
    let held = strict.get().await?;
    failed(strict.get().await);
    drop(held);

    title("More connections than max_size");
    let single = pool("single").max_size(1).build_lazy()?;
    failed(single.get_many(2).await);

    title("A connection is not returned");
    let leaky = pool("leaky").leak_warning(50 * MILLI).build_lazy()?;
    let kept = leaky.get().await?;
    pause(&*runtime, 100 * MILLI).await;
    drop(kept);

    title("The pool is paused");
    let paused = pool("paused").build_lazy()?;
    paused.pause();
    failed(paused.get().await);
    paused.resume();
    ask(&mut *paused.get().await?, 1).await?;

    server.set_mode(Mode::Unresponsive);
    title("The server accepts connections but sends nothing");
    let silent = pool("silent").build_lazy()?;
    failed(silent.get().await);

    title("The server is down");
    server.kill();
    let refused = pool("refused").build_lazy()?;
    failed(refused.get().await);
    println!("\n  with `fail_fast_after(None)`, callers wait instead:");
    let patient = pool("patient").fail_fast_after(None).build_lazy()?;
    failed(patient.get().await);

    title("The server stays down: the breaker opens, and callers fail at once");
    while refused.stats().breaker == connpool_core::BreakerState::Closed {
        let _ = refused.get().await;
    }
    failed(refused.get().await);

    title("The pool is closed");
    refused.close(MILLI).await;
    failed(refused.get().await);

    title("Invalid settings");
    broken(pool("small").max_size(2).min_size(3));
    broken(pool("none").max_size(0));
    broken(pool("early").lifetime_jitter(1.5));
    Ok(())
}

fn title(text: &str) {
    println!("\n{text}:");
}

/// Prints the error of a call that must fail.
fn failed<T, E: Error>(result: Result<T, E>) {
    match result {
        Ok(_) => println!("\n  (this time it succeeded)"),
        Err(error) => println!("\n  {error}"),
    }
}

fn broken<M: Manager>(builder: Builder<M>) {
    failed(builder.build_lazy());
}

/// Prints the events that no caller waits for.
fn announce(pool: &str, event: &Event<'_>) {
    let say = |text: &dyn fmt::Display| println!("\n  event of {pool:?}: {text}");
    match event {
        Event::LeakSuspected { holder, .. } => say(&format_args!("not returned yet: {holder}")),
        Event::LeakReturned { holder, .. } => say(&format_args!("returned: {holder}")),
        Event::Breaker { from, to, .. } => say(&format_args!("breaker {from:?} -> {to:?}")),
        _ => {}
    }
}
