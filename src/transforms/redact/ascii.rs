//! Byte classes the finders look up instead of comparing ranges.

/// `0-9`.
pub(super) const DIGIT: u16 = 1;
/// `A-Z`.
pub(super) const UPPER: u16 = 2;
/// `a-z`.
pub(super) const LOWER: u16 = 4;
/// Hexadecimal digits, both cases.
pub(super) const HEX: u16 = 8;
/// What may stand between groups of a number: space and `-`.
pub(super) const GAP: u16 = 16;
/// `._%+-`: what the local part of an address has besides letters and digits.
pub(super) const LOCAL: u16 = 32;
/// `_` and `-`: what tokens in URL-safe alphabets have besides letters and digits.
pub(super) const DASH: u16 = 64;
/// What may stand between groups of a card number: space, `- . _`, what URLs write for a space, and the bytes of blanks beyond
/// ASCII.
pub(super) const CARD_GAP: u16 = 128;
/// What a key may have but `%`: letters, digits, `_ - . $` and what is not ASCII.
pub(super) const KEY: u16 = 256;
/// What a token of a maker may have: letters, digits and `_ - . /`.
pub(super) const TOKEN: u16 = 512;
/// What the type of a declaration may have.
pub(super) const TYPE: u16 = 1024;
/// Letters and digits.
pub(super) const ALNUM: u16 = DIGIT | UPPER | LOWER;

const fn table() -> [u16; 256] {
    let mut t = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let mut c = 0;
        if b.is_ascii_digit() {
            c |= DIGIT | HEX;
        }
        if b.is_ascii_uppercase() {
            c |= UPPER;
        }
        if b.is_ascii_lowercase() {
            c |= LOWER;
        }
        if b.is_ascii_hexdigit() {
            c |= HEX;
        }
        if b == b' ' || b == b'-' {
            c |= GAP;
        }
        if matches!(b, b'.' | b'_' | b'%' | b'+' | b'-') {
            c |= LOCAL;
        }
        if b == b'_' || b == b'-' {
            c |= DASH;
        }
        if matches!(b, b' ' | b'-' | b'.' | b'_' | b'+' | b'%') || b >= 0x80 {
            c |= CARD_GAP;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$') || b >= 0x80 {
            c |= KEY;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/') {
            c |= TOKEN;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'&' | b'<' | b'>' | b'\'' | b':' | b'_' | b'[' | b']') {
            c |= TYPE;
        }
        t[i] = c;
        i += 1;
    }
    t
}

static CLASS: [u16; 256] = table();

/// Whether `b` is in any of `classes`.
#[inline(always)]
pub(super) fn is(b: u8, classes: u16) -> bool {
    CLASS[b as usize] & classes != 0
}

/// The classes of `b`.
#[inline(always)]
pub(super) fn class(b: u8) -> u16 {
    CLASS[b as usize]
}

/// Whether the byte at `i` is there and in any of `classes`.
#[inline(always)]
pub(super) fn is_at(text: &[u8], i: usize, classes: u16) -> bool {
    text.get(i).is_some_and(|&b| is(b, classes))
}

/// Whether the byte before `i` is there and in any of `classes`; the letter of an escaped line end or tab is not.
#[inline(always)]
pub(super) fn is_before(text: &[u8], i: usize, classes: u16) -> bool {
    i > 0 && is(text[i - 1], classes) && !escape_before(text, i)
}

/// Whether the letter of an escaped line end or tab stands before `i`, as in JSON within a string: `\n`.
#[inline]
pub(super) fn escape_before(text: &[u8], i: usize) -> bool {
    i > 1 && matches!(text.get(i - 2..i), Some([b'\\', b'n' | b'r' | b't']))
}

/// End of the run of bytes of `classes` that begins at `i`.
#[inline]
pub(super) fn run(text: &[u8], i: usize, classes: u16) -> usize {
    i + text[i..].iter().take_while(|&&b| is(b, classes)).count()
}

/// Start of the run of bytes of `classes` that ends at `end`, not before `from`.
#[inline]
pub(super) fn run_back(text: &[u8], from: usize, end: usize, classes: u16) -> usize {
    end - text[from..end].iter().rev().take_while(|&&b| is(b, classes)).count()
}

/// Whether a number at `start` is the fraction of a decimal number.
pub(super) fn after_point(text: &[u8], start: usize) -> bool {
    start >= 2 && text[start - 1] == b'.' && is(text[start - 2], DIGIT)
}
