//! The handle of one file: [`handles`](super::handles) opens and closes it, who reads borrows it.

use std::os::fd::OwnedFd;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Handle {
    /// `None` while the file is idle and others need the handle, and while it is lent.
    file: Option<OwnedFd>,
    /// When the file was last used, counted over all uses of all files.
    used: u64,
}

impl Handle {
    /// None yet, of a file that is used now.
    pub(super) fn closed(used: u64) -> Self {
        Handle { file: None, used }
    }

    pub(super) fn get(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Number of the last use.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The file is used now.
    pub(super) fn is_used(&mut self, use_number: u64) {
        self.used = use_number;
    }

    /// For a moment in which the file and what is known of it are changed together: it is to be [given back](Handle::put).
    pub(super) fn lend(&mut self) -> Option<OwnedFd> {
        self.file.take()
    }

    /// Takes a handle; the one before, if there was one.
    pub(super) fn put(&mut self, file: OwnedFd) -> Option<OwnedFd> {
        self.file.replace(file)
    }
}
