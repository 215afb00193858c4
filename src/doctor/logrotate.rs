//! What logrotate is told to do with which files: its configuration, as far as it can lose lines of a file that is tailed.
//!
//! Read are `/etc/logrotate.conf` and what it includes, or `/etc/logrotate.d/*` where there is no such file. Options outside
//! of blocks hold for the blocks behind them; scripts are passed over.

use globset::{GlobBuilder, GlobMatcher};
use std::path::{Path, PathBuf};

/// Deepest `include` in an included file.
const MAX_DEPTH: usize = 8;
/// Longest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What is done with the files of a block, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The file is copied and cut off.
    pub copytruncate: bool,
    /// Rotated files are compressed.
    pub compress: bool,
    /// But not at once.
    pub delaycompress: bool,
    /// How many rotated files are kept; logrotate's own default is none.
    pub rotate: u32,
    /// Where they are moved.
    pub olddir: Option<String>,
    /// What compressed files end with, with the dot.
    pub compress_extension: Option<String>,
}

/// One block: files and what is done with them.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The file it stands in, as the host names it.
    pub file: PathBuf,
    /// Line of its first pattern.
    pub line: usize,
    /// Patterns, as written.
    pub patterns: Vec<String>,
    /// What is done.
    pub options: Options,
    matchers: Vec<GlobMatcher>,
}

impl Rule {
    /// Whether it is about this file.
    pub fn matches(&self, path: &Path) -> bool {
        self.matchers.iter().any(|m| m.is_match(path))
    }

    /// Where it stands.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Rotations {
    /// Blocks in the order in which they are read.
    pub rules: Vec<Rule>,
    /// Files that could not be read, with the reason.
    pub unread: Vec<String>,
}

impl Rotations {
    /// Reads the configuration of the host whose files are below `root`.
    pub fn read(root: &Path) -> Rotations {
        let mut to = Rotations::default();
        let main = Path::new("/etc/logrotate.conf");
        let mut options = Options::default();
        if below(root, main).exists() {
            to.file(root, main, &mut options, 0);
        } else {
            to.include(root, Path::new("/etc/logrotate.d"), &mut options, 0);
        }
        to
    }

    /// The rule that logrotate follows for this file: a file named twice is an error to it, and the first holds.
    pub fn rule(&self, path: &Path) -> Option<&Rule> {
        self.rules.iter().find(|r| r.matches(path))
    }

    fn include(&mut self, root: &Path, path: &Path, options: &mut Options, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let real = below(root, path);
        if !real.is_dir() {
            self.file(root, path, options, depth);
            return;
        }
        let mut names: Vec<_> = match std::fs::read_dir(&real) {
            Ok(entries) => entries.flatten().map(|e| e.file_name()).collect(),
            Err(error) => return self.unread.push(format!("{}: {error}", path.display())),
        };
        names.sort();
        for name in names {
            // What editors and packages leave behind is taboo to logrotate.
            let text = name.to_string_lossy();
            let taboo = [
                ".bak",
                ".disabled",
                ".dpkg-old",
                ".dpkg-new",
                ".dpkg-dist",
                ".rpmsave",
                ".rpmnew",
                ".rpmorig",
                "~",
                ".swp",
            ];
            if !text.starts_with('.') && !taboo.iter().any(|end| text.ends_with(end)) {
                // Options of an included file in a folder are its own.
                self.file(root, &path.join(&name), &mut options.clone(), depth);
            }
        }
    }

    fn file(&mut self, root: &Path, path: &Path, options: &mut Options, depth: usize) {
        let real = below(root, path);
        let text = match std::fs::metadata(&real) {
            Ok(meta) if !meta.is_file() => return,
            Ok(meta) if meta.len() > MAX_BYTES => Err("it is too long".to_owned()),
            Ok(_) => std::fs::read(&real).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match text {
            Ok(text) => self.parse(root, path, &String::from_utf8_lossy(&text), options, depth),
            Err(why) => self.unread.push(format!("{}: {why}", path.display())),
        }
    }

    fn parse(&mut self, root: &Path, path: &Path, text: &str, global: &mut Options, depth: usize) {
        let mut patterns: Vec<String> = Vec::new();
        let mut first_line = 0;
        let mut block: Option<Options> = None;
        let mut in_script = false;
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if in_script {
                in_script = line != "endscript";
                continue;
            }
            let mut words = words(line).into_iter().peekable();
            while let Some(word) = words.next() {
                match (word.as_str(), &mut block) {
                    ("prerotate" | "postrotate" | "firstaction" | "lastaction" | "preremove", Some(_)) => {
                        in_script = true;
                        break;
                    }
                    ("{", None) => block = Some(global.clone()),
                    ("}", Some(_)) => {
                        let options = block.take().unwrap_or_default();
                        self.push(path, first_line, std::mem::take(&mut patterns), options);
                    }
                    (_, Some(options)) => {
                        set(options, &word, words.peek().map(String::as_str));
                        // An option has its line for itself, but for a brace that closes the block.
                        while words.next_if(|w| w != "}").is_some() {}
                    }
                    ("include", None) => {
                        if let Some(to) = words.next() {
                            self.include(root, Path::new(&to), global, depth + 1);
                        }
                        break;
                    }
                    (_, None) if word.starts_with('/') || !patterns.is_empty() => {
                        if patterns.is_empty() {
                            first_line = n + 1;
                        }
                        patterns.push(word);
                    }
                    (_, None) => {
                        set(global, &word, words.peek().map(String::as_str));
                        break;
                    }
                }
            }
        }
    }

    fn push(&mut self, file: &Path, line: usize, patterns: Vec<String>, options: Options) {
        let matchers = patterns
            .iter()
            .filter_map(|p| GlobBuilder::new(p).literal_separator(true).build().ok())
            .map(|g| g.compile_matcher())
            .collect();
        self.rules.push(Rule { file: file.to_owned(), line, patterns, options, matchers });
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The words of a line: quotes and backslashes removed, braces apart, comments gone.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut open = false;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('#', None) if !open => break,
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (quote, open) = (Some(c), true),
            ('\\', None) => {
                word.extend(chars.next());
                open = true;
            }
            (c, None) if c.is_whitespace() || c == ',' && !word.contains('{') || c == '=' && !word.starts_with('/') => {
                if open {
                    words.push(std::mem::take(&mut word));
                    open = false;
                }
            }
            // A brace within a pattern belongs to it; one that stands alone opens or closes a block.
            ('{' | '}', None) if !open => words.push(c.to_string()),
            (c, None) => {
                word.push(c);
                open = true;
            }
        }
    }
    if open {
        // `/var/log/app.log{` is a pattern and a brace.
        match word.strip_suffix('{') {
            Some(rest) if !rest.is_empty() && !rest.contains('{') => words.extend([rest.to_owned(), "{".to_owned()]),
            _ => words.push(word),
        }
    }
    words
}

fn set(options: &mut Options, word: &str, value: Option<&str>) {
    match word {
        "copytruncate" => options.copytruncate = true,
        "nocopytruncate" => options.copytruncate = false,
        "compress" => options.compress = true,
        "nocompress" => options.compress = false,
        "delaycompress" => options.delaycompress = true,
        "nodelaycompress" => options.delaycompress = false,
        "noolddir" => options.olddir = None,
        "olddir" => options.olddir = value.map(str::to_owned),
        "compressext" => options.compress_extension = value.map(str::to_owned),
        // -1 keeps all.
        "rotate" => {
            options.rotate = value.map_or(0, |v| v.parse::<i64>().map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)))
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Rotations) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let rotations = Rotations::read(dir.path());
        (dir, rotations)
    }

    #[test]
    fn blocks_globals_scripts_and_included_files_are_read() {
        let (_dir, found) = host(&[
            (
                "etc/logrotate.conf",
                "weekly\nrotate 4 # kept\ncompress\ninclude /etc/logrotate.d\nnocompress\n/var/log/wtmp {\n  rotate 1\n}\n",
            ),
            (
                "etc/logrotate.d/app",
                "\"/var/log/my app/*.log\" /var/log/{a,b}.log\n/srv/x.log\n{\n  copytruncate\n  postrotate\n    echo } nocompress copy\n    nocopytruncate\n  endscript\n  delaycompress\n}\n",
            ),
            ("etc/logrotate.d/b", "nocompress\n/srv/b.log{\n rotate 0\n olddir /srv/old\n}\n/srv/c.log { rotate=7 }\n"),
            ("etc/logrotate.d/old.dpkg-old", "/var/log/wtmp { copytruncate }\n"),
        ]);
        assert_eq!(found.unread, Vec::<String>::new());
        let names: Vec<_> = found.rules.iter().map(Rule::place).collect();
        assert_eq!(
            names,
            ["/etc/logrotate.d/app:1", "/etc/logrotate.d/b:2", "/etc/logrotate.d/b:6", "/etc/logrotate.conf:6"]
        );
        let rule = |path: &str| found.rule(Path::new(path)).map(|r| r.options.clone());
        let all = Options { compress: true, rotate: 4, ..Options::default() };
        let app = Options { copytruncate: true, delaycompress: true, ..all.clone() };
        for path in ["/var/log/my app/x.log", "/var/log/a.log", "/var/log/b.log", "/srv/x.log"] {
            assert_eq!(rule(path), Some(app.clone()), "{path}");
        }
        assert_eq!(rule("/var/log/my app/deep/x.log"), None);
        let b = Options { compress: false, rotate: 0, olddir: Some("/srv/old".into()), ..all.clone() };
        assert_eq!(rule("/srv/b.log"), Some(b));
        assert_eq!(
            rule("/srv/c.log"),
            Some(Options { compress: false, rotate: 7, ..all.clone() }),
            "options do not leak"
        );
        assert_eq!(rule("/var/log/wtmp"), Some(Options { compress: false, rotate: 1, ..all }));
    }

    #[test]
    fn a_host_without_logrotate_has_no_rules_and_hostile_files_end() {
        let (_dir, found) = host(&[]);
        assert!(found.rules.is_empty());
        let (_dir, found) = host(&[("etc/logrotate.conf", "include /etc/logrotate.conf\n{ } } {\n/a \"unclosed {\n")]);
        assert!(found.rules.len() < 1000);
    }
}
