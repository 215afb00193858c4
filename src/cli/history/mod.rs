//! The configurations that ran: `data_dir/config/`, and which of them is pinned.
//!
//! Each is a file `N.json` (mode 0600): when it took over, and the texts of its files as they were written, nothing of them
//! resolved. The last [`KEPT`] stay, with the pinned one. Numbers only grow.
//!
//! `pin.json` names the one that runs in place of what the files say. It holds for these files as they were when it was pinned:
//! when one of them has changed, the pin is released.
//!
//! All of it carries a version; what a later one has written is refused with a word, and never rewritten.

mod commands;

pub(super) use commands::{HistoryArgs, run};

use super::errors::{PathError, PrintedMistakes};
use super::texts::{Texts, load_again};
use super::{report_page, say_errors};
use crate::error::chain;
use crate::pipeline::Config;
use crate::storage::data_dir::{create_dir, replace_file};
use crate::time::{clock, write_rfc3339_utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt::{Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};

/// So many configurations are kept.
const KEPT: usize = 20;
/// Of the files here.
const VERSION: u32 = 1;

/// One configuration that ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    version: u32,
    number: u64,
    /// When it took over: RFC 3339.
    loaded_at: String,
    /// Of names and texts, as `/api/v1/config` shows it.
    hash: String,
    files: Vec<File>,
}

/// One of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    name: String,
    text: String,
}

/// Which one runs, whatever the files say.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pin {
    version: u32,
    number: u64,
    /// Hash of the files' texts that it stands in for.
    instead_of: String,
}

/// Why a configuration that ran cannot be had or kept.
#[derive(Debug)]
pub(super) enum HistoryError {
    /// None of this number is kept in this folder, but these are.
    Unknown(u64, PathBuf, Vec<u64>),
    /// A file or folder cannot be read.
    Path(PathError),
    /// A file is not what was written.
    Damaged(PathBuf, serde_json::Error),
    /// A later version has written it.
    Newer(PathBuf, u32),
    /// It cannot be written.
    Io(io::Error),
}

impl Display for HistoryError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            HistoryError::Unknown(number, dir, known) => {
                write!(f, "there is no configuration {number} in `{}`; ", dir.display())?;
                if known.is_empty() {
                    return f.write_str("none is kept yet");
                }
                let known: Vec<String> = known.iter().map(u64::to_string).collect();
                write!(f, "there are {}", known.join(", "))
            }
            HistoryError::Path(error) => error.fmt(f),
            HistoryError::Damaged(path, e) => write!(f, "{}: damaged ({e}); remove it", path.display()),
            HistoryError::Newer(path, version) => {
                let path = path.display();
                write!(f, "{path}: of version {version}, written by a later tidegate; use that one")
            }
            HistoryError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for HistoryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            HistoryError::Path(error) => error.source(),
            HistoryError::Damaged(_, error) => Some(error),
            HistoryError::Io(error) => error.source(),
            HistoryError::Unknown(..) | HistoryError::Newer(..) => None,
        }
    }
}

/// Why the pinned configuration cannot be used; that has been said.
#[derive(Debug)]
pub(super) enum PinError {
    /// It cannot be had.
    History(HistoryError),
    /// It has mistakes now.
    Mistakes(PrintedMistakes),
    /// It is one of another `data_dir`.
    OtherDataDir,
}

impl Display for PinError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            PinError::History(error) => error.fmt(f),
            PinError::Mistakes(mistakes) => mistakes.fmt(f),
            PinError::OtherDataDir => f.write_str("its `data_dir` is another"),
        }
    }
}

impl Error for PinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let PinError::History(error) = self { error.source() } else { None }
    }
}

impl Entry {
    fn texts(&self) -> Texts {
        let files = self.files.iter().map(|file| (file.name.clone(), file.text.clone())).collect();
        Texts { files, secrets: Vec::new(), pinned: None }
    }
}

/// Of the texts alone: the same files may be called by other names.
fn hash_of(files: &[(String, String)]) -> String {
    let mut all = Vec::new();
    for (_, text) in files {
        all.extend_from_slice(&(text.len() as u64).to_le_bytes());
        all.extend_from_slice(text.as_bytes());
    }
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&all))
}

/// What is kept in one `data_dir`.
pub(super) struct History {
    dir: PathBuf,
}

impl History {
    pub(super) fn of(data_dir: &Path) -> History {
        History { dir: data_dir.join("config") }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number}.json"))
    }

    /// Numbers of all that are kept, smallest first.
    ///
    /// Errors: the folder cannot be read.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let folder = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut numbers = Vec::new();
        for entry in folder {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|n| n.strip_suffix(".json")?.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Errors: there is none of this number, or it cannot be read.
    fn entry(&self, number: u64) -> Result<Entry, HistoryError> {
        let unknown = || HistoryError::Unknown(number, self.dir.clone(), self.numbers().unwrap_or_default());
        read(&self.path(number))?.ok_or_else(unknown)
    }

    /// The pinned one, else the newest: number, when it took over, texts.
    ///
    /// Errors: it cannot be read.
    pub(super) fn newest(&self) -> Result<Option<(u64, String, Texts)>, HistoryError> {
        let numbers = self.numbers().map_err(|e| HistoryError::Path(PathError::at(&self.dir)(e)))?;
        let number = self.pin()?.map(|pin| pin.number).or_else(|| numbers.last().copied());
        let Some(number) = number else { return Ok(None) };
        let entry = self.entry(number)?;
        let texts = entry.texts();
        Ok(Some((number, entry.loaded_at, texts)))
    }

    /// Errors: it cannot be read.
    fn pin(&self) -> Result<Option<Pin>, HistoryError> {
        read(&self.dir.join("pin.json"))
    }

    /// Errors: it cannot be written.
    fn set_pin(&self, pin: Option<&Pin>) -> io::Result<()> {
        let path = self.dir.join("pin.json");
        match pin {
            Some(pin) => replace_file(&path, &serde_json::to_vec(pin)?),
            None => match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Keeps a configuration that runs, where it is not the one that was kept last; nothing of one that is pinned, which is kept
    /// already. What cannot be kept is said, and no more.
    pub(super) fn keep(&self, texts: &Texts, hash: &str) {
        if texts.pinned.is_some() {
            return;
        }
        if let Err(error) = self.try_keep(texts, hash) {
            tracing::warn!(folder = %self.dir.display(), error = %chain(&error), "the configuration cannot be kept for `tidegate config history`");
        }
    }

    fn try_keep(&self, texts: &Texts, hash: &str) -> Result<(), HistoryError> {
        let words = HistoryError::Io;
        create_dir(&self.dir).map_err(words)?;
        let mut numbers = self.numbers().map_err(words)?;
        let last = numbers.last().copied();
        // A damaged one is no reason to keep no other.
        if last.is_some_and(|last| self.entry(last).is_ok_and(|entry| entry.hash == hash)) {
            return Ok(());
        }
        let number = last.unwrap_or(0) + 1;
        let mut loaded_at = Vec::new();
        write_rfc3339_utc(clock::now_ns(), 3, &mut loaded_at);
        let loaded_at = String::from_utf8_lossy(&loaded_at).into_owned();
        let files = texts.files.iter().map(|(name, text)| File { name: name.clone(), text: text.clone() }).collect();
        let entry = Entry { version: VERSION, number, loaded_at, hash: hash.to_owned(), files };
        replace_file(&self.path(number), &serde_json::to_vec(&entry).map_err(|e| words(e.into()))?).map_err(words)?;
        numbers.push(number);
        let pinned = self.pin().ok().flatten().map(|pin| pin.number);
        let gone = numbers.len().saturating_sub(KEPT);
        for old in numbers.iter().take(gone).filter(|old| Some(**old) != pinned) {
            std::fs::remove_file(self.path(*old)).map_err(words)?;
        }
        Ok(())
    }

    /// The configuration to run, where the files say `config`: the pinned one, as long as the files are as they were.
    ///
    /// Errors: the pinned one has mistakes now, or cannot be read, which has been said.
    pub(super) fn in_place_of(&self, config: Config, texts: Texts) -> Result<(Config, Texts), PinError> {
        let pin = match self.pin() {
            Ok(Some(pin)) => pin,
            Ok(None) => return Ok((config, texts)),
            Err(error) => {
                tracing::error!(error = %chain(&error), "the pin of `tidegate config rollback` cannot be read: what the files say runs");
                return Ok((config, texts));
            }
        };
        if pin.instead_of != hash_of(&texts.files) {
            tracing::info!(
                number = pin.number,
                "a file of the configuration has changed: it is pinned to no other any more"
            );
            if let Err(error) = self.set_pin(None) {
                tracing::warn!(folder = %self.dir.display(), %error, "the pin cannot be removed");
            }
            return Ok((config, texts));
        }
        let say = |why: &str| {
            tracing::error!(number = pin.number, "the pinned configuration cannot be used: {why}");
        };
        let entry = self.entry(pin.number).inspect_err(|error| say(&chain(error))).map_err(PinError::History)?;
        let (loaded, mut old) = load_again(&entry.texts());
        let Some(pinned) = loaded.config else {
            let mistakes = loaded.report.render();
            say_errors(&report_page(&mistakes));
            say("it has mistakes, see above");
            return Err(PinError::Mistakes(PrintedMistakes(mistakes)));
        };
        if pinned.globals.data_dir != config.globals.data_dir {
            say(&PinError::OtherDataDir.to_string());
            return Err(PinError::OtherDataDir);
        }
        tracing::warn!(
            number = pin.number,
            of = entry.loaded_at,
            "pinned by `tidegate config rollback`: this configuration runs, and not what the files say, until one of them changes"
        );
        old.pinned = Some(pin.number);
        Ok((pinned, old))
    }
}

/// What a file of state holds; nothing where there is none.
///
/// Errors: it cannot be read, is damaged, or of a later version.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, HistoryError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|e| HistoryError::Path(PathError::at(path)(e)))?,
    };
    let damaged = |e: serde_json::Error| HistoryError::Damaged(path.to_owned(), e);
    let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
    if head.version > VERSION {
        return Err(HistoryError::Newer(path.to_owned(), head.version));
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn texts(n: usize) -> Texts {
        Texts { files: vec![("t.yaml".into(), format!("# {n}\n"))], ..Texts::default() }
    }

    #[test]
    fn the_last_twenty_are_kept_each_once_and_the_pinned_one() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::of(dir.path());
        for n in 1..=30 {
            history.keep(&texts(n), &n.to_string());
            history.keep(&texts(n), &n.to_string());
            if n == 5 {
                let pin = Pin { version: 1, number: 5, instead_of: hash_of(&texts(5).files) };
                history.set_pin(Some(&pin)).unwrap();
            }
        }
        let numbers: Vec<u64> = [5].into_iter().chain(11..=30).collect();
        assert_eq!(history.numbers().unwrap(), numbers);
        assert_eq!(history.entry(30).unwrap().texts().files, texts(30).files);
        assert!(history.entry(7).unwrap_err().to_string().contains("there are 5, 11, 12"), "{:?}", history.entry(7));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&history.dir), mode(&history.path(30))), (0o700, 0o600));
        // One that ran before comes again as the newest; one that is pinned is kept already.
        history.keep(&texts(12), "12");
        history.keep(&Texts { pinned: Some(5), ..texts(5) }, "5");
        assert_eq!(history.numbers().unwrap().last(), Some(&31));
    }

    #[test]
    fn what_is_damaged_or_of_a_later_version_is_said_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::of(dir.path());
        history.keep(&texts(1), "1");
        std::fs::write(history.path(1), b"{\"version\":1,").unwrap();
        assert!(history.entry(1).unwrap_err().to_string().contains("damaged"));
        history.keep(&texts(1), "1");
        assert_eq!(history.numbers().unwrap(), [1, 2], "kept again beside the damaged one");
        std::fs::write(history.path(2), b"{\"version\":2,\"more\":[]}").unwrap();
        assert!(history.entry(2).unwrap_err().to_string().contains("a later tidegate"));
        history.keep(&texts(1), "1");
        assert_eq!(std::fs::read(history.path(2)).unwrap(), b"{\"version\":2,\"more\":[]}");
        assert!(history.entry(3).is_ok());
    }
}
