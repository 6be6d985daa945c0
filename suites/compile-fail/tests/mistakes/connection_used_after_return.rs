//! A reference to the connection does not outlive its guard.

use connpool_tokio::{Pool, TcpConn, TcpManager};

async fn use_after_return(pool: &Pool<TcpManager>) -> bool {
    let mut guard = pool.get().await.unwrap();
    let conn: &mut TcpConn = &mut guard;
    drop(guard);
    conn.is_clean()
}

fn main() {}
