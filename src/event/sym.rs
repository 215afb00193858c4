//! Field names as numbers: comparing two keys is comparing two integers.
//!
//! One table for the process, append only and bounded ([`MAX_SYMBOLS`] and 2 MiB of text), so hostile input with
//! endless new keys cannot grow it without end: names past the bound are kept in their batch as text.
//! Reading a symbol's text takes no lock.

use crate::sync::Locked;
use hashbrown::HashMap;
use std::sync::{Mutex, OnceLock};

/// Most symbols the process keeps; further keys stay text in their batch.
pub const MAX_SYMBOLS: usize = 1 << 16;
/// Most bytes of key text the process keeps.
const MAX_TEXT_BYTES: usize = 2 << 20;
/// Longer keys are never interned.
pub const MAX_KEY_BYTES: usize = 256;
/// Kept free for names that come from the configuration, whatever input brought before.
const RESERVED: usize = 4096;

const CHUNK: usize = 1024;

/// An interned field name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sym(pub(crate) u32);

macro_rules! well_known {
    ($($name:ident = $text:literal,)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u32)]
        enum Index { $($name,)* }
        /// Names that have a fixed symbol.
        impl Sym {
            $(#[doc = concat!("`", $text, "`")] pub const $name: Sym = Sym(Index::$name as u32);)*
        }
        const WELL_KNOWN: &[&str] = &[$($text,)*];
    };
}

well_known! {
    MESSAGE = "message",
    LEVEL = "level",
    TIMESTAMP = "timestamp",
    SERVICE = "service",
    TRACE_ID = "traceId",
    SPAN_ID = "spanId",
    USER_ID = "userId",
    SESSION_ID = "sessionId",
    REQUEST_ID = "requestId",
    TAGS = "tags",
    LABELS = "labels",
    METADATA = "metadata",
    NAME = "name",
    VALUE = "value",
    TYPE = "type",
    UNIT = "unit",
    DESCRIPTION = "description",
    COUNT = "count",
    SAMPLE_RATE = "sample_rate",
    DECODE_ERROR = "decode_error",
    TIMESTAMP_ORIGINAL = "timestamp_original",
    STREAM = "stream",
    UNDERSCORE_TIMESTAMP = "_timestamp",
    UNDERSCORE_ID = "_id",
    QUALITY = "quality",
    TRACE_ID_SNAKE = "trace_id",
    SPAN_ID_SNAKE = "span_id",
    USER_ID_SNAKE = "user_id",
    SESSION_ID_SNAKE = "session_id",
    REQUEST_ID_SNAKE = "request_id",
    STALE = "stale",
}

/// Bytes that are copied at once where that many stand there, for fewer: a call costs more.
pub(crate) const RUN: usize = 32;

struct Table {
    index: HashMap<&'static str, Sym>,
    bytes: usize,
}

/// A name as it is and as it is written.
#[derive(Clone, Copy)]
struct Text {
    text: &'static str,
    /// `,"name":`, of which `text` is a part, and blanks behind it so that [`RUN`] bytes can be copied from its first or
    /// second byte on; empty for a name that needs escapes.
    member: &'static [u8],
    /// Bytes of `member` without those blanks.
    member_len: usize,
}

impl Text {
    /// Keeps a name for ever.
    fn keep(text: &str) -> Text {
        if !super::json::is_clean(text.as_bytes()) {
            return Text { text: Box::leak(text.into()), member: b"", member_len: 0 };
        }
        let member: &'static str = Box::leak(format!(",\"{text}\":{:RUN$} ", "").into());
        let member_len = text.len() + 4;
        Text { text: &member[2..member_len - 2], member: member.as_bytes(), member_len }
    }
}

type Chunk = Box<[OnceLock<Text>]>;
static TEXTS: [OnceLock<Chunk>; MAX_SYMBOLS / CHUNK] = [const { OnceLock::new() }; MAX_SYMBOLS / CHUNK];
static TABLE: OnceLock<Mutex<Table>> = OnceLock::new();

fn table() -> &'static Mutex<Table> {
    TABLE.get_or_init(|| {
        let mut table = Table { index: HashMap::new(), bytes: 0 };
        for text in WELL_KNOWN {
            table.add(text);
        }
        Mutex::new(table)
    })
}

impl Table {
    fn add(&mut self, text: &str) -> Sym {
        let n = self.index.len();
        let text = Text::keep(text);
        let chunk = TEXTS[n / CHUNK].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        let _first = chunk[n % CHUNK].set(text);
        let sym = Sym(n as u32);
        self.index.insert(text.text, sym);
        self.bytes += text.text.len();
        sym
    }
}

fn intern(text: &str, reserve: usize) -> Option<Sym> {
    let mut table = table().locked();
    if let Some(&sym) = table.index.get(text) {
        return Some(sym);
    }
    let full = table.index.len() + reserve >= MAX_SYMBOLS || table.bytes + text.len() > MAX_TEXT_BYTES;
    if (full || text.len() > MAX_KEY_BYTES) && reserve > 0 || table.index.len() >= MAX_SYMBOLS {
        return None;
    }
    Some(table.add(text))
}

impl Sym {
    /// The symbol of a name from input; `None` when the table is full or the name too long to keep.
    pub fn from_input(text: &str) -> Option<Sym> {
        intern(text, RESERVED)
    }

    /// The symbol of a name from the configuration.
    ///
    /// # Panics
    /// When one process has been given more than [`MAX_SYMBOLS`] names by its configuration.
    pub fn from_config(text: &str) -> Sym {
        #[allow(clippy::expect_used)]
        intern(text, 0).expect("fewer than 65,536 field names in a configuration")
    }

    /// The name.
    pub fn text(self) -> &'static str {
        let n = self.0 as usize;
        if let Some(text) = TEXTS[n / CHUNK].get().and_then(|c| c[n % CHUNK].get()) {
            return text.text;
        }
        WELL_KNOWN.get(n).copied().unwrap_or_default()
    }

    /// The name as a JSON member begins with it behind another one, `,"name":`, with [`RUN`] and more bytes behind it; and
    /// how many bytes that is without those. Empty where it needs escapes.
    #[inline]
    pub(crate) fn member(self) -> (&'static [u8], usize) {
        let n = self.0 as usize;
        let text = TEXTS.get(n / CHUNK).and_then(|chunk| chunk.get()?.get(n % CHUNK)?.get());
        text.map_or((b"", 0), |text| (text.member, text.member_len))
    }

    /// The number, dense from 0: an index into small tables made at start.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Debug for Sym {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sym({})", self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_names_have_their_constants() {
        assert_eq!(Sym::from_config("message"), Sym::MESSAGE);
        assert_eq!(Sym::from_input("sample_rate"), Some(Sym::SAMPLE_RATE));
        assert_eq!(Sym::REQUEST_ID_SNAKE.text(), "request_id");
    }

    #[test]
    fn names_are_kept_as_they_are_written() {
        let member = |name| {
            let (bytes, len) = Sym::from_config(name).member();
            assert!(bytes.len() > len + RUN);
            &bytes[..len]
        };
        assert_eq!(member("message"), b",\"message\":");
        for odd in ["a\"b", "back\\slash", "line\nend"] {
            let sym = Sym::from_config(odd);
            assert_eq!((sym.text(), sym.member()), (odd, (&b""[..], 0)));
        }
        assert_eq!(member("é"), ",\"é\":".as_bytes());
        assert_eq!((Sym::from_config("").text(), member("")), ("", &b",\"\":"[..]));
    }

    #[test]
    fn a_long_name_from_input_is_not_kept() {
        assert_eq!(Sym::from_input(&"x".repeat(MAX_KEY_BYTES + 1)), None);
    }
}
