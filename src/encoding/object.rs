//! Events as JSON objects with something put before their last brace, so that what nobody changed is copied as it stands and
//! can be cut out again.

use crate::event::EventRef;

/// Appends the event as it is.
#[inline]
pub fn write(event: EventRef<'_>, body: &mut Vec<u8>) {
    event.write_json(body);
    // A line that came with blanks behind the brace is copied with them.
    while body.last().is_some_and(|b| b.is_ascii_whitespace()) {
        body.pop();
    }
}

/// Puts members, without a comma before the first, before the last brace of the object at `body[start..]`; how many bytes
/// that took.
#[inline]
pub fn add(start: usize, body: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) -> u32 {
    body.pop();
    let before = body.len();
    // A comma, unless there is no member yet.
    if body[start..].trim_ascii() != b"{" {
        body.push(b',');
    }
    members(body);
    let added = (body.len() - before) as u32;
    body.push(b'}');
    added
}

/// Appends the object without the bytes that were [added](add).
pub fn without_added(object: &[u8], added: u32, out: &mut Vec<u8>) {
    if let Some((last, object)) = object.split_last() {
        out.extend_from_slice(&object[..object.len().saturating_sub(added as usize)]);
        out.push(*last);
    }
}

/// Line ends between the tokens of an object become blanks, where records are lines. (Inside strings they are escaped.)
pub fn on_one_line(object: &mut [u8]) {
    let mut at = 0;
    while let Some(i) = memchr::memchr2(b'\n', b'\r', &object[at..]) {
        object[at + i] = b' ';
        at += i + 1;
    }
}
