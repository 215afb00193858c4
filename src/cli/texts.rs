//! What a configuration is read from: texts, and files with secrets.

use crate::pipeline::{Loaded, load_texts};
use crate::settings::{Environment, ProcessEnvironment};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// What a configuration was read from.
#[derive(Clone, Default)]
pub(super) struct Texts {
    /// Name and text of each file.
    pub(super) files: Vec<(String, String)>,
    /// Files that `${file:…}` names.
    pub(super) secrets: Vec<SecretFile>,
    /// Its number, where it is one that ran before and is pinned.
    pub(super) pinned: Option<u64>,
}

/// A file that a value is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretFile {
    pub(super) path: PathBuf,
    /// Of its contents; what they are is nobody's business here. `None` where it could not be read.
    hash: Option<u64>,
}

impl SecretFile {
    pub(super) fn read(path: &Path) -> (std::io::Result<String>, SecretFile) {
        let text = ProcessEnvironment.file(path);
        let hash = text.as_ref().ok().map(|text| xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        (text, SecretFile { path: path.to_owned(), hash })
    }

    pub(super) fn has_changed(&self) -> bool {
        // One that cannot be read just now (being replaced, say) has not changed yet.
        matches!(SecretFile::read(&self.path).1.hash, hash @ Some(_) if hash != self.hash)
    }
}

/// The environment of this process, which remembers the files it was asked for.
#[derive(Default)]
pub(super) struct Remembering(RefCell<Vec<SecretFile>>);

impl Remembering {
    pub(super) fn into_files(self) -> Vec<SecretFile> {
        self.0.into_inner()
    }
}

impl Environment for Remembering {
    fn var(&self, name: &str) -> Option<String> {
        ProcessEnvironment.var(name)
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        let (text, file) = SecretFile::read(path);
        let mut files = self.0.borrow_mut();
        if !files.contains(&file) {
            files.push(file);
        }
        text
    }
}

/// A configuration from its texts, with what variables and files hold now; and these texts.
pub(super) fn load_again(texts: &Texts) -> (Loaded, Texts) {
    let environment = Remembering::default();
    let files: Vec<(&str, &str)> = texts.files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let loaded = load_texts(&files, &environment, crate::registry::built_in());
    (loaded, Texts { files: texts.files.clone(), secrets: environment.into_files(), pinned: texts.pinned })
}
