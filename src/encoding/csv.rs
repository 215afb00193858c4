//! Lines of comma-separated values, RFC 4180 with `\n` as line end.

use crate::event::{EventRef, FieldPath, Form, Value};

/// Appends the values at `fields`; `work` is work space.
pub(super) fn write(event: EventRef<'_>, fields: &[FieldPath], work: &mut Vec<u8>, out: &mut Vec<u8>) {
    for (i, path) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match event.get(path) {
            None | Some(Value::Null) => {}
            Some(Value::Str(s)) if s.form != Form::Escaped => cell(s.bytes, out),
            Some(value) => {
                work.clear();
                value.append_text(work);
                cell(work, out);
            }
        }
    }
    // A lone empty cell would be an empty line, which readers skip.
    if fields.len() == 1 && out.last().is_none_or(|&c| c == b'\n') {
        out.extend_from_slice(b"\"\"");
    }
}

fn cell(text: &[u8], out: &mut Vec<u8>) {
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
