//! The texts that were read, and places in them.

use std::ops::Range;

/// A place in one of the files of a [`SourceMap`]: a byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Index of the file in its [`SourceMap`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte; equal to `start` for a place without width.
    pub end: u32,
}

impl Span {
    /// A place in file number `file`.
    pub fn new(file: u32, start: usize, end: usize) -> Self {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { file, start: clamp(start), end: clamp(end.max(start)) }
    }

    /// The smallest range that holds both; `self` where they lie in different files.
    #[must_use]
    pub fn to(self, other: Span) -> Self {
        if self.file != other.file {
            return self;
        }
        Self { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One file's text and where its lines begin.
#[derive(Debug, Clone)]
pub struct SourceFile {
    name: String,
    text: String,
    /// Byte offset of the first byte of each line; never empty, begins with 0.
    lines: Vec<u32>,
    /// Byte ranges never to be shown, sorted and apart from each other.
    masked: Vec<Range<usize>>,
}

impl SourceFile {
    /// The path as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line (from 1) and column (from 1, in characters) of a byte offset.
    pub fn position(&self, offset: u32) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= offset).saturating_sub(1);
        let start = self.lines[line] as usize;
        let end = (offset as usize).min(self.text.len());
        let column = self.text.get(start..end).map_or(0, |part| part.chars().count());
        (line + 1, column + 1)
    }

    /// Byte range of the line (from 1), without its line end.
    pub(crate) fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.lines.get(line - 1).map_or(self.text.len(), |&start| start as usize);
        let end = self.lines.get(line).map_or(self.text.len(), |&start| start as usize);
        let text = self.text[start..end].trim_end_matches(['\n', '\r']);
        start..start + text.len()
    }

    /// The masks that touch `range`.
    pub(crate) fn masked(&self, range: &Range<usize>) -> &[Range<usize>] {
        let from = self.masked.partition_point(|mask| mask.end <= range.start);
        let to = self.masked.partition_point(|mask| mask.start < range.end);
        &self.masked[from..to.max(from)]
    }

    /// All of it, with `***` in place of what is masked; expressions (`${NAME}`) that stand there alone stay.
    pub fn shown(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for mask in &self.masked {
            let Some(hidden) = self.text.get(mask.clone()) else { continue };
            let bare = hidden.trim().trim_matches(['"', '\'']);
            let name = bare.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let is_expression = name.is_some_and(|name| !name.contains([':', '}']) || name.starts_with("file:"));
            out.push_str(&self.text[at..mask.start]);
            out.push_str(if is_expression { hidden } else { "***" });
            at = mask.end;
        }
        out.push_str(&self.text[at..]);
        out
    }

    fn mask(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        // Those that touch the new one become part of it.
        let from = self.masked.partition_point(|mask| mask.end < range.start);
        let to = self.masked.partition_point(|mask| mask.start <= range.end);
        let mut joined = range;
        for mask in &self.masked[from..to] {
            joined = joined.start.min(mask.start)..joined.end.max(mask.end);
        }
        self.masked.splice(from..to, [joined]);
    }
}

/// Every text that a configuration was read from.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a text and returns its number. A byte order mark is left out.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        let mut text: String = text.into();
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        let mut lines = vec![0];
        let bytes = text.as_bytes();
        for (at, &byte) in bytes.iter().enumerate() {
            if byte == b'\n' || (byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')) {
                lines.push(u32::try_from(at + 1).unwrap_or(u32::MAX));
            }
        }
        self.files.push(SourceFile { name: name.into(), text, lines, masked: Vec::new() });
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// The file with that number.
    pub fn file(&self, file: u32) -> Option<&SourceFile> {
        self.files.get(file as usize)
    }

    /// All files, in the order they were added.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text at `span`; empty where there is none.
    pub fn text(&self, span: Span) -> &str {
        self.file(span.file).and_then(|file| file.text.get(span.range())).unwrap_or_default()
    }

    /// Never shows the text at `span`: excerpts have `***` there.
    pub fn mask(&mut self, span: Span) {
        if let Some(file) = self.files.get_mut(span.file as usize) {
            file.mask(span.range());
        }
    }

    /// Whether any of `span` is masked.
    pub fn is_masked(&self, span: Span) -> bool {
        let range = span.range();
        self.file(span.file).is_some_and(|file| !file.masked(&range).is_empty())
    }
}
