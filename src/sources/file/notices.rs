//! Kernel notices: which folders are watched for them, and where links lead whose targets are watched.

use super::discovery::FoundFiles;
use super::identity::{Links, look_at};
use super::plan::Plan;
use super::tails::Tails;
use super::watch::{Hints, Wake, Watch, concerns_folder};
use hashbrown::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See [the module](self).
pub(super) struct Notices {
    /// `None`: there are none, and looks are the only way to see growth. The last state.
    watch: Option<Watch>,
    /// Folders that are watched, with device and inode.
    watched: HashMap<PathBuf, (u64, u64)>,
    /// What a symlink leads to, and the path it was found at.
    linked: HashMap<PathBuf, Arc<Path>>,
}

impl Notices {
    pub(super) fn new(plan: &Plan, wake: &Arc<Wake>) -> Self {
        let watch = if plan.watch && !plan.once {
            Watch::new(wake.clone())
                .map_err(|error| tracing::warn!(source = %plan.id, %error, "no notices of changes; polling instead"))
                .ok()
        } else {
            None
        };
        Notices { watch, watched: HashMap::new(), linked: HashMap::new() }
    }

    /// Whether looks are the only way to see growth.
    pub(super) fn are_off(&self) -> bool {
        self.watch.is_none()
    }

    /// What was heard since the last call; `None` where nothing can be.
    pub(super) fn take(&self) -> Option<Hints> {
        self.watch.as_ref().map(Watch::take)
    }

    /// A file was found at `path`: where that is a link, notices come for the place where it really lies. Whether it is one.
    pub(super) fn note_link(&mut self, path: &Path, shared: &Arc<Path>) -> bool {
        if self.are_off() || !path.is_symlink() {
            return false;
        }
        let Ok(real) = path.canonicalize() else { return false };
        self.linked.insert(real, shared.clone());
        true
    }

    /// The path of the link that leads to this place.
    pub(super) fn link_to(&self, path: &Path) -> Option<Arc<Path>> {
        self.linked.get(path).cloned()
    }

    /// Whether it is a folder that is watched.
    pub(super) fn is_watched(&self, path: &Path) -> bool {
        self.watched.contains_key(path)
    }

    /// Watches the folders found, and those that links lead into.
    pub(super) fn follow(&mut self, found: &mut FoundFiles, tails: &Tails, source: &str) {
        let Some(watch) = &mut self.watch else { return };
        self.linked.retain(|_, link| tails.at_path(link).is_some());
        let mut wanted: HashMap<PathBuf, (u64, u64)> = HashMap::with_capacity(found.dirs.len());
        wanted.extend(found.dirs.iter().map(|d| (d.path.clone(), (d.device, d.inode))));
        for dir in self.linked.keys().filter_map(|p| p.parent()) {
            if !wanted.contains_key(dir)
                && let Ok(look) = look_at(dir, Links::Follow)
            {
                wanted.insert(dir.to_owned(), (look.identity.device, look.identity.inode));
            }
        }
        self.watched.retain(|dir, node| {
            let keep = wanted.get(dir) == Some(node);
            if !keep {
                watch.remove(dir);
            }
            keep
        });
        for (dir, node) in wanted {
            if self.watched.contains_key(&dir) {
                continue;
            }
            match watch.add(&dir) {
                Ok(()) => {
                    self.watched.insert(dir, node);
                }
                // It is looked through as if there were no notices.
                Err(error) if concerns_folder(&error) => found.complete = false,
                Err(error) => {
                    tracing::warn!(source = %source, dir = %dir.display(), %error, "no notices of changes; polling \
                        instead. Raising fs.inotify.max_user_watches or max_user_instances helps");
                    self.watch = None;
                    self.watched.clear();
                    return;
                }
            }
        }
    }
}
