//! What names of files say: which is a rotated generation or a copy of which, and which is compressed.

use std::borrow::Cow;
use std::path::Path;

/// Whether `path` is what a rotation makes of `of`, beside it.
pub(super) fn is_rotation_of(of: &Path, path: &Path) -> bool {
    let names = || name_of(of).zip(name_of(path));
    of.parent() == path.parent() && names().is_some_and(|(base, name)| is_rotated_name(&base, &name))
}

/// Whether `name` may be what a rotation, or whoever makes copies, makes of `base`: good enough where the contents are proven.
pub(super) fn is_rotated_name(base: &str, name: &str) -> bool {
    added(base, name).next().is_some()
}

/// Whether `name` is what a rotation makes of `base`, and nobody else: numbers, dates, and the words that rotations put behind
/// a name. Good enough to read a file for no other reason than its name: `app-error.log` is no generation of `app.log`.
pub(super) fn is_generation_name(base: &str, name: &str) -> bool {
    added(base, name).any(|added| {
        let mut parts = added.split(['.', '-', '_', ':', '@']).filter(|part| !part.is_empty()).peekable();
        parts.peek().is_some() && parts.all(is_part_of_rotation)
    })
}

/// What `name` has more than `base`, behind it or before its extension, without the ending of compressed files.
fn added<'a>(base: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let bare = PACKED_ENDS.iter().find_map(|end| name.strip_suffix(end)).filter(|bare| bare.len() > 1);
    let joined = |rest: &&str| rest.len() > 1 && rest.starts_with(['.', '-', '_']);
    [Some(name), bare].into_iter().flatten().flat_map(move |name| {
        let behind = name.strip_prefix(base);
        let between = base
            .rsplit_once('.')
            .filter(|(stem, _)| !stem.is_empty())
            .and_then(|(stem, extension)| name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.'));
        [behind, between].into_iter().flatten().filter(joined)
    })
}

/// A number, a date or time, a month, or one of the words that rotations use.
fn is_part_of_rotation(part: &str) -> bool {
    const WORDS: [&str; 19] = [
        "old", "bak", "back", "backup", "prev", "previous", "orig", "save", "saved", "rotated", "rotate", "archive",
        "archived", "last", "copy", "gz", "zst", "xz", "bz2",
    ];
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let lower = part.to_ascii_lowercase();
    // `20250101T100000Z`, `10h`, `w05`.
    let digits = lower.bytes().filter(u8::is_ascii_digit).count();
    let letters = lower.bytes().filter(u8::is_ascii_alphabetic).count();
    digits > 0 && letters <= 2 && digits + letters == lower.len()
        || WORDS.contains(&&*lower)
        || MONTHS.contains(&&*lower)
}

/// Whether a name says by itself that the file is a rotated generation: numbers or a date behind another name.
pub(super) fn is_numbered(name: &str) -> bool {
    base_names(name).any(|base| {
        let rest = name.strip_prefix(&*base).or_else(|| {
            let (stem, extension) = base.rsplit_once('.')?;
            name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')
        });
        rest.is_some_and(|rest| {
            rest.bytes().any(|b| b.is_ascii_digit())
                && rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b':' | b'T' | b'Z'))
        })
    })
}

/// How names of compressed files end that are read.
pub(super) const PACKED_ENDS: [&str; 4] = [".gz", ".zst", ".xz", ".bz2"];

/// Whether a name is that of a compressed file.
pub(super) fn is_packed_name(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| PACKED_ENDS.iter().any(|end| end[1..] == *e))
}

/// Names of which `name` may be a rotated generation.
pub(super) fn base_names(name: &str) -> impl Iterator<Item = String> + '_ {
    let extension = name.rfind('.').map(|dot| &name[dot..]);
    name.char_indices().skip(1).filter(|(_, c)| matches!(c, '.' | '-' | '_')).flat_map(move |(i, _)| {
        let cut = name[..i].to_owned();
        let with = extension.filter(|e| i + e.len() < name.len()).map(|e| format!("{cut}{e}"));
        [Some(cut), with].into_iter().flatten()
    })
}

/// A file's name, for comparing it with others.
pub(super) fn name_of(path: &Path) -> Option<Cow<'_, str>> {
    path.file_name().map(|name| name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates_behind_a_name_are_known() {
        for name in ["app.log.1", "app.log-20250101", "app-2025-01-01.log", "app.log.2025-01-01T10:00:00Z"] {
            assert!(is_numbered(name), "{name}");
        }
        for name in ["app.log", "app-error.log", "1.log", "app.log.old"] {
            assert!(!is_numbered(name), "{name}");
        }
    }

    #[test]
    fn rotated_names_are_told_from_others() {
        for name in ["app.log.1", "app.log-20250101", "app.log_old", "app-20250101.log", "app.1.log"] {
            assert!(is_rotated_name("app.log", name), "{name}");
            assert!(base_names(name).any(|b| b == "app.log"), "{name}");
        }
        for name in ["app.log", "app.logs", "apple.log", "app.log.", "other.log", "app.txt", "appx.1.log"] {
            assert!(!is_rotated_name("app.log", name), "{name}");
        }
        for name in
            ["app-20250101.log.gz", "app-2025-01-01.log.zst", "app.log.2.gz", "app.log.3.xz", "app-20250101.log.bz2"]
        {
            assert!(is_rotated_name("app.log", name) && is_generation_name("app.log", name), "{name}");
        }
        for name in
            ["app.log.1", "app.log-20250101", "app.log_old", "app.1.log", "app.log.2025-01-01T10:00:00Z", "app.log.bak"]
        {
            assert!(is_generation_name("app.log", name), "{name}");
        }
        for name in
            ["app-2025-Jan-01.log", "app.log.20250101-1735689600", "app.log.old.1", "app-2025-01-01T10-00-00.123.log"]
        {
            assert!(is_generation_name("app.log", name), "{name}");
        }
        for name in ["app-error.log", "app_audit.log", "app.log.pos", "app-debug.log", "app.log.swp", "app-v2beta.log"]
        {
            assert!(!is_generation_name("app.log", name), "{name}");
        }
        assert!(is_rotated_name("noext", "noext.1"));
        assert!(!is_rotated_name(".hidden", "a.hidden"));
    }
}
