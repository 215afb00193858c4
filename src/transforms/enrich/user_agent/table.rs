//! A table of patterns in uap-core's form, and how its answers are put together.
//! Source: ua-parser/uap-core, docs/specification.md.

use super::super::watched::{FileError, last_line_ends};
use super::patterns::{self, FoundAgent, PatternSet, Source};
use super::{Device, Product, builtin};
use crate::settings::{Diagnostics, Node, SourceMap, yaml};

/// Work space for one worker.
pub(in super::super) type Scratch = patterns::Scratch;

/// Why a file is no table.
#[derive(Debug)]
pub(in super::super) struct TableError(pub(in super::super) String);

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Patterns with what their matches stand for.
#[derive(Debug)]
struct Section<const N: usize> {
    patterns: PatternSet,
    /// By pattern: what each part of the answer is made of.
    parts: Vec<[TextPart; N]>,
}

/// One part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextPart {
    /// Nothing.
    Absent,
    /// A group of the match.
    Group(usize),
    /// Text with `$1` to `$9` for groups.
    Template(Box<str>),
}

/// Patterns for browsers, operating systems and devices.
#[derive(Debug)]
pub(in super::super) struct Table {
    browsers: Section<4>,
    systems: Section<4>,
    devices: Section<3>,
    /// The last line of the text had its end.
    ends: bool,
}

impl<const N: usize> Section<N> {
    fn new(name: &str, entries: Vec<(Source, [TextPart; N])>) -> Result<Self, TableError> {
        let (sources, parts) = entries.into_iter().unzip();
        let patterns = PatternSet::new(sources)
            .map_err(|(n, why)| TableError(format!("pattern {} of `{name}` is not usable: {why}", n + 1)))?;
        Ok(Section { patterns, parts })
    }

    fn find(&self, text: &[u8], scratch: &mut Scratch) -> Option<[Vec<u8>; N]> {
        let found = self.patterns.find(text, scratch)?;
        let parts = &self.parts[found.pattern];
        Some(std::array::from_fn(|n| parts[n].fill(&found, text)))
    }
}

impl TextPart {
    pub(super) fn template(text: &str) -> TextPart {
        TextPart::Template(text.into())
    }

    fn fill(&self, found: &FoundAgent<'_>, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            TextPart::Absent => {}
            TextPart::Group(n) => out.extend_from_slice(found.group(*n, text)),
            TextPart::Template(template) => {
                let mut rest = template.as_bytes();
                while let Some(at) = memchr::memchr(b'$', rest) {
                    out.extend_from_slice(&rest[..at]);
                    match rest.get(at + 1) {
                        Some(digit @ b'1'..=b'9') => {
                            out.extend_from_slice(found.group(usize::from(digit - b'0'), text));
                            rest = &rest[at + 2..];
                        }
                        _ => {
                            out.push(b'$');
                            rest = &rest[at + 1..];
                        }
                    }
                }
                out.extend_from_slice(rest);
            }
        }
        out.trim_ascii().to_vec()
    }
}

impl Table {
    /// The built-in table.
    pub(in super::super) fn builtin() -> Result<Table, TableError> {
        let product = |list: &[(&str, [&str; 4])]| {
            let part = |n: usize, text: &str| match text {
                "" => TextPart::Absent,
                "=" => TextPart::Group(n + 1),
                text => TextPart::template(text),
            };
            let entry = |(regex, parts): &(&str, [&str; 4])| {
                let source = Source { regex: (*regex).to_owned(), case_insensitive: false };
                (source, std::array::from_fn(|n| part(n, parts[n])))
            };
            list.iter().map(entry).collect::<Vec<_>>()
        };
        let device = |(regex, parts): &(&str, [&str; 3])| {
            let part = |text: &str| if text.is_empty() { TextPart::Absent } else { TextPart::template(text) };
            (Source { regex: (*regex).to_owned(), case_insensitive: true }, parts.map(part))
        };
        Ok(Table {
            browsers: Section::new("browsers", product(builtin::BROWSERS))?,
            systems: Section::new("systems", product(builtin::SYSTEMS))?,
            devices: Section::new("devices", builtin::DEVICES.iter().map(device).collect())?,
            ends: true,
        })
    }

    /// Reads a table's file, to be used instead of `old`.
    ///
    /// Errors: why it cannot be used, or must not take the place of `old`: it has no patterns, or none in a list where `old`
    /// has some, or is cut off.
    pub(in super::super) fn load(path: &std::path::Path, old: Option<&Table>) -> Result<Table, FileError> {
        let text = std::fs::read_to_string(path).map_err(FileError::Read)?;
        let ends = last_line_ends(&text, old.map(|old| old.ends))?;
        let table = Table { ends, ..Table::parse(&text).map_err(|error| error.to_string())? };
        let counts = |table: &Table| {
            [
                ("user_agent_parsers", table.browsers.parts.len()),
                ("os_parsers", table.systems.parts.len()),
                ("device_parsers", table.devices.parts.len()),
            ]
        };
        let new = counts(&table);
        if new.iter().all(|(_, n)| *n == 0) {
            return Err("it has no patterns".into());
        }
        for ((list, n), (_, before)) in new.into_iter().zip(old.map_or(new, counts)) {
            if n == 0 && before > 0 {
                return Err(FileError::Worse(format!(
                    "`{list}` is empty, the file before had {before} patterns there"
                )));
            }
        }
        Ok(table)
    }

    /// Reads a table in uap-core's format (`regexes.yaml`).
    ///
    /// Errors: what is wrong with the text; nothing of a table with a mistake is used.
    pub(in super::super) fn parse(text: &str) -> Result<Table, TableError> {
        let mut sources = SourceMap::default();
        let mut diagnostics = Diagnostics::default();
        let file = sources.add("regexes", text);
        let root = yaml::parse(file, &mut sources, &mut diagnostics);
        let Some(root) = root.filter(|_| !diagnostics.has_errors()) else {
            return Err(TableError(format!("not a table of user agents:\n{}", diagnostics.render(&sources, None))));
        };
        let section = |name: &str| -> Result<Vec<Node>, TableError> {
            match root.get(name).and_then(Node::as_seq) {
                Some(list) => Ok(list.to_vec()),
                None => Err(TableError(format!("not a table of user agents: it has no list `{name}`"))),
            }
        };
        let browsers = entries(
            &section("user_agent_parsers")?,
            [("family_replacement", 1), ("v1_replacement", 2), ("v2_replacement", 3), ("v3_replacement", 4)],
        )?;
        let systems = entries(
            &section("os_parsers")?,
            [("os_replacement", 1), ("os_v1_replacement", 2), ("os_v2_replacement", 3), ("os_v3_replacement", 4)],
        )?;
        let devices = entries(
            &section("device_parsers")?,
            [("device_replacement", 1), ("brand_replacement", 0), ("model_replacement", 1)],
        )?;
        Ok(Table {
            browsers: Section::new("user_agent_parsers", browsers)?,
            systems: Section::new("os_parsers", systems)?,
            devices: Section::new("device_parsers", devices)?,
            ends: text.ends_with('\n'),
        })
    }

    /// The browser.
    pub(super) fn browser(&self, text: &[u8], scratch: &mut Scratch) -> Product {
        product(self.browsers.find(text, scratch))
    }

    /// The operating system.
    pub(super) fn os(&self, text: &[u8], scratch: &mut Scratch) -> Product {
        product(self.systems.find(text, scratch))
    }

    /// The device.
    pub(super) fn device(&self, text: &[u8], scratch: &mut Scratch) -> Device {
        match self.devices.find(text, scratch) {
            Some([family, brand, model]) => Device { family: or_other(family), brand, model },
            None => Device { family: or_other(Vec::new()), ..Device::default() },
        }
    }

    #[cfg(test)]
    pub(super) fn always(&self) -> [usize; 3] {
        [self.browsers.patterns.always(), self.systems.patterns.always(), self.devices.patterns.always()]
    }
}

fn product(found: Option<[Vec<u8>; 4]>) -> Product {
    match found {
        Some([family, major, minor, patch]) => Product { family: or_other(family), version: [major, minor, patch] },
        None => Product { family: or_other(Vec::new()), ..Product::default() },
    }
}

fn or_other(family: Vec<u8>) -> Vec<u8> {
    if family.is_empty() { b"Other".to_vec() } else { family }
}

/// The entries of a list; each part is its replacement where there is one, else the group with that number (0: nothing).
fn entries<const N: usize>(
    list: &[Node],
    names: [(&str, usize); N],
) -> Result<Vec<(Source, [TextPart; N])>, TableError> {
    let entry = |node: &Node| {
        let regex = node.get("regex").and_then(Node::scalar_text);
        let regex = regex.ok_or_else(|| TableError("not a table of user agents: an entry has no `regex`".into()))?;
        let case_insensitive = node.get("regex_flag").and_then(Node::scalar_text) == Some("i");
        let parts = names.map(|(name, group)| match node.get(name).and_then(Node::scalar_text) {
            Some(text) => TextPart::template(text),
            None if group == 0 => TextPart::Absent,
            None => TextPart::Group(group),
        });
        Ok((Source { regex: regex.to_owned(), case_insensitive }, parts))
    };
    list.iter().map(entry).collect()
}
