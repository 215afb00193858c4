//! User agents: who sent a request, taken from what it says of itself.
//!
//! `browser` and `os` have `family`, `major`, `minor` and `patch`, `device` has `family`, `brand` and `model`; `engine` is the
//! name of the browser's engine. Versions are text, what is not known is absent, a family nobody recognised is `Other`.
//!
//! The tables are built in, or read from a file in uap-core's format. Either is compiled piece by piece, when a text
//! first needs it.

mod builtin;
mod patterns;
mod table;

pub(super) use table::{Scratch, Table};

use crate::event::json;

/// Longer texts are cut before they are looked at: no browser sends them, and time is bounded.
pub(super) const MAX_TEXT_BYTES: usize = 2048;

/// A browser or an operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) family: Vec<u8>,
    /// Major, minor, patch; empty where not known.
    pub(super) version: [Vec<u8>; 3],
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) family: Vec<u8>,
    pub(super) brand: Vec<u8>,
    pub(super) model: Vec<u8>,
}

/// Appends what `table` says of `text` as a JSON object.
pub(super) fn describe(table: &Table, text: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let text = text.get(..MAX_TEXT_BYTES).unwrap_or(text);
    let browser = table.browser(text, scratch);
    let os = table.os(text, scratch);
    let device = table.device(text, scratch);
    out.push(b'{');
    for (name, product) in [("browser", &browser), ("os", &os)] {
        let [major, minor, patch] = &product.version;
        let members = [("family", &product.family), ("major", major), ("minor", minor), ("patch", patch)];
        object(name, &members, out);
        out.push(b',');
    }
    object("device", &[("family", &device.family), ("brand", &device.brand), ("model", &device.model)], out);
    if let Some(engine) = engine(text) {
        out.extend_from_slice(b",\"engine\":");
        string(engine.as_bytes(), out);
    }
    out.push(b'}');
}

fn object(name: &str, members: &[(&str, &Vec<u8>)], out: &mut Vec<u8>) {
    string(name.as_bytes(), out);
    out.extend_from_slice(b":{");
    let mut first = true;
    for (name, value) in members.iter().filter(|(_, value)| !value.is_empty()) {
        if !first {
            out.push(b',');
        }
        first = false;
        string(name.as_bytes(), out);
        out.push(b':');
        string(value, out);
    }
    out.push(b'}');
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    // A group may have cut a character in two.
    json::escape(String::from_utf8_lossy(text).as_bytes(), out);
    out.push(b'"');
}

/// The name of the engine; `None` for what is no browser.
fn engine(text: &[u8]) -> Option<&'static str> {
    let has = |needle: &str| memchr::memmem::find(text, needle.as_bytes()).is_some();
    if has("Trident/") || has("MSIE ") {
        return Some("Trident");
    }
    if has(" Edge/") {
        return Some("EdgeHTML");
    }
    if has("Presto/") {
        return Some("Presto");
    }
    if has("Goanna/") {
        return Some("Goanna");
    }
    if has("Servo/") {
        return Some("Servo");
    }
    if has("AppleWebKit/") {
        // Chrome left WebKit with version 28.
        let major = memchr::memmem::find(text, b"Chrome/").map(|at| {
            text[at + 7..]
                .iter()
                .take_while(|c| c.is_ascii_digit())
                .take(5)
                .fold(0u32, |n, c| n * 10 + u32::from(c - b'0'))
        });
        return Some(if major.is_some_and(|major| major >= 28) { "Blink" } else { "WebKit" });
    }
    if has("KHTML/") {
        return Some("KHTML");
    }
    (has("Gecko/") && !has("like Gecko")).then_some("Gecko")
}

#[cfg(test)]
mod tests;
