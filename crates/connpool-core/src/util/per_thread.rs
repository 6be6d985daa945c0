//! Data that threads use at the same time, in parts that share no cache line.

use std::array;

use crate::util::sync::{SHARDS, thread_index};

/// A part for each thread, or nearly so: threads may share one.
#[derive(Debug)]
pub(crate) struct PerThread<T>([Apart<T>; SHARDS]);

/// Aligned so that no other data is in its cache lines, nor in those that are fetched with them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        PerThread(array::from_fn(|_| Apart::default()))
    }
}

impl<T> PerThread<T> {
    /// Returns the part of the calling thread.
    #[inline]
    pub(crate) fn local(&self) -> &T {
        let [first, ..] = &self.0;
        let Apart(part) = self.0.get(thread_index() & SHARDS.wrapping_sub(1)).unwrap_or(first);
        part
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Apart(part)| part)
    }
}
