//! `stream_fn` takes byte streams.

use connpool_core::stream_fn;

fn main() {
    let _ = stream_fn(|| async { Ok::<_, std::io::Error>(String::from("a client")) });
}
