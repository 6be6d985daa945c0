//! The trace hash of a run.

/// An FNV-1a hash of the schedule. Does not depend on the build, unlike the hashers of `std`.
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Trace(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    pub(super) fn record(&mut self, event: u64) {
        for byte in event.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.0
    }
}
