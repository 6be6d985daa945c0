//! Reads the `use crate::` lines of every crate and holds the layers and the absence of cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, path::Path};

type Imports = BTreeMap<String, BTreeSet<String>>;

fn read(folder: &Path, module: &str, texts: &mut BTreeMap<String, String>) {
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let name = format!("{module}::{name}");
        let name = name.strip_suffix("::mod").unwrap_or(&name).to_owned();
        if path.is_dir() && !name.contains("tests") {
            read(&path, &name, texts);
        } else if path.extension().is_some_and(|end| end == "rs") && !name.contains("tests") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod").next().unwrap();
            texts.insert(name, code.to_owned());
        }
    }
}

/// Returns the modules of a crate with the modules that each imports.
fn imports(source: &str) -> Imports {
    let (root, mut texts) = (env!("CARGO_MANIFEST_DIR"), BTreeMap::new());
    read(&Path::new(root).join("../..").join(source), "", &mut texts);
    let module = |path: &str| {
        let path = path.split(['{', ';', ' ']).next().unwrap();
        let mut path = format!("::{}", path.trim_end_matches("::"));
        while !texts.contains_key(&path) {
            let end = path
                .rfind("::")
                .unwrap_or_else(|| panic!("{source}: {path} is no module"));
            path.truncate(end);
        }
        path
    };
    let used = |text: &String| text.split("use crate::").skip(1).map(module).collect();
    let modules = texts.iter().map(|(name, text)| (name.clone(), used(text)));
    modules.collect()
}

#[test]
fn no_crate_has_an_import_cycle() {
    let crates = "core tcp tokio smol testkit".split(' ');
    let crates = crates.map(|name| format!("crates/connpool-{name}/src"));
    let others = "xtask/src xtask/soak/src benches/src examples/src".split(' ');
    for source in crates.chain(others.map(String::from)) {
        let mut left = imports(&source);
        // Modules whose imports are all removed are removed, until only cycles and their users stay.
        while let Some(name) = left.iter().find_map(|(name, used)| {
            let used = used.iter().filter(|used| *used != name);
            let free = used.into_iter().all(|used| !left.contains_key(used));
            free.then(|| name.clone())
        }) {
            left.remove(&name);
        }
        assert!(left.is_empty(), "a cycle in {source}: {:?}", left.keys());
    }
}

#[test]
fn imports_run_one_way() {
    let machine = "::machine ::time ::config ::observe::close_reason";
    let parts = "actions conn events idle snapshot waiter";
    let is_part = |name: &str| {
        parts
            .split(' ')
            .any(|part| name == format!("::pool::{part}"))
    };
    for (name, used) in imports("crates/connpool-core/src") {
        for used in &used {
            let allowed = if name.starts_with("::machine") {
                machine.split(' ').any(|layer| used.starts_with(layer))
            } else if name == "::pool::shared" || is_part(&name) {
                !used.starts_with("::pool") || is_part(used)
            } else {
                name.starts_with("::pool")
                    || name == "::config::builder"
                    || !used.starts_with("::pool")
            };
            assert!(allowed, "{name} must not import {used}");
        }
    }
}
