//! Catches the panics of foreign code.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `act` and turns a panic into its message.
#[inline]
pub(crate) fn catch_panic<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    // Unwind safe: the connection that was in use is destroyed, not used again.
    catch_unwind(AssertUnwindSafe(act)).map_err(message)
}

fn message(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Ok(text) = payload.downcast::<String>() {
        *text
    } else {
        String::from("(a panic without a message)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_becomes_its_message() {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let caught = [
            catch_panic(|| panic!("plain")),
            catch_panic(|| panic!("number {}", 7)),
            catch_panic(|| std::panic::panic_any(7)),
        ];
        std::panic::set_hook(quiet);
        let expected = ["plain", "number 7", "(a panic without a message)"];
        assert_eq!(caught, expected.map(|text| Err::<(), _>(text.to_owned())));
    }
}
