//! The budget file, and the comparison with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;
use crate::result::Result;

/// Instructions per operation, by scenario.
pub(super) type Counts = BTreeMap<String, u64>;

/// Allowed excess over the budget, in percent.
const TOLERANCE: u64 = 3;

/// Allowed excess with another compiler or machine, in percent.
const OTHER_COMPILER: u64 = 25;

/// Improvement worth a note, in percent.
const GAIN: u64 = 10;

const REMEDY: &str = "`cargo xtask counts --save`, and commit the file";

/// The saved counts, with the compiler and machine.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Budget {
    pub(super) compiler: String,
    pub(super) instructions: Counts,
}

/// The result of a comparison.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub(super) errors: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Budget {
    pub(super) fn new(compiler: String, instructions: Counts) -> Self {
        Budget { compiler, instructions }
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = files::read(path).map_err(|error| format!("{error}; to create it: {REMEDY}"))?;
        let budget = serde_json::from_str(&text);
        Ok(budget.map_err(|error| format!("{name}: {error}; to recreate it: {REMEDY}"))?)
    }

    pub(super) fn write(&self, path: &Path) -> Result {
        let text = serde_json::to_string_pretty(self)? + "\n";
        Ok(fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    /// Returns the allowed excess for code of this compiler, in percent.
    pub(super) fn tolerance(&self, compiler: &str) -> u64 {
        if compiler == self.compiler { TOLERANCE } else { OTHER_COMPILER }
    }

    /// Compares counts of code made by `compiler` with the budget.
    pub(super) fn judge(&self, counts: &Counts, compiler: &str) -> Verdict {
        let tolerance = self.tolerance(compiler);
        let mut verdict = Verdict::default();
        for (scenario, count) in counts {
            let Some(budget) = self.instructions.get(scenario) else {
                verdict.errors.push(format!(
                    "{scenario} takes {count} instructions and has no budget; to add one: {REMEDY}"
                ));
                continue;
            };
            let change = (*count as f64 / *budget as f64 - 1.0) * 100.0;
            if count * 100 > budget * (100 + tolerance) {
                verdict.errors.push(format!(
                    "{scenario} takes {count} instructions, {change:.1} % more than its budget of {budget}, \
                     and {tolerance} % are allowed; make it cheaper or accept the cost: {REMEDY}"
                ));
            } else if count * 100 < budget * (100 - GAIN) {
                verdict.notes.push(format!(
                    "{scenario} takes {count} instructions, {:.1} % less than its budget of {budget}; to keep the gain: {REMEDY}",
                    -change
                ));
            }
        }
        for scenario in self.instructions.keys() {
            if !counts.contains_key(scenario) {
                verdict.errors.push(format!(
                    "there is a budget for {scenario}, but no such scenario; to remove it: {REMEDY}"
                ));
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: u64) -> Counts {
        Counts::from([("handover/tokio".to_owned(), instructions)])
    }

    fn verdict(count: u64, compiler: &str) -> Verdict {
        Budget::new("rustc 1.95".to_owned(), counts(1000)).judge(&counts(count), compiler)
    }

    #[test]
    fn three_percent_over_and_ten_under_the_budget_pass_without_a_note() {
        assert_eq!(verdict(1030, "rustc 1.95"), Verdict::default());
        assert_eq!(verdict(900, "rustc 1.95"), Verdict::default());
    }

    #[test]
    fn more_is_an_error_with_the_numbers_and_the_remedy() {
        let errors = verdict(1042, "rustc 1.95").errors;
        assert_eq!(
            errors,
            [
                "handover/tokio takes 1042 instructions, 4.2 % more than its budget of 1000, and 3 % are \
                 allowed; make it cheaper or accept the cost: `cargo xtask counts --save`, and \
                 commit the file"
            ]
        );
    }

    #[test]
    fn much_less_is_a_note() {
        let verdict = verdict(899, "rustc 1.95");
        assert!(verdict.errors.is_empty());
        let note = "handover/tokio takes 899 instructions, 10.1 % less than its budget of 1000";
        assert!(verdict.notes[0].starts_with(note), "{verdict:?}");
    }

    #[test]
    fn another_compiler_may_need_25_percent_more() {
        assert_eq!(verdict(1250, "rustc 1.96"), Verdict::default());
        assert_eq!(verdict(1251, "rustc 1.96").errors.len(), 1);
    }

    #[test]
    fn a_scenario_without_a_budget_and_a_budget_without_a_scenario_are_errors() {
        let budget = Budget::new("rustc 1.95".to_owned(), counts(1000));
        let renamed = Counts::from([("hand-over/tokio".to_owned(), 1000)]);
        let errors = budget.judge(&renamed, "rustc 1.95").errors;
        assert!(errors[0].starts_with("hand-over/tokio takes 1000"), "{errors:?}");
        assert!(errors[1].starts_with("there is a budget for handover/tokio"), "{errors:?}");
    }

    #[test]
    fn a_missing_budget_is_an_error_with_the_remedy() {
        let error = Budget::read(Path::new("no/such/file.json")).expect_err("there is none");
        let text = error.to_string();
        assert!(text.contains("no/such/file.json") && text.contains("--save"), "{text}");
    }
}
