//! The advice for managers of sockets that hand out no stream.

use std::any::TypeId;

/// Returns what to write if `connection` is the socket `S`, bare or wrapped as an adapter's `Io`, which is
/// `W`.
pub fn remedy_for_unprobed<S: 'static, W: 'static>(connection: TypeId) -> Option<&'static str> {
    if connection == TypeId::of::<W>() {
        return Some("return `Some(|conn| conn)`, or replace `object_fn` by `io_fn`");
    }
    (connection == TypeId::of::<S>())
        .then_some("wrap the socket in `Io` and return `Some(|conn| conn)`, or use `io_fn`")
}
