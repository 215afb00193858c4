//! JSON text to members in one pass: spans are recorded, nothing is copied, nested values are checked and left as text.

use super::simd;

/// Deepest nesting accepted; deeper input is refused, not parsed.
pub const MAX_DEPTH: u32 = 128;

/// What a scanned value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number, as spelled.
    Number,
    /// A string without escapes; the span is without quotes.
    Clean,
    /// A string with valid escapes; the span is without quotes.
    Escaped,
    /// An object; the span has its braces.
    Object,
    /// An array; the span has its brackets.
    Array,
}

/// One member of the outermost object, as positions in the text.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// First byte of the key, after its quote.
    pub key: usize,
    /// Behind the key's last byte.
    pub key_end: usize,
    /// The key has escapes.
    pub key_escaped: bool,
    /// First byte of the value's span.
    pub value: usize,
    /// Behind the span's last byte.
    pub value_end: usize,
    /// What the value is.
    pub kind: ValueKind,
}

/// Why a text is not taken as a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// It is valid JSON, but no object.
    NotObject,
    /// It is not valid JSON.
    Invalid,
    /// It is nested deeper than [`MAX_DEPTH`]; whether it is valid beyond that is not looked at.
    TooDeep,
    /// It has more members than an event may have fields.
    TooManyFields,
}

impl std::fmt::Display for ScanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ScanError::NotObject => "not a JSON object",
            ScanError::Invalid => "not valid JSON",
            ScanError::TooDeep => "JSON nested deeper than 128 levels",
            ScanError::TooManyFields => "more than 16384 fields",
        })
    }
}

/// Scans JSON texts; keeps its work space between calls.
#[derive(Default)]
pub struct Scanner {
    positions: Vec<u32>,
}

impl Scanner {
    /// Checks `text[start..end]` and calls `member` for each member of the outermost object, in order.
    ///
    /// Errors: after an error, members already given are to be thrown away.
    pub fn object(
        &mut self,
        text: &[u8],
        start: usize,
        end: usize,
        member: impl FnMut(Member),
    ) -> Result<(), ScanError> {
        let found = simd::index(text, start, end, &mut self.positions);
        let tape = Tape { text, at: &self.positions[..found.count], backslash: found.backslash, start, end };
        let result = if found.broken { Err(ScanError::Invalid) } else { tape.object(member) };
        if self.positions.len() > 1 << 16 {
            self.positions.truncate(1 << 12);
            self.positions.shrink_to_fit();
        }
        result
    }

    /// Whether `text` is one valid JSON value, not too deep, with white space around it at most.
    pub fn is_valid(&mut self, text: &[u8]) -> bool {
        matches!(self.object(text, 0, text.len(), |_| ()), Ok(()) | Err(ScanError::NotObject))
    }

    /// Whether `text` is nested deeper than [`MAX_DEPTH`], and no mistake stands before that.
    pub fn is_too_deep(&mut self, text: &[u8]) -> bool {
        self.object(text, 0, text.len(), |_| ()) == Err(ScanError::TooDeep)
    }
}

/// Whether the container `text[start..end]`, all of whose positions are `at`, is valid JSON. `backslash`: there may be
/// one in it; control characters there are none in its strings.
pub(super) fn is_valid_container(text: &[u8], start: usize, end: usize, at: &[u32], backslash: bool) -> bool {
    let tape = Tape { text, at, backslash, start, end };
    matches!(tape.object(|_| ()), Ok(()) | Err(ScanError::NotObject))
}

struct Tape<'a> {
    text: &'a [u8],
    at: &'a [u32],
    backslash: bool,
    start: usize,
    end: usize,
}

impl Tape<'_> {
    #[inline(always)]
    fn position(&self, k: usize) -> Result<usize, ScanError> {
        self.at.get(k).map(|&p| p as usize).ok_or(ScanError::Invalid)
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn blank(&self, from: usize, to: usize) -> Result<(), ScanError> {
        if from == to || self.text[from..to].iter().all(|c| matches!(c, b' ' | b'\t' | b'\n' | b'\r')) {
            Ok(())
        } else {
            Err(ScanError::Invalid)
        }
    }

    #[inline(always)]
    fn escaped(&self, from: usize, to: usize) -> Result<bool, ScanError> {
        if !self.backslash {
            return Ok(false);
        }
        let text = &self.text[from..to];
        match memchr::memchr(b'\\', text) {
            None => Ok(false),
            Some(_) if escapes_are_valid(text) => Ok(true),
            Some(_) => Err(ScanError::Invalid),
        }
    }

    /// A key whose opening quote is entry `k`: its span, whether it has escapes, and the first byte behind the colon.
    #[inline(always)]
    fn key(&self, k: usize) -> Result<(usize, usize, bool, usize), ScanError> {
        let open = self.position(k)?;
        let close = self.position(k + 1)?;
        let colon = self.position(k + 2)?;
        if self.byte(open) != b'"' || self.byte(colon) != b':' {
            return Err(ScanError::Invalid);
        }
        self.blank(close + 1, colon)?;
        Ok((open + 1, close, self.escaped(open + 1, close)?, colon + 1))
    }

    fn object(&self, mut member: impl FnMut(Member)) -> Result<(), ScanError> {
        let first = match self.at.first() {
            Some(&p) if self.byte(p as usize) == b'{' => p as usize,
            _ => return self.other(),
        };
        self.blank(self.start, first)?;
        let (mut k, mut before) = (1, first + 1);
        let next = self.position(k)?;
        if self.byte(next) == b'}' {
            self.blank(before, next)?;
            return self.finish(k + 1, next + 1);
        }
        // Entry `k` is a quote, and at `before`.
        let mut begins = next == before && self.byte(next) == b'"';
        loop {
            let (found, end);
            if let (true, Some(plain)) = (begins, self.plain_member(k, before)) {
                (found, end) = (plain, plain.value_end + 1);
                k += 5;
            } else {
                (found, k, end) = self.member(k, before)?;
            }
            member(found);
            if self.text.get(end..end + 2) == Some(b",\"") {
                // Both are entries: here, no string is open.
                (k, before, begins) = (k + 1, end + 1, true);
                continue;
            }
            let p = self.position(k)?;
            self.blank(end, p)?;
            (k, before) = (k + 1, p + 1);
            match self.byte(p) {
                b',' => begins = false,
                b'}' => return self.finish(k, before),
                _ => return Err(ScanError::Invalid),
            }
        }
    }

    /// The member whose key is opened by entry `k`, where it is as most are: `"key":"value"`, without blanks and escapes.
    #[inline(always)]
    fn plain_member(&self, k: usize, open: usize) -> Option<Member> {
        if self.backslash {
            return None;
        }
        let &[_, close, _, _, to] = self.at.get(k..)?.first_chunk()?;
        // Behind the quote that opens a string, the next entry is the one that closes it. Where these three bytes follow
        // each other, so do their entries.
        let close = close as usize;
        if self.text.get(close..close + 3) != Some(b"\":\"") {
            return None;
        }
        Some(Member {
            key: open + 1,
            key_end: close,
            key_escaped: false,
            value: close + 3,
            value_end: to as usize,
            kind: ValueKind::Clean,
        })
    }

    /// The member whose first entry is `k`, the entry behind it, and where it ends.
    #[inline(always)]
    fn member(&self, mut k: usize, before: usize) -> Result<(Member, usize, usize), ScanError> {
        self.blank(before, self.position(k)?)?;
        let (key, key_end, key_escaped, from) = self.key(k)?;
        k += 3;
        let p = self.position(k)?;
        let (value, value_end, kind, end);
        match self.byte(p) {
            b'"' => {
                self.blank(from, p)?;
                (value, value_end) = (p + 1, self.position(k + 1)?);
                kind = if self.escaped(value, value_end)? { ValueKind::Escaped } else { ValueKind::Clean };
                k += 2;
                end = value_end + 1;
            }
            open @ (b'{' | b'[') => {
                self.blank(from, p)?;
                k = self.nested(k)?;
                (value, value_end) = (p, self.position(k - 1)? + 1);
                kind = if open == b'{' { ValueKind::Object } else { ValueKind::Array };
                end = value_end;
            }
            _ => {
                (value, value_end, kind) = self.scalar(from, p)?;
                end = p;
            }
        }
        Ok((Member { key, key_end, key_escaped, value, value_end, kind }, k, end))
    }

    fn finish(&self, k: usize, from: usize) -> Result<(), ScanError> {
        self.blank(from, self.end)?;
        if k == self.at.len() { Ok(()) } else { Err(ScanError::Invalid) }
    }

    /// A text whose outermost value is no object.
    fn other(&self) -> Result<(), ScanError> {
        let Some(&first) = self.at.first() else {
            self.scalar(self.start, self.end)?;
            return Err(ScanError::NotObject);
        };
        let first = first as usize;
        self.blank(self.start, first)?;
        let (k, from) = match self.byte(first) {
            b'"' => {
                let close = self.position(1)?;
                self.escaped(first + 1, close)?;
                (2, close + 1)
            }
            b'[' => {
                let k = self.nested(0)?;
                (k, self.position(k - 1)? + 1)
            }
            _ => return Err(ScanError::Invalid),
        };
        self.finish(k, from)?;
        Err(ScanError::NotObject)
    }

    /// Checks the container opened by entry `k`; returns the entry behind its closing bracket.
    fn nested(&self, mut k: usize) -> Result<usize, ScanError> {
        let mut objects: u128 = 0;
        let mut depth = 0u32;
        let mut before;
        macro_rules! open {
            ($at:expr) => {{
                let at = $at;
                if depth == MAX_DEPTH - 1 {
                    return Err(ScanError::TooDeep);
                }
                objects = (objects << 1) | u128::from(self.byte(at) == b'{');
                depth += 1;
                k += 1;
                before = at + 1;
            }};
        }
        open!(self.position(k)?);
        let mut first = true;
        loop {
            let mut p = self.position(k)?;
            let is_object = objects & 1 == 1;
            let close = if is_object { b'}' } else { b']' };
            if !(first && self.byte(p) == close && self.blank(before, p).is_ok()) {
                if is_object {
                    self.blank(before, p)?;
                    (_, _, _, before) = self.key(k)?;
                    k += 3;
                    p = self.position(k)?;
                }
                match self.byte(p) {
                    b'"' => {
                        self.blank(before, p)?;
                        let end = self.position(k + 1)?;
                        self.escaped(p + 1, end)?;
                        k += 2;
                        before = end + 1;
                    }
                    b'{' | b'[' => {
                        self.blank(before, p)?;
                        open!(p);
                        first = true;
                        continue;
                    }
                    _ => {
                        self.scalar(before, p)?;
                        before = p;
                    }
                }
            }
            loop {
                let p = self.position(k)?;
                self.blank(before, p)?;
                k += 1;
                before = p + 1;
                match (self.byte(p), objects & 1 == 1) {
                    (b',', _) => {
                        first = false;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        depth -= 1;
                        objects >>= 1;
                        if depth == 0 {
                            return Ok(k);
                        }
                    }
                    _ => return Err(ScanError::Invalid),
                }
            }
        }
    }

    /// A number or literal between `from` and `to`, with white space around it at most.
    #[inline(always)]
    fn scalar(&self, mut from: usize, mut to: usize) -> Result<(usize, usize, ValueKind), ScanError> {
        while from < to && matches!(self.text[from], b' ' | b'\t' | b'\n' | b'\r') {
            from += 1;
        }
        while from < to && matches!(self.text[to - 1], b' ' | b'\t' | b'\n' | b'\r') {
            to -= 1;
        }
        let text = &self.text[from..to];
        let kind = match text.first() {
            Some(b'1'..=b'9') if text.iter().all(u8::is_ascii_digit) => ValueKind::Number,
            Some(b'-' | b'0'..=b'9') if is_number(text) => ValueKind::Number,
            Some(b't') if text == b"true" => ValueKind::True,
            Some(b'f') if text == b"false" => ValueKind::False,
            Some(b'n') if text == b"null" => ValueKind::Null,
            _ => return Err(ScanError::Invalid),
        };
        Ok((from, to, kind))
    }
}

/// Whether `text` is a number by the grammar of JSON.
pub fn is_number(text: &[u8]) -> bool {
    let mut i = usize::from(text.first() == Some(&b'-'));
    let digits = |mut i: usize| {
        let from = i;
        while text.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        (i > from).then_some(i)
    };
    match text.get(i) {
        Some(b'0') => i += 1,
        Some(b'1'..=b'9') => match digits(i) {
            Some(next) => i = next,
            None => return false,
        },
        _ => return false,
    }
    if text.get(i) == Some(&b'.') {
        match digits(i + 1) {
            Some(next) => i = next,
            None => return false,
        }
    }
    if matches!(text.get(i), Some(b'e' | b'E')) {
        i += 1;
        if matches!(text.get(i), Some(b'+' | b'-')) {
            i += 1;
        }
        match digits(i) {
            Some(next) => i = next,
            None => return false,
        }
    }
    i == text.len()
}

fn escapes_are_valid(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let skip = match rest.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if rest.get(at + 2..at + 6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) => 6,
            _ => return false,
        };
        rest = &rest[at + skip..];
    }
    true
}
