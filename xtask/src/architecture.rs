//! `cargo xtask architecture`: the rules that hold the crates apart.
//!
//! The rules read dependency trees and manifests. The layers inside the core are held by a test of the
//! core, and clocks and threads by its `clippy.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::files;
use crate::result::Result;

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
        println!("{} {}", if places.is_empty() { "kept  " } else { "broken" }, rule.name);
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
            places.push(format!("{}: no `[lints]` with `workspace = true`", manifest.display()));
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
    let tree =
        cmd!(sh, "cargo tree -p {package} -e normal --all-features --target all --prefix none")
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
    tree.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

/// The lines with their numbers.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// The lines that are not comments.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    numbered(source).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// A line of a manifest that sets a value, and its section.
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
        if let Some(header) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header;
        } else if !text.starts_with('#') && text.contains('=') {
            entries.push(Entry { section, number, text });
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

/// Returns whether an entry is like `workspace = true`, `name.workspace = true` or
/// `name = { workspace = true, .. }`.
fn is_inherited(entry: &str) -> bool {
    let entry: String = entry.split_whitespace().collect();
    entry.split(['{', ',', '.', '}']).any(|part| part == "workspace=true")
}

fn is_version(entry: &str) -> bool {
    ["version", "path", "git"].contains(&entry.split('=').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

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
