//! `key=value` lines as Heroku and go-logfmt read them.
//!
//! A value is quoted where it is empty or holds a blank, `=`, a quote, a backslash or a control character; inside quotes
//! the escapes are JSON's. Characters that cannot stand in a key become `_`.

use crate::event::{EventRef, Form, Value, json};

/// Appends the event's fields; `work` is work space.
pub(super) fn write(event: EventRef<'_>, work: &mut Vec<u8>, out: &mut Vec<u8>) {
    let mut first = true;
    for (name, value) in event.fields() {
        if !first {
            out.push(b' ');
        }
        first = false;
        key(name, out);
        out.push(b'=');
        match value {
            Value::Str(s) => match s.form {
                Form::Escaped => quoted(out, |out| out.extend_from_slice(s.bytes)),
                Form::Clean | Form::Plain if is_bare(s.bytes) => out.extend_from_slice(s.bytes),
                Form::Clean => quoted(out, |out| out.extend_from_slice(s.bytes)),
                Form::Plain => quoted(out, |out| json::escape(s.bytes, out)),
            },
            Value::Object(raw) | Value::Array(raw) => quoted(out, |out| json::escape(raw, out)),
            other => {
                work.clear();
                other.append_text(work);
                out.extend_from_slice(work);
            }
        }
    }
}

fn quoted(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    content(out);
    out.push(b'"');
}

/// Bytes that cannot stand in a bare word.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0;
    while c < 256 {
        table[c] = c <= b' ' as usize || matches!(c as u8, b'=' | b'"' | b'\\' | 0x7f);
        c += 1;
    }
    table
};

fn is_special(c: u8) -> bool {
    SPECIAL[usize::from(c)]
}

fn is_bare(text: &[u8]) -> bool {
    !text.is_empty() && !text.iter().any(|&c| is_special(c))
}

fn key(name: &[u8], out: &mut Vec<u8>) {
    if is_bare(name) {
        out.extend_from_slice(name);
    } else if name.is_empty() {
        out.push(b'_');
    } else {
        out.extend(name.iter().map(|&c| if is_special(c) { b'_' } else { c }));
    }
}
