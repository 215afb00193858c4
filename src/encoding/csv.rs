//! Lines of comma-separated values, RFC 4180 with `\n` as line end.

use super::Formulas;
use crate::event::{EventRef, FieldPath, Form, Value};

/// Appends the values at `fields`; `work` is work space.
pub(super) fn write(
    event: EventRef<'_>,
    fields: &[FieldPath],
    formulas: Formulas,
    work: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    for (i, path) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match event.get(path) {
            None | Some(Value::Null) => {}
            Some(Value::Str(s)) if s.form != Form::Escaped => cell(s.bytes, formulas, out),
            Some(value) => {
                work.clear();
                value.append_text(work);
                cell(work, formulas, out);
            }
        }
    }
    // A lone empty cell would be an empty line, which readers skip.
    if fields.len() == 1 && out.last().is_none_or(|&c| c == b'\n') {
        out.extend_from_slice(b"\"\"");
    }
}

/// Whether a spreadsheet would compute it: it begins as a formula does, in the letters of any script (`＝`), behind blanks
/// too, and is not a number and no lone sign.
fn is_formula(text: &[u8]) -> bool {
    let trimmed = text.trim_ascii_start();
    let begins = match trimmed {
        [b'=' | b'@' | b'+' | b'-', ..] => true,
        // U+FF1D, U+FF20, U+FF0B, U+FF0D
        [0xef, 0xbc, 0x9d | 0xa0 | 0x8b | 0x8d, ..] => true,
        _ => false,
    };
    begins && !matches!(trimmed, [b'-' | b'+']) && !is_number(trimmed)
}

fn is_number(text: &[u8]) -> bool {
    let digits = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    text.iter().all(|b| digits(*b)) && std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok())
}

fn cell(text: &[u8], formulas: Formulas, out: &mut Vec<u8>) {
    if formulas == Formulas::Escape && is_formula(text) {
        let mut marked = Vec::with_capacity(text.len() + 1);
        marked.push(b'\'');
        marked.extend_from_slice(text);
        return cell(&marked, Formulas::Keep, out);
    }
    if !text.iter().any(|c| matches!(c, b',' | b'"' | b'\n' | b'\r')) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'"');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
