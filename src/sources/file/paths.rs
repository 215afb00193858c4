//! The names of one file.
//!
//! Invariant: the name that it is found by is one of those that lead to it, as long as there is one; then it is the last one that did, or
//! another that matches no pattern.

use std::path::Path;
use std::sync::Arc;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Paths {
    /// Those that lead to it now.
    all: Vec<Arc<Path>>,
    /// The one that it is found by.
    here: Arc<Path>,
    /// The one its lines go by: where it was found first.
    first: Arc<Path>,
}

impl Paths {
    /// Of a file that lies at `here`, and whose lines go by `first`; no name leads to it yet.
    pub(super) fn new(here: &Arc<Path>, first: &Arc<Path>) -> Self {
        Paths { all: Vec::new(), here: here.clone(), first: first.clone() }
    }

    /// Those that lead to it.
    pub(super) fn all(&self) -> &[Arc<Path>] {
        &self.all
    }

    /// Where it is.
    pub(super) fn here(&self) -> &Arc<Path> {
        &self.here
    }

    /// The name its lines go by.
    pub(super) fn first(&self) -> &Arc<Path> {
        &self.first
    }

    /// A name leads to it from now on.
    pub(super) fn add(&mut self, path: &Arc<Path>) {
        if self.all.is_empty() {
            self.here = path.clone();
        }
        if !self.all.contains(path) {
            self.all.push(path.clone());
        }
    }

    /// It is found by a name that matches no pattern.
    pub(super) fn is_now_at(&mut self, path: &Path) {
        self.here = path.into();
    }

    /// A name does not lead to it any more; whether another one does.
    pub(super) fn remove(&mut self, path: &Path) -> bool {
        self.all.retain(|p| **p != *path);
        let other = self.all.first();
        self.here = other.unwrap_or(&self.here).clone();
        other.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_a_name_that_leads_to_it_or_by_the_last_that_did() {
        let [a, b]: [Arc<Path>; 2] = [Path::new("a").into(), Path::new("b").into()];
        let mut paths = Paths::new(&a, &a);
        for path in [&a, &a, &b] {
            paths.add(path);
        }
        assert_eq!(paths.all(), [a.clone(), b.clone()]);
        assert!(paths.remove(&a) && *paths.here() == b);
        assert!(!paths.remove(&b) && *paths.here() == b && paths.all().is_empty());
        paths.add(&a);
        assert!(*paths.here() == a && *paths.first() == a);
    }
}
