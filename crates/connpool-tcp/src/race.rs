//! Connects to the addresses of a name as RFC 8305 ("happy eyeballs") describes.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The delay between two attempts, unless the first one fails sooner (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The errors of all addresses tried, in the order in which they ended.
pub(crate) type Failures = Vec<(SocketAddr, io::Error)>;

/// What a manager knows of the addresses of its name.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    /// The address of the last connect, unless it has failed or lost a race since.
    good: Mutex<Option<SocketAddr>>,
    /// The number of connects that were spread.
    spread: AtomicUsize,
}

impl AddressBook {
    /// Orders the addresses for a connect. The families alternate, starting with that of the first
    /// address. The last good address comes first; with `spread`, each connect starts one further.
    pub(crate) fn order(&self, addresses: Vec<SocketAddr>, spread: bool) -> Vec<SocketAddr> {
        let mut addresses = alternating(addresses);
        if spread {
            let nth = self.spread.fetch_add(1, Ordering::Relaxed);
            let start = nth.checked_rem(addresses.len()).unwrap_or(0);
            addresses.rotate_left(start);
        } else {
            let good = *self.good.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = addresses.iter().position(|address| Some(*address) == good) {
                let good = addresses.remove(at);
                addresses.insert(0, good);
            }
        }
        addresses
    }

    /// Remembers the address that won a race, and forgets any other.
    pub(crate) fn won(&self, address: SocketAddr) {
        *self.good.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Forgets the address that was remembered, as no address answered.
    pub(crate) fn lost(&self) {
        *self.good.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Lets the address families alternate, and keeps the order within each.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let count = addresses.len();
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(count);
    while ordered.len() < count {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

/// Returns the delay between the attempts of a connect with this time limit: short enough that every
/// address is tried within it.
pub(crate) fn delay(limit: Option<Duration>, addresses: usize) -> Duration {
    let count = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    limit.map_or(ATTEMPT_DELAY, |limit| ATTEMPT_DELAY.min(limit / count))
}

/// Starts an attempt at the first address, at the next one after a failure or when `sleep` has
/// ended, and so on, and returns the first connection. All other attempts are dropped.
///
/// # Errors
///
/// The failures of all addresses, if none of them answers.
///
/// # Cancel safety
///
/// Dropping the future drops all attempts.
pub(crate) async fn connect<T, A, S>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> A,
    sleep: impl Fn() -> S,
) -> Result<(SocketAddr, T), Failures>
where
    A: Future<Output = io::Result<T>>,
    S: Future<Output = ()>,
{
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<(SocketAddr, Pin<Box<A>>)> = Vec::new();
    let mut failures = Failures::new();
    loop {
        if let Some(address) = waiting.next() {
            running.push((address, Box::pin(attempt(address))));
        } else if running.is_empty() {
            return Err(failures);
        }
        let mut pause = pin!(async {
            match waiting.len() {
                0 => pending().await,
                _ => sleep().await,
            }
        });
        let next = |cx: &mut Context<'_>| {
            let mut failed = false;
            let mut at = 0;
            while let Some((address, attempt)) = running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(conn)) => return Poll::Ready(Some((*address, conn))),
                    Poll::Ready(Err(error)) => {
                        failures.push((*address, error));
                        drop(running.remove(at));
                        failed = true;
                    }
                    Poll::Pending => at += 1,
                }
            }
            // A failure starts the next attempt at once.
            if failed && (waiting.len() > 0 || running.is_empty()) {
                return Poll::Ready(None);
            }
            pause.as_mut().poll(cx).map(|()| None)
        };
        if let Some(won) = poll_fn(next).await {
            return Ok(won);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::ready;

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 1))
    }

    #[test]
    fn families_alternate_from_the_first_one() {
        let ordered = alternating(vec![v6(1), v6(2), v6(3), v4(1)]);
        assert_eq!(ordered, [v6(1), v4(1), v6(2), v6(3)]);
        let ordered = alternating(vec![v4(1), v4(2), v6(1), v6(2)]);
        assert_eq!(ordered, [v4(1), v6(1), v4(2), v6(2)]);
        assert_eq!(alternating(Vec::new()), []);
    }

    #[test]
    fn last_good_address_comes_first_until_another_wins() {
        let book = AddressBook::default();
        let all = vec![v4(1), v4(2), v4(3)];
        assert_eq!(book.order(all.clone(), false), all);
        book.won(v4(3));
        assert_eq!(book.order(all.clone(), false), [v4(3), v4(1), v4(2)]);
        book.won(v4(2));
        assert_eq!(book.order(all.clone(), false), [v4(2), v4(1), v4(3)]);
        // The name has moved.
        assert_eq!(book.order(vec![v4(8), v4(9)], false), [v4(8), v4(9)]);
        book.lost();
        assert_eq!(book.order(all.clone(), false), all);
    }

    #[test]
    fn spread_connects_start_at_each_address_in_turn() {
        let book = AddressBook::default();
        book.won(v4(3));
        let first = |_| book.order(vec![v4(1), v4(2), v4(3)], true)[0];
        let firsts: Vec<_> = (0..6).map(first).collect();
        assert_eq!(firsts, [v4(1), v4(2), v4(3), v4(1), v4(2), v4(3)]);
        assert_eq!(book.order(Vec::new(), true), []);
    }

    #[test]
    fn delay_is_a_quarter_of_a_second_or_a_share_of_the_limit() {
        let ms = Duration::from_millis;
        assert_eq!(delay(None, 3), ms(250));
        assert_eq!(delay(Some(Duration::MAX), 3), ms(250));
        assert_eq!(delay(Some(ms(300)), 3), ms(100));
        assert_eq!(delay(Some(Duration::ZERO), 0), Duration::ZERO);
    }

    /// Connects to three addresses: `ends` says how each attempt ends, `None` that it hangs. The
    /// pauses between attempts end at once. Returns the attempts and the outcome.
    fn race(ends: [Option<bool>; 3]) -> (Vec<SocketAddr>, Option<Result<SocketAddr, usize>>) {
        let addresses = [v4(0), v4(1), v4(2)];
        let begun = RefCell::new(Vec::new());
        let attempt = |address: SocketAddr| {
            let nth = begun.borrow().len();
            begun.borrow_mut().push(address);
            async move {
                match ends[nth] {
                    Some(true) => Ok(()),
                    Some(false) => Err(io::ErrorKind::ConnectionRefused.into()),
                    None => pending().await,
                }
            }
        };
        let racing = connect(&addresses, attempt, || ready(()));
        let outcome = block_on(poll_once(pin!(racing)));
        let outcome = outcome.map(|end| end.map(|won| won.0).map_err(|failures| failures.len()));
        (begun.into_inner(), outcome)
    }

    #[test]
    fn first_connection_wins_and_no_further_attempt_is_made() {
        assert_eq!(race([Some(true), None, None]), (vec![v4(0)], Some(Ok(v4(0)))));
        let (begun, won) = race([None, Some(true), None]);
        assert_eq!((begun, won), (vec![v4(0), v4(1)], Some(Ok(v4(1)))));
    }

    #[test]
    fn failed_attempt_starts_the_next_one() {
        let (begun, won) = race([Some(false), Some(false), Some(true)]);
        assert_eq!((begun.len(), won), (3, Some(Ok(v4(2)))));
    }

    #[test]
    fn all_failures_are_returned() {
        assert_eq!(race([Some(false); 3]).1, Some(Err(3)));
        assert_eq!(block_on(connect(&[], |_| ready(Ok(())), || ready(()))).unwrap_err().len(), 0);
    }

    #[test]
    fn hanging_attempts_stay_in_the_race() {
        assert_eq!(race([None, None, None]), (vec![v4(0), v4(1), v4(2)], None));
        assert_eq!(race([None, Some(false), None]).1, None);
    }

    #[test]
    fn earlier_attempt_may_win_after_a_later_one_began() {
        let polls = Cell::new(0);
        let attempt = |address: SocketAddr| {
            let polls = &polls;
            poll_fn(move |_| {
                polls.set(polls.get() + 1);
                match address == v4(0) && polls.get() > 3 {
                    true => Poll::Ready(Ok(address)),
                    false => Poll::Pending,
                }
            })
        };
        let addresses = [v4(0), v4(1)];
        let mut racing = pin!(connect(&addresses, attempt, || ready(())));
        assert!(block_on(poll_once(racing.as_mut())).is_none());
        let won = block_on(poll_once(racing)).unwrap();
        assert_eq!(won.unwrap().0, v4(0));
    }
}
