//! Test data that lies beside the crate, for conformance tests. Never present in a user's clone.

use std::path::PathBuf;

/// The text of a data file: from the folder `TIDEGATE_SHARED` names, else from `../shared`, in its `data`.
///
/// `None`, with a line that says so, where there is no such folder: the test that asked passes without it.
#[allow(clippy::print_stderr)]
pub(crate) fn shared(path: &str) -> Option<String> {
    let bytes = shared_bytes(path)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// As [`shared`], for files that are not text.
#[allow(clippy::print_stderr)]
pub(crate) fn shared_bytes(path: &str) -> Option<Vec<u8>> {
    match std::fs::read(shared_path(path)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            eprintln!("skipped: {}: {error}", shared_path(path).display());
            None
        }
    }
}

/// Where a data file would lie.
pub(crate) fn shared_path(path: &str) -> PathBuf {
    let root = std::env::var_os("TIDEGATE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    root.join("data").join(path)
}
