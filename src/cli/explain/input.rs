//! What is to be shown: files, lines of them, standard input.

use crate::event::Origin;
use crate::topology::Inline;
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a file, decompressed, that are read at most.
const MAX_BYTES: u64 = 256 << 20;

/// What a user has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Stdin,
    /// A file, and the lines of it from 1, both inclusive.
    File(PathBuf, Option<(u64, u64)>),
}

/// What was read of it.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) origin: Arc<Origin>,
    /// Number of the first line, place in the file, text.
    pub(super) frames: Vec<(u64, u64, Vec<u8>)>,
    /// The text is in UTF-8, whatever the source's is in.
    pub(super) is_utf8: bool,
}

impl Target {
    /// Errors: there is no such file, or the lines are none.
    pub(super) fn parse(text: &str) -> Result<Target, String> {
        if text == "-" {
            return Ok(Target::Stdin);
        }
        let path = Path::new(text);
        if path.exists() {
            return Ok(Target::File(path.to_owned(), None));
        }
        let Some((file, lines)) = text.rsplit_once(':') else {
            return Err(format!("{text}: there is no such file"));
        };
        let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0);
        let range = match lines.split_once('-') {
            Some((from, to)) => number(from).zip(number(to)),
            None => number(lines).map(|n| (n, n)),
        };
        match range {
            Some((from, to)) if from <= to && Path::new(file).exists() => {
                Ok(Target::File(file.into(), Some((from, to))))
            }
            Some((from, to)) if from > to => Err(format!("{text}: the first line is behind the last")),
            Some(_) => Err(format!("{file}: there is no such file")),
            None => Err(format!("{text}: there is no such file; lines are named as in FILE:12 or FILE:12-20")),
        }
    }

    /// The source that it is given to: the one that is named, that reads the file, or the only one.
    ///
    /// Errors: which ones there are.
    pub(super) fn source(&self, inline: &Inline, wanted: Option<&str>) -> Result<String, String> {
        let sources: Vec<&str> = inline.sources().collect();
        if let Some(id) = wanted {
            return match sources.contains(&id) {
                true => Ok(id.to_owned()),
                false => Err(format!("there is no source `{id}`; there are: {}", sources.join(", "))),
            };
        }
        if let Target::File(path, _) = self {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let readers: Vec<&str> =
                sources.iter().copied().filter(|id| inline.reads(id, &path) == Some(true)).collect();
            match readers[..] {
                [one] => return Ok(one.to_owned()),
                [] => {}
                _ => {
                    let name = path.display();
                    return Err(format!("several sources read {name}: say which with --source {}", readers.join("|")));
                }
            }
        }
        match sources[..] {
            [one] => Ok(one.to_owned()),
            [] => Err("the pipeline has no source".into()),
            _ => Err(format!("say which source the lines come from: --source {}", sources.join("|"))),
        }
    }

    /// Reads it as the source does.
    ///
    /// Errors: it cannot be read; in words.
    pub(super) fn read(&self, inline: &Inline, source: &str) -> Result<Input, String> {
        let (name, file, text, lines, is_utf8) = match self {
            Target::Stdin => {
                let mut text = Vec::new();
                std::io::stdin()
                    .lock()
                    .take(MAX_BYTES)
                    .read_to_end(&mut text)
                    .map_err(|error| format!("-: {error}"))?;
                ("-".to_owned(), None, text, None, true)
            }
            Target::File(path, lines) => {
                let name = path.display().to_string();
                let text = inline.text_of(source, path, MAX_BYTES).map_err(|error| format!("{name}: {error}"))?;
                // A source names files by their absolute paths.
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                (name, Some(path.display().to_string()), text, *lines, false)
            }
        };
        let starts: Vec<u64> =
            std::iter::once(0).chain(memchr::memchr_iter(b'\n', &text).map(|at| at as u64 + 1)).collect();
        let all = inline.frames(source, &text).into_iter();
        let mut frames: Vec<(u64, u64, Vec<u8>)> = all
            .map(|(number, text)| (number, starts.get(number as usize - 1).copied().unwrap_or_default(), text))
            .collect();
        if let Some((from, to)) = lines {
            // What began before is shown where these lines are part of it: then it is another one without them.
            let start = starts.get(from as usize - 1).map_or(text.len(), |start| *start as usize);
            let before: HashSet<(u64, Vec<u8>)> = inline.frames(source, &text[..start]).into_iter().collect();
            let is_asked = |number: u64, text: &Vec<u8>| number >= from || !before.contains(&(number, text.clone()));
            let is_there = start < text.len();
            frames.retain(|(number, _, text)| is_there && *number <= to && is_asked(*number, text));
            if frames.is_empty() {
                let last = starts.len() as u64 - u64::from(text.is_empty() || text.ends_with(b"\n"));
                return Err(format!("{name}: there is no line {from}; it has {last}"));
            }
        }
        let origin = Origin {
            source: source.into(),
            file: file.or_else(|| Some("-".to_owned())).map(Arc::from),
            host: Some(inline.host()),
            ..Origin::default()
        };
        Ok(Input { name, origin: Arc::new(origin), frames, is_utf8 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_named_behind_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, odd) = (dir.path().join("a.log"), dir.path().join("b.log:7"));
        std::fs::write(&plain, "x\n").unwrap();
        std::fs::write(&odd, "x\n").unwrap();
        let parse = |path: &Path, lines: &str| Target::parse(&format!("{}{lines}", path.display()));
        assert_eq!(parse(&plain, ""), Ok(Target::File(plain.clone(), None)));
        assert_eq!(parse(&plain, ":3"), Ok(Target::File(plain.clone(), Some((3, 3)))));
        assert_eq!(parse(&plain, ":3-9"), Ok(Target::File(plain.clone(), Some((3, 9)))));
        assert_eq!(parse(&odd, ""), Ok(Target::File(odd.clone(), None)), "a file of that name comes first");
        for (lines, said) in
            [(":0", "FILE:12"), (":9-3", "behind the last"), (":x", "no such file"), ("x:1", "no such file")]
        {
            assert!(parse(&plain, lines).unwrap_err().contains(said), "{lines}");
        }
    }
}
