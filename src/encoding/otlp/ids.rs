//! Ids in hexadecimal digits, and names that stand for numbers.

use crate::event::Str;
use crate::wire::protobuf::push_bytes;

/// Names of `SpanKind`, from 1.
pub(super) const KINDS: [&str; 5] = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

/// Whether a name is this one, with a prefix such as `SPAN_KIND_` or without, in any case.
pub(super) fn ends_with(name: Str<'_>, word: &str) -> bool {
    let Some(at) = name.bytes.len().checked_sub(word.len()) else { return false };
    name.bytes[at..].eq_ignore_ascii_case(word.as_bytes()) && (at == 0 || name.bytes[at - 1] == b'_')
}

/// `SeverityNumber` of a level's name.
pub(super) fn severity(level: Str<'_>) -> Option<i64> {
    const NAMES: [(&str, i64); 10] = [
        ("TRACE", 1),
        ("DEBUG", 5),
        ("INFO", 9),
        ("INFORMATION", 9),
        ("NOTICE", 10),
        ("WARN", 13),
        ("WARNING", 13),
        ("ERROR", 17),
        ("CRITICAL", 21),
        ("FATAL", 21),
    ];
    NAMES.iter().find(|(name, _)| level.bytes.eq_ignore_ascii_case(name.as_bytes())).map(|(_, n)| *n)
}

/// Four bytes of eight hexadecimal digits, and 0 where they are such digits: a bit in each byte that is none.
#[inline(always)]
fn four_bytes(digits: [u8; 8]) -> ([u8; 4], u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let w = u64::from_le_bytes(digits);
    // Below 0x80 no byte's sum goes over into the next.
    let plain = w & !HIGH;
    let not_digit = (plain ^ (0x30 * ONES)) + 0x76 * ONES;
    // `a` to `f` are 1 to 6 here, of both cases.
    let letter = (plain | (0x20 * ONES)) ^ (0x60 * ONES);
    let not_letter = (letter + 0x79 * ONES) | !(letter + 0x7f * ONES);
    let bad = (w | not_digit & not_letter) & HIGH;
    let nibbles = (w & (0x0f * ONES)) + (w >> 6 & ONES) * 9;
    let pairs = (nibbles << 4 | nibbles >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (((fours | fours >> 16) as u32).to_le_bytes(), bad)
}

/// An id of `N` bytes, a multiple of four, that is given in hexadecimal digits.
#[inline]
pub(super) fn read_id<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (eights, rest) = digits.as_chunks::<8>();
    if digits.len() != 2 * N || !rest.is_empty() {
        return None;
    }
    let (mut id, mut all) = ([0; N], 0);
    for (bytes, eight) in id.as_chunks_mut::<4>().0.iter_mut().zip(eights) {
        let (four, bad) = four_bytes(*eight);
        *bytes = four;
        all |= bad;
    }
    (all == 0).then_some(id)
}

/// Appends an id of `N` bytes that is given in hexadecimal digits; `false`, and nothing, where it is something else.
pub(super) fn push_id<const N: usize>(digits: &[u8], number: u32, out: &mut Vec<u8>) -> bool {
    read_id::<N>(digits).inspect(|id| push_bytes(number, id, out)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_digit_by_digit() {
        for at in 0..16 {
            for c in 0..=255u8 {
                let mut digits = *b"0123456789abCDeF";
                digits[at] = c;
                let want: Option<Vec<u8>> = digits
                    .chunks(2)
                    .map(|pair| pair.iter().try_fold(0, |n, c| Some(n << 4 | char::from(*c).to_digit(16)? as u8)))
                    .collect();
                assert_eq!(read_id::<8>(&digits).map(Vec::from), want, "{c:#x} at {at}");
            }
        }
        assert_eq!(read_id::<8>(b"0123456789abcde"), None);
        assert_eq!(read_id::<16>(b"0123456789abcdef"), None);
        let mut out = Vec::new();
        assert!(!push_id::<8>(b"no", 1, &mut out) && out.is_empty());
    }
}
