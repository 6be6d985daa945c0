//! Bounded waiting.

use std::time::{Duration, Instant};

/// The longest wait for an event.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it takes too long.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(LIMIT, holds).await.is_err() {
        panic!("waited {:?} in vain until {what}", start.elapsed());
    }
}
