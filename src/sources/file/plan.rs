//! What a source is told, checked.

use super::discovery::Patterns;
use super::heavy::Heavy;
use super::identity::Links;
use super::lines::Lines;
use crate::framing::container;
use crate::framing::multiline::Multiline;
use crate::framing::wide::Wide;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a source is told, checked.
pub(super) struct Plan {
    pub(super) id: Arc<str>,
    pub(super) host: Arc<str>,
    pub(super) patterns: Patterns,
    /// Where the rest of a rotated file is looked for besides.
    pub(super) rotated_to: Patterns,
    pub(super) from_end: bool,
    /// `charset` says that files are in UTF-16.
    pub(super) wide: Option<Wide>,
    pub(super) lines: Lines,
    pub(super) multiline: Option<Arc<Multiline>>,
    /// How container lines are joined, where the files have such.
    pub(super) containers: Option<Arc<container::Rule>>,
    pub(super) ignore_older: Option<Duration>,
    pub(super) remove_after: Option<Duration>,
    /// Compressed files are read.
    pub(super) compressed: bool,
    /// Hash of the first bytes alone, that many, in place of the inode.
    pub(super) identity_bytes: Option<usize>,
    pub(super) check_contents: bool,
    pub(super) glob_interval: u64,
    pub(super) watch: bool,
    pub(super) links: Links,
    pub(super) once: bool,
    /// Whose turn it is of the archives that take much memory.
    pub(super) heavy: Arc<Heavy>,
    /// Files and folders that the agent writes.
    pub(super) own: Vec<PathBuf>,
    /// Handles open at once.
    pub(super) max_open: usize,
    /// Where checkpoints are kept.
    pub(super) dir: PathBuf,
}

impl Plan {
    /// Whether the agent writes this file itself.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        if self.own.iter().any(|own| path.starts_with(own)) {
            return true;
        }
        let Ok(real) = path.canonicalize() else { return false };
        self.own.iter().any(|own| real.starts_with(own))
    }
}
