//! Where those in line leave their waker and find their answer.

use std::error::Error;
use std::task::Waker;

use crate::machine::slab::{Companion, Key};
use crate::machine::wait_queue::Supply;
use crate::pool::conn::Entry;
use crate::util::sync::Arc;
use crate::{CloseReason, Manager};

/// What somebody in line is told.
pub(crate) enum Answer<M: Manager> {
    Lent(Entry<M>, Supply),
    Refused(Refusal<M::Error>),
}

/// Why there will be no connection; also, why the last connect failed.
pub(crate) enum Refusal<E> {
    Closed,
    Connect(Arc<E>),
    ConnectTimeout,
    ConnectPanicked(String),
    /// The runtime dropped the connect.
    ConnectDropped,
    /// The connection was of no use before it was ever lent.
    Stillborn(CloseReason),
}

impl<E: Error + Send + Sync + 'static> Refusal<E> {
    /// The failed connect as an error, if it was one.
    pub(crate) fn as_error(&self) -> Option<Arc<dyn Error + Send + Sync>> {
        let text = match self {
            Refusal::Connect(error) => return Some(Arc::clone(error) as _),
            Refusal::Closed => return None,
            Refusal::ConnectDropped => String::from(
                "the runtime dropped it; call get inside of a runtime that goes on running",
            ),
            Refusal::ConnectTimeout => String::from("it took longer than connect_timeout"),
            Refusal::ConnectPanicked(message) => format!("it panicked: {message}"),
            Refusal::Stillborn(CloseReason::Unsolicited) => {
                String::from("the server spoke first; read its greeting in Manager::connect")
            }
            Refusal::Stillborn(CloseReason::Dead) => {
                String::from("the server closed the connection before it was lent")
            }
            Refusal::Stillborn(reason) => {
                format!(
                    "the connection was of no use when it was lent: {}",
                    reason.label()
                )
            }
        };
        Some(Arc::from(Box::<dyn Error + Send + Sync>::from(text)))
    }
}

impl<E> Clone for Refusal<E> {
    fn clone(&self) -> Self {
        match self {
            Refusal::Closed => Refusal::Closed,
            Refusal::Connect(error) => Refusal::Connect(Arc::clone(error)),
            Refusal::ConnectTimeout => Refusal::ConnectTimeout,
            Refusal::ConnectPanicked(message) => Refusal::ConnectPanicked(message.clone()),
            Refusal::ConnectDropped => Refusal::ConnectDropped,
            Refusal::Stillborn(reason) => Refusal::Stillborn(*reason),
        }
    }
}

/// One seat for each in line, by the key that the ledger gave it.
pub(crate) struct Seats<M: Manager>(Companion<Seat<M>>);

/// The waker is taken when it is used: cloning it under the lock would run foreign code, and who is
/// woken brings a new one if it has to wait on.
struct Seat<M: Manager> {
    waker: Option<Waker>,
    answer: Option<Answer<M>>,
}

impl<M: Manager> Default for Seats<M> {
    fn default() -> Self {
        Seats(Companion::default())
    }
}

impl<M: Manager> Seats<M> {
    pub(crate) fn take_seat(&mut self, key: Key, waker: Waker) {
        self.0.insert(
            key,
            Seat {
                waker: Some(waker),
                answer: None,
            },
        );
    }

    /// Leaves the answer and tells whom to wake.
    pub(crate) fn answer(&mut self, key: Key, answer: Answer<M>) -> Option<Waker> {
        let seat = self.0.get_mut(key)?;
        seat.answer = Some(answer);
        seat.waker.take()
    }

    pub(crate) fn take_answer(&mut self, key: Key) -> Option<Answer<M>> {
        self.0.get_mut(key)?.answer.take()
    }

    /// The connection that was left, if it is one that `is_fit`. That is called under the lock.
    pub(crate) fn take_answer_if(
        &mut self,
        key: Key,
        is_fit: impl FnOnce(&Entry<M>) -> bool,
    ) -> Option<Entry<M>> {
        let answer = &mut self.0.get_mut(key)?.answer;
        match answer.take() {
            Some(Answer::Lent(entry, Supply::Used)) if is_fit(&entry) => Some(entry),
            other => {
                *answer = other;
                None
            }
        }
    }

    /// Takes the waker, to wake whoever sits there without an answer.
    pub(crate) fn waker(&mut self, key: Key) -> Option<Waker> {
        self.0.get_mut(key)?.waker.take()
    }

    /// Exchanges the waker, unless it is the same one. The one not needed comes back, to be
    /// dropped outside of the lock.
    pub(crate) fn set_waker(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        match self.0.get_mut(key).map(|seat| &mut seat.waker) {
            Some(Some(same)) if same.will_wake(&waker) => Some(waker),
            Some(old) => old.replace(waker),
            None => Some(waker),
        }
    }

    /// Gives up the seat; what is left on it comes back, to be dropped outside of the lock.
    pub(crate) fn leave(&mut self, key: Key) -> Option<(Option<Waker>, Option<Answer<M>>)> {
        self.0.remove(key).map(|seat| (seat.waker, seat.answer))
    }
}
