//! The open descriptors and the resident memory of this process, from Linux' `/proc`.

use std::fmt;
use std::fs;

use crate::outcome::Outcome;

/// A sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessStats {
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
}

impl ProcessStats {
    pub(crate) fn now() -> Outcome<ProcessStats> {
        // One of them is the directory being read.
        let descriptors = fs::read_dir("/proc/self/fd")?.count() - 1;
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
            .ok_or("/proc/self/status has no VmRSS")?;
        Ok(ProcessStats { descriptors, resident_kib: resident.parse()? })
    }
}

impl fmt::Display for ProcessStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.resident_kib as f64 / 1024.0;
        write!(f, "{} fds  {mib:.1} MiB", self.descriptors)
    }
}
