//! A patch and its header.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::files;
use crate::result::Result;

/// A seeded bug: a patch for `git apply`, which ignores the text before the first `diff`.
///
/// That text is a header of `key: value` lines. Lines that start with a space continue a value.
///
/// | key         | value |
/// |-------------|-------|
/// | `row`       | the number of the bug in the catalogue of bugs in other pools |
/// | `breaks`    | the failure and its mechanism |
/// | `seen`      | where the bug occurred |
/// | `run`       | the command that runs the tests: `[KEY=VALUE..] cargo test ..` |
/// | `caught-by` | the full names of the tests that fail, separated by commas |
/// | `by`        | `hang` if the tests hang instead of failing |
pub(crate) struct Bug {
    pub(crate) name: String,
    pub(crate) patch: PathBuf,
    pub(crate) row: u32,
    pub(crate) run: Run,
    pub(crate) caught_by: Vec<String>,
    pub(crate) by: By,
}

/// How tests fail that catch a bug.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum By {
    Failure,
    Hang,
}

/// A command that runs tests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    pub(crate) env: Vec<(String, String)>,
    /// The arguments after `cargo test`.
    pub(crate) args: Vec<String>,
}

/// Reads all bugs in a directory, sorted by name.
pub(crate) fn all(folder: &Path) -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for path in files::in_folder(folder)? {
        let bug = Bug::read(&path, &files::read(&path)?);
        bugs.push(bug.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(bugs)
}

impl Bug {
    pub(crate) fn read(path: &Path, text: &str) -> Result<Bug> {
        let head = head(text)?;
        let value = |key: &str| {
            let found = head.iter().find(|(known, _)| known == key);
            found.map(|(_, value)| value.as_str())
        };
        let required = |key: &str| value(key).ok_or_else(|| format!("the header has no `{key}:`"));
        Ok(Bug {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into(),
            patch: path.to_owned(),
            row: required("row")?.parse().map_err(|e| format!("row: {e}"))?,
            run: Run::read(required("run")?)?,
            caught_by: required("caught-by")?
                .split(',')
                .map(|test| test.trim().to_owned())
                .collect(),
            by: match value("by") {
                None => By::Failure,
                Some("hang") => By::Hang,
                Some(other) => return Err(format!("by: `{other}` is not `hang`").into()),
            },
        })
    }

    pub(crate) fn path(&self) -> String {
        self.patch.display().to_string()
    }
}

impl Run {
    fn read(line: &str) -> Result<Run> {
        let mut words = line.split_whitespace().peekable();
        let mut env = Vec::new();
        while let Some((key, value)) = words.peek().and_then(|word| word.split_once('=')) {
            env.push((key.to_owned(), value.to_owned()));
            words.next();
        }
        if (words.next(), words.next()) != (Some("cargo"), Some("test")) {
            return Err(format!("run: `{line}` is not `[KEY=VALUE..] cargo test ..`").into());
        }
        let args = words.map(str::to_owned).collect();
        Ok(Run { env, args })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.env {
            write!(f, "{key}={value} ")?;
        }
        write!(f, "cargo test {}", self.args.join(" "))
    }
}

fn head(text: &str) -> Result<Vec<(String, String)>> {
    let mut head: Vec<(String, String)> = Vec::new();
    for line in text.lines().take_while(|line| !line.starts_with("diff ")) {
        match (line.split_once(':'), head.last_mut()) {
            (_, Some((_, value))) if line.starts_with(' ') => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (Some((key, value)), _) => head.push((key.to_owned(), value.trim().to_owned())),
            _ if line.is_empty() => {}
            _ => return Err(format!("neither `key: value` nor a continuation: {line}").into()),
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
        row: 4\n\
        breaks: a slot\n        is lost: for ever\n\
        run: RUSTFLAGS=--cfg=loom cargo test -p core --test pool\n\
        caught-by: a::b,\n           c::d\n\
        \n\
        diff --git a/x b/x\n+nonsense: value\n";

    #[test]
    fn a_header_is_read_up_to_the_diff() {
        let bug = Bug::read(Path::new("some/04-slot.patch"), TEXT).expect("a head");
        assert_eq!((bug.row, bug.name.as_str()), (4, "04-slot"));
        assert_eq!(bug.caught_by, ["a::b", "c::d"]);
        assert_eq!(bug.by, By::Failure);
        let command = "RUSTFLAGS=--cfg=loom cargo test -p core --test pool";
        assert_eq!(bug.run.to_string(), command);
        assert_eq!(bug.run.env, [("RUSTFLAGS".to_owned(), "--cfg=loom".to_owned())]);
    }

    #[test]
    fn all_twelve_patches_exist() {
        let bugs = all(Path::new("seeded-bugs")).expect("patches with heads");
        let rows: Vec<u32> = bugs.iter().map(|bug| bug.row).collect();
        let twelve = [1, 2, 3, 4, 6, 9, 13, 15, 16, 18, 28, 33];
        assert!(twelve.iter().all(|row| rows.contains(row)), "{rows:?}");
    }

    #[test]
    fn a_header_without_a_required_key_is_an_error() {
        let broken = |from: &str, to: &str| {
            let text = TEXT.replace(from, to);
            let bug = Bug::read(Path::new("x.patch"), &text);
            bug.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(broken("run: ", "ran: "), "the header has no `run:`");
        assert!(broken("cargo test", "cargo bench").contains("cargo bench"));
        assert!(broken("row: 4", "row: four").starts_with("row: "));
        assert!(broken("row: 4", "row: 4\nby: chance").contains("`chance`"));
    }
}
