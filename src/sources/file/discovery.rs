//! Which paths match `include` and not `exclude`: patterns taken apart by folder, and the walk over them.
//!
//! A walk reads folders only as deep as a pattern reaches, and asks nothing of a file but what its folder's entry
//! tells (name, inode, kind). It notes what each pattern met that is no file, and which folders let nobody in: what
//! [`missed`](super::missed) tells the user.

use super::identity::Links;
use globset::{Glob, GlobBuilder, GlobMatcher};
use hashbrown::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::FileType;
use std::io;
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One part of a pattern, between slashes.
#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    /// A name with `*`, `?` or `[…]`.
    Name(GlobMatcher),
    /// `**`: any number of folders, none included.
    AnyDepth,
}

/// One pattern of `include`, absolute and without braces.
#[derive(Debug, Clone)]
struct Pattern {
    parts: Vec<Part>,
    /// The path itself, where the pattern has no wildcard.
    literal: Option<PathBuf>,
    /// Which one of those that the user wrote it is, or is an alternative of.
    of: usize,
}

/// Leaves paths out, whatever patterns say.
#[derive(Clone)]
pub(crate) struct LeavesOut(pub(crate) Arc<dyn Fn(&Path) -> bool + Send + Sync>);

impl std::fmt::Debug for LeavesOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeavesOut")
    }
}

/// `include` and `exclude`.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    include: Vec<Pattern>,
    /// `include` as the user wrote it.
    written: Vec<String>,
    exclude: Vec<GlobMatcher>,
    /// Patterns of `exclude` without a slash: they hold for the name alone.
    exclude_names: Vec<GlobMatcher>,
    /// What is left out besides.
    left_out: Option<LeavesOut>,
}

/// Deepest folder below a `**`.
const MAX_DEPTH: usize = 64;
/// Folders that let nobody in and are kept by name.
const MAX_CLOSED: usize = 1000;

fn glob(pattern: &str) -> Result<Glob, String> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build().map_err(|e| e.kind().to_string())
}

/// Whether a pattern, or a part of one, is a name as it stands.
pub(super) fn is_literal(text: &str) -> bool {
    !text.contains(['*', '?', '[', '\\', '{'])
}

/// `a{b,c}d` to `abd` and `acd`, nested ones too; a brace inside `[…]` or behind `\` is itself.
fn expand_braces(pattern: &str) -> Result<Vec<String>, String> {
    let bytes = pattern.as_bytes();
    let (mut depth, mut open, mut in_class, mut i) = (0usize, 0, false, 0);
    let mut commas = Vec::new();
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'[' if depth == 0 => in_class = true,
            b']' if depth == 0 => in_class = false,
            _ if in_class => {}
            b'{' => {
                if depth == 0 {
                    open = i;
                }
                depth += 1;
            }
            b',' if depth == 1 => commas.push(i),
            b'}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    let mut out = Vec::new();
                    let mut from = open + 1;
                    for &to in commas.iter().chain([&i]) {
                        let one = format!("{}{}{}", &pattern[..open], &pattern[from..to], &pattern[i + 1..]);
                        out.extend(expand_braces(&one)?);
                        from = to + 1;
                        if out.len() > 10_000 {
                            return Err("too many alternatives".into());
                        }
                    }
                    return Ok(out);
                }
            }
            _ => {}
        }
        i += 1;
    }
    if depth > 0 { Err("a `{` is not closed".into()) } else { Ok(vec![pattern.to_owned()]) }
}

/// A pattern's path, absolute, without `.` parts.
fn absolute(pattern: &str) -> Result<String, String> {
    let path = std::path::absolute(pattern).map_err(|e| e.to_string())?;
    path.into_os_string().into_string().map_err(|_| "the working folder's path is not UTF-8".to_owned())
}

/// Whether `include` or `exclude` can take this pattern; the mistake in words.
pub(super) fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("it is empty".into());
    }
    for one in expand_braces(pattern)? {
        glob(&one)?;
    }
    Ok(())
}

impl Patterns {
    /// Relative patterns are relative to the working folder.
    ///
    /// Errors: which pattern cannot be read, and why.
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let mut to = Patterns::default();
        for pattern in include {
            to.add_include(pattern).map_err(|e| format!("include `{pattern}`: {e}"))?;
        }
        for pattern in exclude {
            to.add_exclude(pattern).map_err(|e| format!("exclude `{pattern}`: {e}"))?;
        }
        Ok(to)
    }

    fn add_include(&mut self, pattern: &str) -> Result<(), String> {
        check_pattern(pattern)?;
        for one in expand_braces(&absolute(pattern)?)? {
            let mut parts = Vec::new();
            for part in one.split('/').filter(|p| !p.is_empty() && *p != ".") {
                parts.push(match part {
                    "**" => Part::AnyDepth,
                    _ if is_literal(part) => Part::Literal(part.to_owned()),
                    _ => Part::Name(glob(part)?.compile_matcher()),
                });
            }
            let literal = parts.iter().all(|p| matches!(p, Part::Literal(_))).then(|| PathBuf::from(&one));
            self.include.push(Pattern { parts, literal, of: self.written.len() });
        }
        self.written.push(pattern.to_owned());
        Ok(())
    }

    fn add_exclude(&mut self, pattern: &str) -> Result<(), String> {
        check_pattern(pattern)?;
        if pattern.contains('/') {
            self.exclude.push(glob(&absolute(pattern)?)?.compile_matcher());
        } else {
            self.exclude_names.push(glob(pattern)?.compile_matcher());
        }
        Ok(())
    }

    /// Leaves out what this says besides.
    pub(super) fn leave_out(&mut self, leaves_out: LeavesOut) {
        self.left_out = Some(leaves_out);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.include.is_empty()
    }

    /// `include` as the user wrote it.
    pub(super) fn written(&self) -> &[String] {
        &self.written
    }

    /// Paths that are named as they are, without wildcards.
    pub(super) fn literals(&self) -> impl Iterator<Item = &Path> {
        self.include.iter().filter_map(|p| p.literal.as_deref())
    }

    /// Whether a walk may come by a path twice: several patterns, or several `**` in one.
    fn may_repeat(&self) -> bool {
        let depths = |p: &Pattern| p.parts.iter().filter(|p| matches!(p, Part::AnyDepth)).count();
        self.include.len() > 1 || self.include.iter().any(|p| depths(p) > 1)
    }

    fn excludes(&self, path: &Path) -> bool {
        let name = path.file_name().map(Path::new).unwrap_or(path);
        self.exclude_names.iter().any(|g| g.is_match(name))
            || self.exclude.iter().any(|g| g.is_match(path))
            || self.left_out.as_ref().is_some_and(|left_out| left_out.0(path))
    }

    /// Whether a path is wanted.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let names: Vec<&OsStr> = path.components().skip(1).map(|c| c.as_os_str()).collect();
        self.include.iter().any(|p| fits(&p.parts, &names)) && !self.excludes(path)
    }

    /// Finds everything that matches now.
    pub(super) fn walk(&self, links: Links, found: &mut FoundFiles) {
        found.clear();
        found.seen = self.may_repeat().then(HashSet::new);
        found.met.resize_with(self.written.len(), Met::default);
        for pattern in &self.include {
            let met = std::mem::take(&mut found.met[pattern.of]);
            let mut walk = Walk { patterns: self, links, found, above: Vec::new(), met };
            walk.go(PathBuf::from("/"), &pattern.parts, 0);
            let met = walk.met;
            found.met[pattern.of] = met;
        }
    }
}

/// Whether the parts fit the names, to the end of both.
fn fits(parts: &[Part], names: &[&OsStr]) -> bool {
    match parts {
        [] => names.is_empty(),
        [Part::AnyDepth, rest @ ..] => {
            // `**` at the end takes every file below.
            if rest.is_empty() { !names.is_empty() } else { (0..names.len()).any(|skip| fits(rest, &names[skip..])) }
        }
        [part, rest @ ..] => names.split_first().is_some_and(|(name, names)| part.is(name) && fits(rest, names)),
    }
}

impl Part {
    fn is(&self, name: &OsStr) -> bool {
        match self {
            Part::Literal(text) => OsStr::new(text) == name,
            Part::Name(glob) => glob.is_match(Path::new(name)),
            Part::AnyDepth => true,
        }
    }
}

/// One entry that a walk found.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// Of the entry itself; 0 where only the path is known.
    pub(super) inode: u64,
    /// Of its folder.
    pub(super) device: u64,
    pub(super) is_symlink: bool,
}

/// A folder whose entries matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dir {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What stands where a file is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAFile {
    Folder,
    Fifo,
    Socket,
    Device,
    /// A link that leads nowhere.
    DeadLink,
    /// A link, and links are not followed.
    Link,
}

impl NotAFile {
    fn of(kind: FileType) -> Option<Self> {
        Some(match kind {
            _ if kind.is_file() => return None,
            _ if kind.is_dir() => NotAFile::Folder,
            _ if kind.is_fifo() => NotAFile::Fifo,
            _ if kind.is_socket() => NotAFile::Socket,
            _ if kind.is_symlink() => NotAFile::Link,
            _ => NotAFile::Device,
        })
    }
}

/// What one pattern of `include` met: why it gave no file, if it did not. Of each kind the first is kept.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// It gave a file, or what may be one.
    pub(super) files: bool,
    /// What has the name, but is no file.
    pub(super) instead: Option<(PathBuf, NotAFile)>,
    /// What `exclude` takes out.
    pub(super) excluded: Option<PathBuf>,
    /// A path without wildcards, the pattern's own or that of a folder, that leads nowhere.
    pub(super) missing: Option<PathBuf>,
    /// A folder on its way is [closed](FoundFiles::closed).
    pub(super) closed: bool,
}

/// Why nobody can look for files in a folder.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) error: io::Error,
    /// Names that match are seen in it, that many, but it may not be entered.
    pub(super) files: usize,
}

/// What a walk came to.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    pub(super) entries: Vec<Entry>,
    pub(super) dirs: Vec<Dir>,
    /// All folders that patterns name were there.
    pub(super) complete: bool,
    /// What each pattern met, in the order in which the user wrote them.
    pub(super) met: Vec<Met>,
    /// Folders that cannot be looked into.
    pub(super) closed: HashMap<PathBuf, Closed>,
    /// How many more there are.
    pub(super) closed_more: usize,
    /// Paths found, where the patterns may lead to one twice.
    pub(super) seen: Option<HashSet<PathBuf>>,
    pub(super) seen_dirs: HashSet<PathBuf>,
}

impl FoundFiles {
    /// The paths that the last walk came by.
    pub(super) fn paths(&self) -> HashSet<&Path> {
        self.entries.iter().map(|e| &*e.path).collect()
    }

    /// Gives back memory in proportion to the files found.
    pub(super) fn forget(&mut self) {
        self.entries = Vec::new();
        self.seen = None;
    }

    fn clear(&mut self) {
        self.complete = true;
        self.entries.clear();
        self.dirs.clear();
        self.met.clear();
        self.closed.clear();
        self.closed_more = 0;
        self.seen = None;
        self.seen_dirs.clear();
    }
}

struct Walk<'a> {
    patterns: &'a Patterns,
    links: Links,
    found: &'a mut FoundFiles,
    /// Folders above, to see circles that links make.
    above: Vec<(u64, u64)>,
    /// What the pattern met so far.
    met: Met,
}

impl Walk<'_> {
    /// Continues below `dir` with the parts that are left.
    fn go(&mut self, mut dir: PathBuf, mut parts: &[Part], depth: usize) {
        // Literal parts need no look into folders.
        while let [Part::Literal(name), rest @ ..] = parts {
            if rest.is_empty() {
                return self.literal(dir, name);
            }
            dir.push(name);
            parts = rest;
        }
        let Some((part, rest)) = parts.split_first() else { return };
        let meta = match std::fs::metadata(&dir) {
            Ok(meta) => meta,
            Err(error) => return self.no_way(dir, error),
        };
        let here = (meta.dev(), meta.ino());
        if !meta.is_dir() {
            self.met.missing.get_or_insert(dir);
            return;
        }
        if self.above.contains(&here) || depth > MAX_DEPTH {
            return;
        }
        self.above.push(here);
        if matches!(part, Part::AnyDepth) && !rest.is_empty() {
            // None of the folders it stands for.
            self.above.pop();
            self.go(dir.clone(), rest, depth);
            self.above.push(here);
        }
        self.dir(&dir, here);
        self.entries(&dir, here.0, part, parts, depth);
        self.above.pop();
    }

    fn literal(&mut self, dir: PathBuf, name: &str) {
        let meta = match std::fs::metadata(&dir) {
            Ok(meta) => meta,
            Err(error) => return self.no_way(dir, error),
        };
        self.dir(&dir, (meta.dev(), meta.ino()));
        let path = dir.join(name);
        if self.is_excluded(&path) {
            return;
        }
        let kind = std::fs::symlink_metadata(&path).map(|meta| meta.file_type());
        match kind {
            Ok(kind) => self.met_file(&path, kind),
            Err(error) if is_missing(&error) => _ = self.met.missing.get_or_insert_with(|| path.clone()),
            // What opens files says why this one cannot be.
            Err(_) => self.met.files = true,
        }
        self.add(Entry { path, inode: 0, device: 0, is_symlink: true });
    }

    /// A folder that nothing is known of.
    fn no_way(&mut self, dir: PathBuf, error: io::Error) {
        self.found.complete = false;
        if is_missing(&error) {
            self.met.missing.get_or_insert(dir);
        } else {
            self.close(closed_on_the_way(dir, &error), error, 0);
        }
    }

    /// Notes a folder that cannot be looked into.
    fn close(&mut self, dir: PathBuf, error: io::Error, files: usize) {
        self.met.closed = true;
        let closed = &mut self.found.closed;
        if let Some(known) = closed.get_mut(&dir) {
            known.files = known.files.max(files);
        } else if closed.len() < MAX_CLOSED {
            closed.insert(dir, Closed { error, files });
        } else {
            self.found.closed_more += 1;
        }
    }

    /// Notes what an entry that has the name is, while no file is known.
    fn met_file(&mut self, path: &Path, kind: FileType) {
        if self.met.files {
            return;
        }
        let instead = if kind.is_symlink() && self.links == Links::Follow {
            match std::fs::metadata(path) {
                Ok(meta) => NotAFile::of(meta.file_type()),
                Err(error) => is_missing(&error).then_some(NotAFile::DeadLink),
            }
        } else {
            NotAFile::of(kind)
        };
        match instead {
            None => self.met.files = true,
            Some(kind) => _ = self.met.instead.get_or_insert_with(|| (path.to_owned(), kind)),
        }
    }

    fn is_excluded(&mut self, path: &Path) -> bool {
        let excluded = self.patterns.excludes(path);
        if excluded && !self.met.files {
            self.met.excluded.get_or_insert_with(|| path.to_owned());
        }
        excluded
    }

    fn dir(&mut self, path: &Path, (device, inode): (u64, u64)) {
        if self.found.seen_dirs.insert(path.to_owned()) {
            self.found.dirs.push(Dir { path: path.to_owned(), device, inode });
        }
    }

    fn add(&mut self, entry: Entry) {
        let first = |seen: &mut HashSet<PathBuf>| seen.insert(entry.path.clone());
        if self.found.seen.as_mut().is_none_or(first) {
            self.found.entries.push(entry);
        }
    }

    fn entries(&mut self, dir: &Path, device: u64, part: &Part, parts: &[Part], depth: usize) {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return,
            Err(error) => return self.close(dir.to_owned(), error, 0),
        };
        let any_depth = matches!(part, Part::AnyDepth);
        let last = parts.len() == 1;
        // Why none of its files can be looked at, once one was tried; how many that concerns.
        let mut entered: Option<Result<(), io::Error>> = None;
        let mut shut_in = 0;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // The rest of it is not seen.
                Err(error) => {
                    self.close(dir.to_owned(), error, 0);
                    break;
                }
            };
            let name = entry.file_name();
            let Ok(kind) = entry.file_type() else { continue };
            let fits = match part {
                Part::Name(glob) => glob.is_match(Path::new(&name)),
                _ => true,
            };
            if !fits {
                continue;
            }
            let path = entry.path();
            if last && !kind.is_dir() && !(any_depth && self.leads_to_dir(&path, kind)) {
                if self.is_excluded(&path) {
                    continue;
                }
                if entered.get_or_insert_with(|| enter(&path)).is_err() {
                    shut_in += 1;
                    continue;
                }
                self.met_file(&path, kind);
                self.add(Entry { path, inode: entry.ino(), device, is_symlink: kind.is_symlink() });
            } else if (!last || any_depth) && (kind.is_dir() || self.leads_to_dir(&path, kind)) {
                // Below `**` the pattern goes on as a whole.
                self.go(path, if any_depth { parts } else { &parts[1..] }, depth + 1);
            } else if last && !self.is_excluded(&path) {
                self.met_file(&path, kind);
            }
        }
        if let Some(Err(error)) = entered {
            self.close(dir.to_owned(), error, shut_in);
        }
    }

    fn leads_to_dir(&self, path: &Path, kind: FileType) -> bool {
        kind.is_symlink() && self.links == Links::Follow && std::fs::metadata(path).is_ok_and(|m| m.is_dir())
    }
}

/// Whether there is nothing, rather than something that cannot be seen.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether the folder of a file that is there lets one look at it.
fn enter(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Which folder keeps one from `dir`: that is itself, or one above that may not be entered.
fn closed_on_the_way(dir: PathBuf, error: &io::Error) -> PathBuf {
    if error.kind() != io::ErrorKind::PermissionDenied || std::fs::symlink_metadata(&dir).is_ok() {
        return dir;
    }
    let above = dir.ancestors().skip(1).find(|above| std::fs::symlink_metadata(above).is_ok());
    above.map(Path::to_owned).unwrap_or(dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a.log", "b.txt", "x/a.log", "x/y/a.log", "x/y/b.log", "x/z/c.log", "w/deep/er/d.log"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn walk(dir: &Path, include: &[&str], exclude: &[&str]) -> Vec<String> {
        let include: Vec<String> = include.iter().map(|p| format!("{}/{p}", dir.display())).collect();
        let exclude: Vec<String> = exclude
            .iter()
            .map(|p| if p.contains('/') { format!("{}/{p}", dir.display()) } else { (*p).to_owned() })
            .collect();
        let patterns = Patterns::new(&include, &exclude).unwrap();
        let mut found = FoundFiles::default();
        patterns.walk(Links::Follow, &mut found);
        let mut names: Vec<String> = found
            .entries
            .iter()
            .map(|e| {
                assert!(patterns.matches(&e.path), "{:?} was found but does not match", e.path);
                e.path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn patterns_reach_as_deep_as_they_say() {
        let t = tree();
        let d = t.path();
        assert_eq!(walk(d, &["*.log"], &[]), ["a.log"]);
        assert_eq!(walk(d, &["*/*.log"], &[]), ["x/a.log"]);
        assert_eq!(
            walk(d, &["**/*.log"], &[]),
            ["a.log", "w/deep/er/d.log", "x/a.log", "x/y/a.log", "x/y/b.log", "x/z/c.log"]
        );
        assert_eq!(walk(d, &["x/**"], &[]), ["x/a.log", "x/y/a.log", "x/y/b.log", "x/z/c.log"]);
        assert_eq!(walk(d, &["x/{y,z}/*.log"], &[]), ["x/y/a.log", "x/y/b.log", "x/z/c.log"]);
        assert_eq!(walk(d, &["{x/y,.}/a.log"], &[]), ["a.log", "x/y/a.log"]);
        assert_eq!(walk(d, &["x/?/[ab].log"], &[]), ["x/y/a.log", "x/y/b.log"]);
        assert_eq!(walk(d, &["b.txt", "*.log", "a*"], &[]), ["a.log", "b.txt"]);
    }

    #[test]
    fn exclude_takes_paths_and_bare_names() {
        let t = tree();
        assert_eq!(walk(t.path(), &["**/*.log"], &["a.log", "x/z/**"]), ["w/deep/er/d.log", "x/y/b.log"]);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let t = tree();
        std::os::unix::fs::symlink(t.path(), t.path().join("x/loop")).unwrap();
        assert!(walk(t.path(), &["**/d.log"], &[]).contains(&"w/deep/er/d.log".to_owned()));
    }

    #[test]
    fn mistakes_in_patterns_are_said() {
        assert!(check_pattern("a[").is_err());
        assert!(check_pattern("a{b,c").is_err());
        assert!(check_pattern("").is_err());
        assert!(check_pattern("/a/{b,c{d,e}}/**/*.log").is_ok());
    }
}
