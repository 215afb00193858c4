//! Bytes that are not UTF-8: what charset they are in, and what becomes of those that are in none.

use crate::framing::wide::Wide;
use crate::settings::{Node, Reader, SchemaBuilder, Setting, config_enum, read_string};
use encoding_rs::Encoding;

config_enum! {
    /// What becomes of bytes that are not UTF-8. Counted in each case.
    pub enum InvalidUtf8 {
        /// Each sequence of them becomes U+FFFD.
        Replace = "replace",
        /// Each of them is a character of Latin-1, as the web has it: windows-1252.
        Latin1 = "latin1",
        /// Each of them becomes `\xe4`, in JSON `\\xe4`.
        Escape = "escape",
    }
}

/// The charset of a text, by a label of the WHATWG's Encoding Standard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charset(&'static Encoding);

/// Some labels, to suggest.
const LABELS: [&str; 16] = [
    "utf-8",
    "utf-16le",
    "utf-16be",
    "latin1",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "koi8-r",
    "gbk",
    "gb18030",
    "big5",
    "euc-jp",
    "shift_jis",
    "euc-kr",
];

impl Charset {
    /// The charset that a label names; `None` where nobody knows it.
    pub fn of_label(label: &str) -> Option<Charset> {
        Encoding::for_label_no_replacement(label.as_bytes()).map(Charset)
    }

    /// Its units, where it is UTF-16.
    pub fn wide(self) -> Option<Wide> {
        match self.0 {
            utf16 if utf16 == encoding_rs::UTF_16LE => Some(Wide::Little),
            utf16 if utf16 == encoding_rs::UTF_16BE => Some(Wide::Big),
            _ => None,
        }
    }

    /// What is to be put into UTF-8 frame by frame; `None` where nothing is, as it is UTF-8.
    pub fn encoding(self) -> Option<&'static Encoding> {
        (self.0 != encoding_rs::UTF_8).then_some(self.0)
    }
}

impl Setting for Charset {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        let charset = Charset::of_label(text);
        if charset.is_none() {
            cx.error(node.span, format!("unknown charset `{text}`")).suggest(text, LABELS);
        }
        charset
    }

    fn schema(_: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": "string"})
    }

    fn describe() -> String {
        "the name of a charset".into()
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.0.name().to_ascii_lowercase())
    }
}

/// How the bytes of frames become UTF-8.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToUtf8 {
    /// They are in this one, where they are not in UTF-8.
    pub(super) charset: Option<&'static Encoding>,
    pub(super) invalid: InvalidUtf8,
}

impl ToUtf8 {
    /// Whether this text has to pass through [`append`](Self::append).
    pub(super) fn is_needed(self, text: &[u8]) -> bool {
        match self.charset {
            Some(charset) if !(charset.is_ascii_compatible() && text.is_ascii()) => true,
            _ => simdutf8::basic::from_utf8(text).is_err(),
        }
    }

    /// Appends a frame in UTF-8; true where something in it was in no charset. `escapes`: backslashes mean something in it.
    pub(super) fn append(self, frame: &[u8], escapes: bool, out: &mut Vec<u8>) -> bool {
        if let Some(charset) = self.charset {
            // Who marks a text as UTF-8 means it, whatever others do.
            let marked = memchr::memmem::find(frame, b"\xef\xbb\xbf").is_some();
            if !(marked && simdutf8::basic::from_utf8(frame).is_ok()) {
                let (text, replaced) = charset.decode_without_bom_handling(frame);
                out.extend_from_slice(text.as_bytes());
                return replaced;
            }
        }
        let mut any = false;
        for chunk in frame.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            any = true;
            match self.invalid {
                InvalidUtf8::Replace => out.extend_from_slice("\u{fffd}".as_bytes()),
                InvalidUtf8::Latin1 => {
                    out.extend_from_slice(encoding_rs::WINDOWS_1252.decode_without_bom_handling(invalid).0.as_bytes());
                }
                InvalidUtf8::Escape => {
                    for byte in invalid {
                        const HEX: &[u8; 16] = b"0123456789abcdef";
                        out.extend_from_slice(if escapes { b"\\\\x" } else { b"\\x" });
                        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                    }
                }
            }
        }
        any
    }
}
