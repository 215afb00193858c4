//! Objects and arrays of JSON below the name of a secret that describe it and have none: a schema
//! (`{"type":"string","minLength":8}`), what a token is like (`{"alg":"RS256","ttl":3600}`), names of secrets (`["db_password"]`).

use super::ends::skip_space;
use super::{key, none};
use crate::transforms::redact::ascii::{ALNUM, DIGIT, is};
use memchr::memchr;

/// The longest text that is looked at.
const MAX: usize = 512;

/// Whether the object or array that a text begins with describes a secret.
#[inline(never)]
pub(super) fn describes(json: &[u8]) -> bool {
    let json = &json[..json.len().min(MAX)];
    match json.first() {
        Some(b'{') => object(json).is_some(),
        Some(b'[') => names(json).is_some(),
        _ => false,
    }
}

/// Behind an object of which each key says something about a secret, and each value is a short word, a number or a state.
fn object(json: &[u8]) -> Option<usize> {
    let mut at = skip_space(json, 1);
    loop {
        let (key, next) = string(json, at)?;
        let said = key::describes(key);
        at = skip_space(json, next);
        at = skip_space(json, json.get(at).filter(|&&b| b == b':').map(|_| at + 1)?);
        at = match json.get(at)? {
            b'"' => {
                let (value, next) = string(json, at)?;
                let way = matches!(key, b"alg" | b"algorithm" | b"type" | b"method" | b"format" | b"kind" | b"mode");
                let word = value.len() <= 32 && value.iter().all(|&b| is(b, ALNUM) || matches!(b, b'_' | b'-'));
                if !said || !word || !(way || !value.iter().any(|&b| is(b, DIGIT)) && !none::looks_secret(value)) {
                    return None;
                }
                next
            }
            b't' | b'f' | b'n' => {
                const LITERALS: [&[u8]; 3] = [b"true", b"false", b"null"];
                at + LITERALS.iter().find(|l| json[at..].starts_with(l))?.len()
            }
            _ => {
                let len = json[at..].iter().take_while(|&&b| is(b, DIGIT)).count();
                if !said || len == 0 || len > 10 {
                    return None;
                }
                at + len
            }
        };
        at = skip_space(json, at);
        match json.get(at)? {
            b',' => at = skip_space(json, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Behind an array of strings each of which is the name of a secret.
fn names(json: &[u8]) -> Option<usize> {
    let mut at = skip_space(json, 1);
    loop {
        let (name, next) = string(json, at)?;
        let part = |b: &u8| is(*b, ALNUM) || matches!(b, b'_' | b'-');
        if name.iter().any(|&b| is(b, DIGIT)) || !name.iter().all(part) || !key::is_name(name) {
            return None;
        }
        at = skip_space(json, next);
        match json.get(at)? {
            b',' => at = skip_space(json, at + 1),
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The text of a string without escapes, and what is behind it.
fn string(json: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let inner = json.get(at..)?.strip_prefix(b"\"")?;
    let close = memchr(b'"', inner)?;
    (!inner[..close].contains(&b'\\')).then_some((&inner[..close], at + close + 2))
}
