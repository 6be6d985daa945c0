//! Only a stream can be strict.

use connpool_core::object_fn;

fn main() {
    let _ = object_fn(|| async { Ok::<_, std::io::Error>(String::from("a client")) }).strict(true);
}
