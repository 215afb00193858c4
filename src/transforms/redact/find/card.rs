//! Payment card numbers: 12 to 19 digits that pass Luhn's check, in one piece or in groups with single spaces or dashes.
//!
//! Groups are as cards are written: the first of 4, 6 or 8 digits, the others of 3 to 8 (13 after six), the last one
//! of any size. Numbers with a leading 0 are none, and those with a leading 1 only with 15 digits (UATP): else one in
//! ten epoch times in milli-, micro- or nanoseconds would be masked. Decimal fractions and parts of a UUID are none.

use super::Found;
use crate::transforms::redact::ascii::{ALNUM, DIGIT, GAP, HEX, after_point, class, is, is_at, is_before};

const MIN_DIGITS: usize = 12;
const MAX_DIGITS: usize = 19;

/// The leftmost card number at or after `from`.
///
/// Looks at the last byte of a window of twelve first: ordinary text is passed in steps of up to twelve bytes.
pub(super) fn find(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    'window: while let Some(window) = text.get(at..at + MIN_DIGITS) {
        for k in (0..MIN_DIGITS).rev() {
            if class(window[k]) & (DIGIT | GAP) == 0 {
                at += k + 1;
                continue 'window;
            }
        }
        if window[0] & 0xf0 != 0x30 {
            // A gap: not the start of a number.
            at += 1;
            continue;
        }
        // A digit: walk its groups, each of which may be the first one of a number.
        loop {
            let group = at;
            if !is_before(text, group, ALNUM)
                && !after_point(text, group)
                && let Some(end) = number_at(text, group)
                && !in_uuid(text, group, end)
            {
                return Some(Found::plain(group, end));
            }
            while is_at(text, at, DIGIT) {
                at += 1;
            }
            if is_at(text, at, GAP) && is_at(text, at + 1, DIGIT) {
                at += 1;
            } else {
                break;
            }
        }
    }
    None
}

/// The end of the longest card number whose first group begins at `start`.
fn number_at(text: &[u8], start: usize) -> Option<usize> {
    if text[start] == b'0' {
        return None;
    }
    // Sums with every even and with every odd digit (from the left) doubled: which one counts is known at the end.
    let mut sums = [0u32; 2];
    let (mut digits, mut group, mut groups, mut first) = (0usize, 0usize, 1usize, 0usize);
    let mut best = None;
    let mut at = start;
    while digits < MAX_DIGITS && is_at(text, at, DIGIT) {
        let d = u32::from(text[at] - b'0');
        let twice = if d > 4 { 2 * d - 9 } else { 2 * d };
        let even = digits & 1 == 0;
        sums[0] += if even { twice } else { d };
        sums[1] += if even { d } else { twice };
        digits += 1;
        group += 1;
        at += 1;
        if is_at(text, at, DIGIT) {
            continue;
        }
        if groups == 1 {
            first = group;
        }
        let shape = groups == 1 || group <= 8 || (groups == 2 && first == 6 && group == 13);
        let leading_one = text[start] == b'1' && digits != 15;
        let decimal = text.get(at) == Some(&b'.') && is_at(text, at + 1, DIGIT);
        let whole = !decimal && !is_at(text, at, ALNUM);
        if digits >= MIN_DIGITS && shape && whole && !leading_one && sums[digits & 1] % 10 == 0 {
            best = Some(at);
        }
        if !(is_at(text, at, GAP) && is_at(text, at + 1, DIGIT)) {
            break;
        }
        let goes_on = if groups == 1 { matches!(group, 4 | 6 | 8) } else { (3..=8).contains(&group) };
        if !goes_on {
            break;
        }
        groups += 1;
        group = 0;
        at += 1;
    }
    best
}

/// Whether `start..end` lies in a UUID, whose last group may well be twelve decimal digits.
fn in_uuid(text: &[u8], start: usize, end: usize) -> bool {
    const UUID: usize = 36;
    let part = |b: u8| is(b, HEX) || b == b'-';
    let (mut left, mut right) = (start, end);
    while left > 0 && part(text[left - 1]) && right - left <= UUID {
        left -= 1;
    }
    while right < text.len() && part(text[right]) && right - left <= UUID {
        right += 1;
    }
    right - left == UUID
        && text[left..right].iter().enumerate().all(|(i, &b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23))
}
