//! `stream_fn` takes streams of `futures-io`; those of tokio need `io_fn`.

use connpool_tokio::stream_fn;
use tokio::net::TcpStream;

fn main() {
    let _ = stream_fn(|| TcpStream::connect("127.0.0.1:17"));
}
