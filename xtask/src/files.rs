//! Reads files of the workspace, with errors that name the file.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::result::Result;

/// Returns the target directory of cargo.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Lists a directory, sorted by name.
pub(crate) fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .and_then(|entries| {
            entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()
        })
        .map_err(|error| format!("{}: {error}", folder.display()));
    let mut paths = entries?;
    paths.sort();
    Ok(paths)
}
