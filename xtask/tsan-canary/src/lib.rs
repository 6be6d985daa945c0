//! A data race on purpose. `cargo xtask tsan` must report it, built, run and suppressed like the
//! tests of the pool; if it does not, its silence about the pool says nothing.

#[cfg(all(test, connpool_tsan))]
mod tests {
    use std::thread;

    #[test]
    fn two_threads_count_without_a_lock() {
        static mut COUNT: u64 = 0;
        thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    for _ in 0..1_000 {
                        // SAFETY: none. Two threads write at once, which safe code cannot do and
                        // which is the point; built for ThreadSanitizer only.
                        unsafe { COUNT += 1 };
                    }
                });
            }
        });
    }
}
