//! `cargo xtask architecture`: the rules that hold the crates apart.
//!
//! The rules read dependency trees and source text. The text is read line by line, as
//! `cargo fmt` leaves it: simple, and enough for sources that mean to keep the rules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::{Result, files};

/// A rule, and the function that finds where it is broken.
struct Rule {
    name: &'static str,
    broken: fn(&Shell) -> Result<Vec<String>>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "connpool-core depends on no runtime, no socket and no randomness",
        broken: core_depends_on_no_runtime,
    },
    Rule {
        name: "only an application depends on connpool-tokio or connpool-smol",
        broken: no_library_depends_on_a_binding,
    },
    Rule {
        name: "every crate forbids unsafe code and takes the workspace's lints",
        broken: every_crate_forbids_unsafe_code,
    },
    Rule {
        name: "every dependency takes its version from the workspace",
        broken: every_version_is_the_workspaces,
    },
];

const BINDINGS: &[&str] = &["connpool-tokio", "connpool-smol"];

/// Checks every rule, and names every place where one is broken.
pub(crate) fn run(sh: &Shell) -> Result {
    let mut report = String::new();
    for rule in RULES {
        let places = (rule.broken)(sh).map_err(|error| format!("{}: {error}", rule.name))?;
        println!(
            "{} {}",
            if places.is_empty() {
                "kept  "
            } else {
                "broken"
            },
            rule.name
        );
        for place in places {
            report += &format!("\n  {place}\n    the rule: {}", rule.name);
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(format!("the architecture is not kept:{report}").into())
    }
}

fn core_depends_on_no_runtime(sh: &Shell) -> Result<Vec<String>> {
    let runtimes = [
        "async-executor",
        "async-io",
        "async-net",
        "async-std",
        "mio",
        "polling",
        "rand",
        "smol",
        "socket2",
        "tokio",
    ];
    named_in_tree(sh, "connpool-core", &[&runtimes, BINDINGS].concat())
}

fn no_library_depends_on_a_binding(sh: &Shell) -> Result<Vec<String>> {
    let mut places = Vec::new();
    for package in ["connpool-core", "connpool-tcp", "connpool-testkit"] {
        places.extend(named_in_tree(sh, package, BINDINGS)?);
    }
    Ok(places)
}

fn every_crate_forbids_unsafe_code(_: &Shell) -> Result<Vec<String>> {
    let mut places = Vec::new();
    for folder in crates()? {
        let lib = folder.join("src/lib.rs");
        if !code(&files::read(&lib)?).any(|(_, line)| line == "#![forbid(unsafe_code)]") {
            places.push(format!("{}: no `#![forbid(unsafe_code)]`", lib.display()));
        }
        let manifest = folder.join("Cargo.toml");
        let takes_the_lints = entries(&files::read(&manifest)?)
            .iter()
            .any(|entry| entry.section == "lints" && is_inherited(entry.text));
        if !takes_the_lints {
            places.push(format!(
                "{}: no `[lints]` with `workspace = true`",
                manifest.display()
            ));
        }
    }
    Ok(places)
}

fn every_version_is_the_workspaces(_: &Shell) -> Result<Vec<String>> {
    let mut places = Vec::new();
    for folder in crates()? {
        let manifest = folder.join("Cargo.toml");
        for (number, line) in own_versions(&files::read(&manifest)?) {
            places.push(format!("{}:{number}: {line}", manifest.display()));
        }
    }
    Ok(places)
}

fn crates() -> Result<Vec<PathBuf>> {
    let mut folders = files::in_folder(Path::new("crates"))?;
    folders.retain(|path| path.is_dir());
    Ok(folders)
}

/// The packages among `unwanted` that `package` is built from, on any platform.
fn named_in_tree(sh: &Shell, package: &str, unwanted: &[&str]) -> Result<Vec<String>> {
    let tree = cmd!(
        sh,
        "cargo tree -p {package} -e normal --all-features --target all --prefix none"
    )
    .quiet()
    .read()?;
    let names = package_names(&tree);
    if !names.contains(package) {
        return Err(format!("`cargo tree` does not know `{package}`").into());
    }
    let named = unwanted.iter().filter(|name| names.contains(*name));
    Ok(named
        .map(|name| {
            format!(
                "crates/{package}/Cargo.toml: depends on `{name}`, as \
                 `cargo tree -p {package} -e normal --all-features --target all -i {name}` shows"
            )
        })
        .collect())
}

/// The names in the output of `cargo tree --prefix none`.
fn package_names(tree: &str) -> BTreeSet<&str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

/// Where the lines of `path` mention one of the words.
fn mentions<'a>(
    path: &Path,
    lines: impl IntoIterator<Item = (usize, &'a str)>,
    words: &[&str],
) -> Vec<String> {
    let mut places = Vec::new();
    for (number, line) in lines {
        for word in words.iter().filter(|word| contains_word(line, word)) {
            places.push(format!(
                "{}:{number}: `{}` in: {}",
                path.display(),
                word.trim(),
                line.trim()
            ));
        }
    }
    places
}

/// Whether the line has the word and not merely its letters: `MutexGuard` has `Mutex`, but
/// `Archive` has no `Arc` and `operand::` no `rand::`.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let starts_inside = match word.chars().next() {
            Some(first) if first.is_lowercase() => before.is_some_and(char::is_alphanumeric),
            Some(first) if first.is_uppercase() => before.is_some_and(char::is_uppercase),
            _ => false,
        };
        let ends_inside =
            word.ends_with(char::is_alphabetic) && after.is_some_and(char::is_lowercase);
        !starts_inside && !ends_inside
    })
}

/// The lines with their numbers.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// The lines that are not comments.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    numbered(source).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The lines outside of `#[cfg(test)] mod tests { .. }`.
fn without_tests<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<(usize, &'a str)> {
    let mut lines: Vec<_> = lines.collect();
    let starts = |pair: &[(usize, &str)]| pair[0].1 == "#[cfg(test)]" && pair[1].1 == "mod tests {";
    if let Some(start) = lines.windows(2).position(starts) {
        let length = lines[start..]
            .iter()
            .take_while(|(_, line)| *line != "}")
            .count();
        lines.drain(start..start + length);
    }
    lines
}

/// A line of a manifest that gives something a value, and the section it stands in.
struct Entry<'a> {
    section: &'a str,
    number: usize,
    text: &'a str,
}

fn entries(manifest: &str) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut section = "";
    for (number, line) in numbered(manifest) {
        let text = line.trim();
        if let Some(header) = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = header;
        } else if !text.starts_with('#') && text.contains('=') {
            entries.push(Entry {
                section,
                number,
                text,
            });
        }
    }
    entries
}

/// The dependencies that do not take their version from the workspace.
fn own_versions(manifest: &str) -> Vec<(usize, &str)> {
    entries(manifest)
        .into_iter()
        .filter(|entry| {
            if entry.section.ends_with("dependencies") {
                !is_inherited(entry.text)
            } else {
                // `[dependencies.name]` spells one dependency out.
                entry.section.contains("dependencies.") && is_version(entry.text)
            }
        })
        .map(|entry| (entry.number, entry.text))
        .collect()
}

/// Whether an entry is like `workspace = true`, `name.workspace = true` or
/// `name = { workspace = true, .. }`.
fn is_inherited(entry: &str) -> bool {
    let entry: String = entry.split_whitespace().collect();
    entry
        .split(['{', ',', '.', '}'])
        .any(|part| part == "workspace=true")
}

fn is_version(entry: &str) -> bool {
    ["version", "path", "git"].contains(&entry.split('=').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_reads(source: &str) -> Vec<String> {
        mentions(
            Path::new("lib.rs"),
            code(source),
            &["Instant::now", "rand::"],
        )
    }

    #[test]
    fn a_clock_read_is_named_with_its_file_and_line() {
        assert_eq!(
            clock_reads("fn a() {\n    let now = Instant::now();\n}\n"),
            ["lib.rs:2: `Instant::now` in: let now = Instant::now();"]
        );
    }

    #[test]
    fn a_clock_read_in_a_comment_is_not_a_clock_read() {
        let source = "//! Instant::now\n    // Instant::now\n    /// Instant::now\nfn a() {}\n";
        assert!(clock_reads(source).is_empty());
    }

    #[test]
    fn a_clock_read_in_front_of_a_comment_is_a_clock_read() {
        assert_eq!(clock_reads("Instant::now() // for now\n").len(), 1);
    }

    #[test]
    fn a_word_is_found_as_a_part_of_a_name() {
        assert!(contains_word("use std::sync::MutexGuard;", "Mutex"));
        assert!(contains_word("type B = BoxFuture;", "Future"));
        assert!(contains_word("use connpool_tokio::Tokio;", "tokio::"));
        assert!(contains_word("let t = clock.now();", "now()"));
        assert!(contains_word("lease.await;", ".await"));
        assert!(contains_word("pub async fn get()", "async "));
    }

    #[test]
    fn the_letters_of_a_word_are_not_the_word() {
        assert!(!contains_word("struct Archive;", "Arc"));
        assert!(!contains_word("operand::ADD", "rand::"));
        assert!(!contains_word("is_unknown()", "now()"));
        assert!(!contains_word("self.awaited", ".await"));
        assert!(!contains_word("self.futures", "Future"));
    }

    #[test]
    fn a_test_module_is_not_a_part_of_a_machine() {
        let source = "use a;\n\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        let left: Vec<_> = without_tests(code(source))
            .into_iter()
            .filter(|(_, line)| line.len() > 1)
            .collect();
        assert_eq!(left, [(1, "use a;"), (8, "fn c() {}")]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_takes_nothing_away() {
        let source = "#[cfg(test)]\nmod tests;\nfn a() {}\n";
        assert_eq!(without_tests(code(source)).len(), 3);
    }

    #[test]
    fn a_tree_names_its_packages_without_their_versions() {
        let names = package_names("core v0.1.0 (/a/core)\nparking v2.2.1\nparking v2.2.1 (*)\n");
        assert_eq!(names, BTreeSet::from(["core", "parking"]));
    }

    #[test]
    fn a_dependency_of_the_workspace_has_no_version_of_its_own() {
        let manifest = "\
            [package]\nversion = \"1.0\"\n\
            [dependencies]\na.workspace = true\nb = { workspace = true, features = [\n    \"c\",\n] }\n\
            [dev-dependencies.d]\nworkspace = true\nfeatures = [\"e\"]\n";
        assert!(own_versions(manifest).is_empty());
    }

    #[test]
    fn a_dependency_with_a_version_or_a_path_is_named_with_its_line() {
        let manifest = "\
            [dependencies]\na = \"1.0\"\nb = { path = \"../b\" }\n\
            [target.'cfg(unix)'.dev-dependencies]\nc = { version = \"1\", optional = true }\n\
            [build-dependencies.d]\nversion = \"2\"\n";
        let numbers: Vec<_> = own_versions(manifest).iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, [2, 3, 5, 7]);
    }

    #[test]
    fn a_manifest_without_the_workspaces_lints_has_none() {
        let lints = |manifest| {
            entries(manifest)
                .iter()
                .any(|entry| entry.section == "lints" && is_inherited(entry.text))
        };
        assert!(lints("[lints]\nworkspace = true\n"));
        assert!(!lints("[lints]\n# workspace = true\n"));
        assert!(!lints("[dependencies]\nworkspace = true\n"));
    }
}
