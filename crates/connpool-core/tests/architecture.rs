//! Reads the `use crate::` lines of every crate and holds the layers and the absence of cycles.

use std::{collections::BTreeMap, collections::BTreeSet, fs, path::Path};

/// Returns the modules of a crate with the modules that each imports.
fn imports(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(source);
    let mut texts = BTreeMap::new();
    for path in walkdir::WalkDir::new(&source) {
        let path = path.unwrap().into_path();
        let name = path.strip_prefix(&source).unwrap().with_extension("");
        let name = name.to_str().unwrap().replace('/', "::");
        if path.extension().is_some_and(|end| end == "rs") && !name.contains("tests") {
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]\nmod").next().unwrap().to_owned();
            texts.insert(name.strip_suffix("::mod").unwrap_or(&name).to_owned(), code);
        }
    }
    let module = |rest: &str| {
        let path = rest.split(['{', ';', ' ']).next().unwrap();
        let ends = path.rmatch_indices("::").map(|(end, _)| &path[..end]);
        let found = std::iter::once(path).chain(ends).find(|name| texts.contains_key(*name));
        found.unwrap_or_else(|| panic!("crate::{path} names no module")).to_owned()
    };
    let used = |code: &String| code.split("use crate::").skip(1).map(module).collect();
    texts.iter().map(|(name, code)| (name.clone(), used(code))).collect()
}

#[test]
fn no_crate_has_an_import_cycle() {
    let crates = ["core", "tcp", "tokio", "smol", "testkit", "conformance"];
    let crates = crates.map(|name| format!("crates/connpool-{name}"));
    let others =
        ["suites", "suites/fleet", "suites/fuzz", "examples", "benches", "xtask", "xtask/soak"];
    for source in crates.iter().map(String::as_str).chain(others) {
        let mut left = imports(&format!("{source}/src"));
        // Modules that import nothing that is left go, until only cycles and their users stay.
        for _ in 0..left.len() {
            let names: BTreeSet<_> = left.keys().cloned().collect();
            left.retain(|name, used| used.iter().any(|used| used != name && names.contains(used)));
        }
        assert!(left.is_empty(), "a cycle in {source}: {:?}", left.keys());
    }
}

#[test]
fn imports_run_one_way() {
    let below = ["machine", "time", "config", "observe::close_reason"];
    let parts =
        ["actions", "conn", "connecting", "events", "idle", "snapshot", "timer_slot", "waiter"];
    let is_part = |name: &str| parts.iter().any(|part| name == format!("pool::{part}"));
    for (name, used) in imports("crates/connpool-core/src") {
        for used in &used {
            let allowed = match name.split("::").next().unwrap() {
                "machine" => below.iter().any(|layer| used.starts_with(layer)),
                "pool" if !name.starts_with("pool::shared") && !is_part(&name) => true,
                "pool" if name.starts_with("pool::shared::") && used == "pool::shared" => true,
                _ => name == "config::builder" || !used.starts_with("pool") || is_part(used),
            };
            assert!(allowed, "{name} must not import {used}");
        }
    }
}
