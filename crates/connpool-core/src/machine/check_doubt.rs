//! Tells a check that is wrong itself from connections that are broken.

/// The number of new connections in a row whose failed check puts the check in doubt.
pub(crate) const SEVERAL: usize = 3;

/// Counts connections that fail a check in a row, each opened after the failure of the one before.
///
/// Connections that were open together may break together. A backend whose new connections work, and
/// fail the same check one after the other, probably does not understand it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct CheckDoubt {
    in_a_row: usize,
    /// The newest connection at the time of the last failure that counted.
    newest: u64,
}

impl CheckDoubt {
    /// Records that connection `id` failed the check while `newest` was the newest one. Returns the number
    /// in a row.
    pub(crate) fn failed(&mut self, id: u64, newest: u64) -> usize {
        if self.in_a_row == 0 || id > self.newest {
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.newest = newest;
        }
        self.in_a_row
    }

    pub(crate) fn in_a_row(self) -> usize {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_opened_after_the_last_failure_add_up() {
        let mut doubt = CheckDoubt::default();
        let failures = [(3, 5, 1), (4, 5, 1), (5, 5, 1), (6, 8, 2), (7, 8, 2), (9, 9, SEVERAL)];
        for (id, newest, in_a_row) in failures {
            assert_eq!(doubt.failed(id, newest), in_a_row, "connection {id}");
        }
        assert_eq!(doubt.in_a_row(), SEVERAL);
    }
}
