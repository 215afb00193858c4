//! The files of letters: opened and looked through before anything starts, and read once more when it runs.

use crate::cli::errors::PathError;
use crate::component::letter::{Letter, LetterError, LetterReader, Metadata};
use crate::error::{RunError, chain};
use crate::event::Meta;
use crate::settings::Asked;
use crate::text::escape::Page;
use rustix::fs::Access;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest line.
const MAX_LINE: usize = 64 << 20;
/// Mistakes that are shown one by one.
const SHOWN: u64 = 20;

/// Why files of letters cannot be read, or none be written to.
#[derive(Debug)]
pub(super) enum FilesError {
    /// A file cannot be read.
    Path(PathError),
    /// A line of it cannot.
    Line(PathBuf, u64, io::Error),
    /// It cannot be read twice.
    NotRegular(PathBuf),
    /// It is given twice.
    Twice(PathBuf, PathBuf),
    /// What is read would be written.
    WouldBeWritten(PathBuf),
    /// What is to be written is a folder.
    IsFolder(PathBuf),
    /// It cannot be written, or not be made.
    NotWritable(PathBuf, &'static str, rustix::io::Errno),
}

impl std::fmt::Display for FilesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FilesError::Path(error) => error.fmt(f),
            FilesError::Line(path, line, _) => write!(f, "{}:{line}", path.display()),
            FilesError::NotRegular(path) => {
                write!(f, "{}: not a regular file; `replay` reads its files twice", path.display())
            }
            FilesError::Twice(path, first) => {
                let (path, first) = (path.display(), first.display());
                write!(f, "{path}: the same file as {first}: its letters would go twice")
            }
            FilesError::WouldBeWritten(path) => {
                write!(f, "{} is read and would be written; name another with --refused", path.display())
            }
            FilesError::IsFolder(path) => write!(f, "{} is a folder; name a file with --refused", path.display()),
            FilesError::NotWritable(path, what, error) => {
                let path = path.display();
                write!(f, "{path}: {what}: {error}; name a file for what is refused again with --refused")
            }
        }
    }
}

impl std::error::Error for FilesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FilesError::Path(error) => error.source(),
            FilesError::Line(_, _, error) => Some(error),
            FilesError::NotWritable(_, _, error) => Some(error),
            _ => None,
        }
    }
}

/// A file that was opened.
struct Opened {
    path: PathBuf,
    file: File,
    /// As long as it was then: what is appended while it is read was refused just now, by an agent that runs.
    length: u64,
    packed: Packed,
}

/// How a file is packed, by its first bytes: a file sink with `compression` packs without a word in the name.
#[derive(Clone, Copy)]
enum Packed {
    No,
    Gzip,
    Zstd,
}

/// Reads letters.
pub(super) struct Reader {
    files: Vec<Opened>,
    reasons: Vec<String>,
    from: Vec<String>,
    /// Metadata that the target asks for and that only letters of this version have.
    asked: Vec<Asked>,
    /// What those without have in its place.
    given: Vec<(Meta, String)>,
}

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct FoundLetters {
    /// To be replayed.
    pub(super) letters: u64,
    skipped: u64,
    /// Lines that are no letters.
    pub(super) bad: u64,
    /// Letters of which cannot be known where their events would have gone.
    pub(super) left: u64,
    /// By component and reason.
    kinds: BTreeMap<(String, String), u64>,
}

impl FoundLetters {
    fn bad(&mut self, file: &Path, line: u64, why: &str) -> Option<String> {
        self.bad += 1;
        (self.bad <= SHOWN).then(|| format!("{}:{line}: not a dead letter: {why}", file.display()))
    }

    fn left(&mut self, file: &Path, line: u64) -> Option<String> {
        self.left += 1;
        (self.left <= SHOWN).then(|| format!("{}:{line}: not replayed: the letter has no metadata", file.display()))
    }

    pub(super) fn summary(&self) -> Page {
        let n = |n: u64, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut line = n(self.letters, "letter");
        if self.skipped > 0 {
            let _always = write!(line, ", {} not asked for", self.skipped);
        }
        if self.bad > 0 {
            let _always = write!(line, ", {} that could not be read", n(self.bad, "line"));
        }
        if self.left > 0 {
            let _always = write!(line, ", {} left as they are: written without metadata", n(self.left, "letter"));
        }
        let mut page = Page::of_line(format_args!("{line}"));
        for ((component, reason), count) in &self.kinds {
            writeln!(page, "  {count:>10}  {component}: {reason}");
        }
        page
    }
}

impl Reader {
    /// Opens every file, and looks whether letters may be written to `refused`.
    ///
    /// Errors: what is wrong with one of them.
    pub(super) fn open(paths: &[PathBuf], refused: &Path) -> Result<Reader, FilesError> {
        let mut files: Vec<Opened> = Vec::new();
        let mut ids = Vec::new();
        for path in paths {
            let failed = |error: io::Error| FilesError::Path(PathError::at(path)(error));
            // Without waiting for a writer, should it be a FIFO.
            let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
            let mode = rustix::fs::Mode::empty();
            let mut file = File::from(rustix::fs::open(path, flags, mode).map_err(|e| failed(e.into()))?);
            let meta = file.metadata().map_err(failed)?;
            if !meta.is_file() {
                return Err(FilesError::NotRegular(path.clone()));
            }
            let id = (meta.dev(), meta.ino());
            if let Some(n) = ids.iter().position(|known| *known == id) {
                return Err(FilesError::Twice(path.clone(), paths[n].clone()));
            }
            ids.push(id);
            let packed = packed(&mut file).map_err(failed)?;
            files.push(Opened { path: path.clone(), file, length: meta.len(), packed });
        }
        check_writable(refused, &ids)?;
        Ok(Reader { files, reasons: Vec::new(), from: Vec::new(), asked: Vec::new(), given: Vec::new() })
    }

    /// Only letters with one of these reasons, of one of these components; of none: all.
    pub(super) fn only(&mut self, reasons: Vec<String>, from: Vec<String>) {
        (self.reasons, self.from) = (reasons, from);
    }

    /// Says what the target asks for, and what is given for letters that were written without it. Those of which something
    /// is asked that is not given are left.
    pub(super) fn asked(&mut self, asked: Vec<Asked>, given: Vec<(Meta, String)>) {
        let says_itself = |meta: &Meta| matches!(meta, Meta::Source | Meta::ReceivedAt | Meta::Kind | Meta::Id);
        let open = |asked: &Asked| {
            Meta::from_name(&asked.meta).is_none_or(|of| !says_itself(&of) && given.iter().all(|(meta, _)| *meta != of))
        };
        self.asked = asked.into_iter().filter(open).collect();
        self.given = given;
    }

    /// What is asked for that letters without metadata do not say, in words.
    pub(super) fn wanting(&self) -> Page {
        let mut text = Page::new();
        for Asked { component, setting, meta } in &self.asked {
            let setting = if setting.is_empty() { String::new() } else { format!(" by `{setting}`") };
            writeln!(text, "`{component}` asks for `@{meta}`{setting}");
        }
        if let Some(Asked { meta: name, .. }) = self.asked.first() {
            writeln!(
                text,
                "where it would have gone cannot be known; say what it was, as in `--metadata {name}=…`, or `--metadata {name}=` for nothing"
            );
        }
        text
    }

    /// Looks through every file: what is in them. What cannot be read as a letter, or cannot be replayed, is `said`.
    ///
    /// Errors: a file cannot be read to its end.
    pub(super) fn look(&mut self, mut said: impl FnMut(&str)) -> Result<FoundLetters, FilesError> {
        let mut found = FoundLetters::default();
        self.each(|path, line, letter| {
            let words = match letter {
                Line::Bad(why) => found.bad(path, line, &chain(&why)),
                Line::Skipped => {
                    found.skipped += 1;
                    None
                }
                Line::Left => found.left(path, line),
                Line::Letter(letter) => {
                    found.letters += 1;
                    *found.kinds.entry((letter.component, letter.reason)).or_default() += 1;
                    None
                }
            };
            if let Some(words) = words {
                said(&words);
            }
            true
        })?;
        Ok(found)
    }

    /// Gives every letter that is to be replayed to `take`, until that says stop.
    ///
    /// Errors: a file cannot be read.
    pub(super) fn read(&mut self, mut take: impl FnMut(Letter) -> bool) -> Result<(), RunError> {
        let each = |_: &Path, _: u64, read: Line| match read {
            Line::Letter(letter) => take(letter),
            _ => true,
        };
        self.each(each).map_err(RunError::failed)
    }

    fn each(&mut self, mut each: impl FnMut(&Path, u64, Line) -> bool) -> Result<(), FilesError> {
        let mut letters = LetterReader::default();
        let Reader { files, reasons, from, asked, given } = self;
        let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|w| w == name);
        for Opened { path, file, length, packed } in files {
            let failed = |error: io::Error| FilesError::Path(PathError::at(path)(error));
            let mut lines = unpacked(file, *length, *packed).map_err(failed)?;
            let (mut line, mut number) = (Vec::new(), 0);
            loop {
                number += 1;
                if read_line(&mut *lines, &mut line).map_err(|e| FilesError::Line(path.clone(), number, e))? == 0 {
                    break;
                }
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let read = match letters.read(&line) {
                    Err(why) => Line::Bad(why),
                    Ok(letter) if !wanted(reasons, &letter.reason) || !wanted(from, &letter.component) => Line::Skipped,
                    Ok(letter) if letter.is_whole => Line::Letter(letter),
                    Ok(_) if !asked.is_empty() => Line::Left,
                    Ok(mut letter) => {
                        given.iter().for_each(|(meta, value)| give(&mut letter.metadata, meta, value));
                        Line::Letter(letter)
                    }
                };
                if !each(path, number, read) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A line.
enum Line {
    /// It is no letter.
    Bad(LetterError),
    /// It is not asked for.
    Skipped,
    /// It does not say what is asked of it.
    Left,
    /// It is to be replayed.
    Letter(Letter),
}

fn give(metadata: &mut Metadata, meta: &Meta, value: &str) {
    match meta {
        Meta::Offset => metadata.offset = value.parse().unwrap_or_default(),
        _ if value.is_empty() => {}
        meta => metadata.set(meta, value),
    }
}

/// Reads `NAME=VALUE` of the command line.
///
/// Errors: it is not that, or letters say the name themselves.
pub(super) fn parse_given(text: &str) -> Result<(Meta, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as `http.stream=shop`")?;
    let name = name.strip_prefix('@').unwrap_or(name);
    match Meta::from_name(name) {
        None => Err(format!("there is no metadata `{name}`; there are {}, http.<variable>", Meta::NAMES.join(", "))),
        Some(Meta::Source | Meta::ReceivedAt | Meta::Kind | Meta::Id) => {
            Err(format!("every letter says its `{name}` itself"))
        }
        Some(Meta::Offset) if value.parse::<u64>().is_err() => Err("an offset is a number of bytes".into()),
        Some(meta) => Ok((meta, value.to_owned())),
    }
}

fn packed(file: &mut File) -> io::Result<Packed> {
    let mut first = Vec::new();
    io::Read::by_ref(file).take(4).read_to_end(&mut first)?;
    Ok(match first[..] {
        [0x1f, 0x8b, ..] => Packed::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Packed::Zstd,
        _ => Packed::No,
    })
}

/// The bytes of a file, from its beginning.
fn unpacked<'f>(file: &'f mut File, length: u64, packed: Packed) -> io::Result<Box<dyn BufRead + 'f>> {
    file.rewind()?;
    let file = BufReader::new(file.take(length));
    Ok(match packed {
        Packed::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))),
        Packed::Zstd => Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)),
        Packed::No => Box::new(file),
    })
}

/// Reads a line without its end; how many bytes were taken.
fn read_line(lines: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    let n = lines.take(MAX_LINE as u64 + 1).read_until(b'\n', line)?;
    if n > MAX_LINE {
        return Err(io::Error::other(format!("a line of more than {MAX_LINE} bytes")));
    }
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(n)
}

/// Whether letters may be appended to the file: it is none of those read, and it can be written or made.
fn check_writable(path: &Path, read: &[(u64, u64)]) -> Result<(), FilesError> {
    let (target, what) = match path.metadata() {
        Ok(meta) if read.contains(&(meta.dev(), meta.ino())) => {
            return Err(FilesError::WouldBeWritten(path.to_owned()));
        }
        Ok(meta) if meta.is_dir() => return Err(FilesError::IsFolder(path.to_owned())),
        Ok(_) => (path, "cannot be written"),
        Err(_) => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => (parent, "no file can be made there"),
            _ => (Path::new("."), "no file can be made there"),
        },
    };
    let access = Access::WRITE_OK | if target == path { Access::empty() } else { Access::EXEC_OK };
    rustix::fs::access(target, access).map_err(|error| FilesError::NotWritable(target.to_owned(), what, error))
}
