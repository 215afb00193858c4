//! Numbers of persons and accounts: each with the check its issuer defines, where there is one.

use super::Found;
use crate::transforms::redact::ascii::{
    ALNUM, DIGIT, GAP, LOWER, UPPER, after_point, class, is, is_at, is_before, run,
};
use memchr::{memchr, memchr3, memmem};

/// A social security number with separators, all of one kind (`-`, `.` or space).
///
/// Not with area 000 or 666, group 00 or serial 0000, and not the specimen 078-05-1120.
pub(super) fn us_ssn(text: &[u8], from: usize) -> Option<Found> {
    const LEN: usize = 11;
    let mut at = from;
    while let Some(w) = text.get(at..at + LEN) {
        // The ninth byte is a digit of the serial; a separator may be the fourth or the seventh byte of a number.
        if !is(w[8], DIGIT) {
            at += if matches!(w[8], b'-' | b'.' | b' ') { 2 } else { 9 };
            continue;
        }
        let digits = |r: std::ops::Range<usize>| w[r].iter().all(|&b| is(b, DIGIT));
        let shape = matches!(w[3], b'-' | b'.' | b' ') && w[6] == w[3] && digits(0..3) && digits(4..6) && digits(7..11);
        if shape && !joined_before(text, at) && !joined_after(text, at + LEN) && valid_ssn(w) {
            return Some(Found::plain(at, at + LEN));
        }
        at += 1;
    }
    None
}

fn valid_ssn(w: &[u8]) -> bool {
    let (area, group, serial) = (&w[..3], &w[4..6], &w[7..]);
    area != b"000"
        && area != b"666"
        && group != b"00"
        && serial != b"0000"
        && !(area == b"078" && group == b"05" && serial == b"1120")
}

/// Whether a number that begins at `start` goes on to the left.
fn joined_before(text: &[u8], start: usize) -> bool {
    is_before(text, start, ALNUM)
        || (start >= 2 && matches!(text[start - 1], b'-' | b'.' | b'_') && is(text[start - 2], DIGIT))
}

/// Whether a number that ends at `end` goes on to the right.
fn joined_after(text: &[u8], end: usize) -> bool {
    is_at(text, end, ALNUM) || (matches!(text.get(end), Some(b'-' | b'.' | b'_')) && is_at(text, end + 1, DIGIT))
}

/// Lengths by country, from the SWIFT IBAN registry and the partial list beside it.
const IBAN_LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AO", 25),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BF", 28),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BJ", 28),
    (b"BR", 29),
    (b"BY", 28),
    (b"CF", 27),
    (b"CG", 27),
    (b"CH", 21),
    (b"CI", 28),
    (b"CM", 27),
    (b"CR", 22),
    (b"CV", 25),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"DZ", 26),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GA", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GQ", 27),
    (b"GR", 27),
    (b"GT", 28),
    (b"GW", 25),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IR", 26),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KM", 27),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MA", 28),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MG", 27),
    (b"MK", 19),
    (b"ML", 28),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"MZ", 25),
    (b"NE", 28),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SN", 28),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TD", 27),
    (b"TG", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// An account number of a listed country: upper case, in one piece or in groups of four with single spaces or dashes.
pub(super) fn iban(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    while let Some(w) = text.get(at..at + 4) {
        let last = class(w[3]);
        if last & DIGIT == 0 {
            at += if last & UPPER != 0 { 2 } else { 4 };
            continue;
        }
        if is(w[0], UPPER)
            && is(w[1], UPPER)
            && is(w[2], DIGIT)
            && !is_before(text, at, ALNUM)
            && let Some(end) = iban_end(text, at)
        {
            return Some(Found::plain(at, end));
        }
        at += 1;
    }
    None
}

fn iban_end(text: &[u8], start: usize) -> Option<usize> {
    let country = &text[start..start + 2];
    let length = usize::from(IBAN_LENGTHS.iter().find(|(c, _)| c.as_slice() == country)?.1);
    // Modulo 97 of the number with letters as 10 to 35 and the first four characters moved to the end.
    let (mut head, mut rest) = (0u32, 0u32);
    let mut at = start;
    for i in 0..length {
        if i > 0 && i % 4 == 0 && (is_at(text, at, GAP) || text.get(at) == Some(&b'+')) {
            at += 1;
        }
        let b = *text.get(at)?;
        let sum = if i < 4 { &mut head } else { &mut rest };
        *sum = match b {
            b'0'..=b'9' => (*sum * 10 + u32::from(b - b'0')) % 97,
            b'A'..=b'Z' => (*sum * 100 + u32::from(b - b'A') + 10) % 97,
            _ => return None,
        };
        at += 1;
    }
    // The head is two letters and two digits: six decimal places.
    ((rest * (1_000_000 % 97) + head) % 97 == 1 && !is_at(text, at, ALNUM)).then_some(at)
}

/// A Chinese resident identity number: 17 digits and a check character (GB 11643-1999), with a possible birth date.
pub(super) fn cn_id_card(text: &[u8], from: usize) -> Option<Found> {
    const LEN: usize = 18;
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let mut at = from;
    while let Some(w) = text.get(at..at + LEN) {
        if let Some(k) = w[..17].iter().rposition(|&b| !is(b, DIGIT)) {
            at += k + 1;
            continue;
        }
        let end = at + LEN;
        if is_before(text, at, ALNUM) || is_at(text, end, ALNUM) || !is(w[17], DIGIT | UPPER | LOWER) {
            at = run(text, at, DIGIT);
            continue;
        }
        let sum: u32 = w[..17].iter().zip(WEIGHTS).map(|(&b, k)| u32::from(b - b'0') * k).sum();
        let two = |i: usize| u32::from(w[i] - b'0') * 10 + u32::from(w[i + 1] - b'0');
        let date = matches!(two(6), 18..=20) && matches!(two(10), 1..=12) && matches!(two(12), 1..=31);
        let check = b"10X98765432"[(sum % 11) as usize];
        if w[0] != b'0' && date && w[17].eq_ignore_ascii_case(&check) {
            return Some(Found::plain(at, end));
        }
        at = end - 1;
    }
    None
}

/// A Chinese mobile number: `1`, a digit from 3, nine more, also as 3-4-4 with single spaces or dashes and after `+86`.
pub(super) fn cn_phone(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    while let Some(found) = memchr(b'1', &text[at..]) {
        let one = at + found;
        at = one + 1;
        let Some(end) = mobile_end(text, one) else { continue };
        let start = country_code(text, from, one);
        if !is_before(text, start, ALNUM) && !after_point(text, start) {
            return Some(Found::plain(start, end));
        }
    }
    None
}

fn mobile_end(text: &[u8], one: usize) -> Option<usize> {
    if !matches!(text.get(one + 1), Some(b'3'..=b'9')) {
        return None;
    }
    let mut at = one;
    let gap = text.get(one + 3).copied().filter(|&b| is(b, GAP));
    for i in 0..11 {
        if let Some(gap) = gap.filter(|_| i == 3 || i == 7) {
            if text.get(at) != Some(&gap) {
                return None;
            }
            at += 1;
        }
        if !is_at(text, at, DIGIT) {
            return None;
        }
        at += 1;
    }
    (!is_at(text, at, ALNUM)).then_some(at)
}

/// Where `+86`, `0086` or `86` before a mobile number begins; the number itself without one.
fn country_code(text: &[u8], from: usize, one: usize) -> usize {
    let mut end = one;
    if end > from && is(text[end - 1], GAP) {
        end -= 1;
    }
    for code in [&b"+86"[..], b"0086", b"86"] {
        if text[from..end].ends_with(code) {
            let start = end - code.len();
            if code[0] == b'+' || !is_before(text, start, DIGIT) {
                return start;
            }
        }
    }
    one
}

/// A telephone number, by its looks: a `+` and 8 to 15 digits; a bracketed area code; a leading `0` and groups; North
/// American 3-3-4; or four groups of two to four digits. An extension (`x123`) belongs to it. Dates and dotted quads
/// are none.
pub(super) fn phone(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    while at < text.len() {
        let b = text[at];
        let digit = is(b, DIGIT);
        if !(digit || b == b'+' || b == b'(') {
            at += 1;
            continue;
        }
        let encoded = digit && text[..at].ends_with(b"%2B");
        let inside = (!encoded && is_before(text, at, ALNUM))
            || (at >= 2 && matches!(text[at - 1], b'-' | b'.' | b':' | b'/' | b',') && is(text[at - 2], ALNUM));
        if encoded {
            let end = run(text, at, DIGIT);
            if (8..=15).contains(&(end - at)) {
                return Some(Found::plain(at, end));
            }
        }
        // The places of a change: `@@ -10234567,8 +10234567,9 @@`.
        let change = b == b'+' && memmem::find(&text[at.saturating_sub(32)..at], b"@@ -").is_some();
        if !inside
            && !change
            && let Some(end) = phone_at(text, at)
        {
            return Some(Found::plain(at, end));
        }
        at = if digit { run(text, at, DIGIT) } else { at + 1 };
    }
    None
}

fn phone_at(text: &[u8], start: usize) -> Option<usize> {
    const MAX_GROUPS: usize = 7;
    let plus = text[start] == b'+';
    let mut at = start + usize::from(plus);
    let mut groups = [0usize; MAX_GROUPS];
    let (mut count, mut total, mut area, mut dots) = (0usize, 0usize, false, 0usize);
    let mut end = at;
    while count < MAX_GROUPS {
        let bracket = text.get(at) == Some(&b'(') && !area;
        let first = at + usize::from(bracket);
        let last = run(&text[..text.len().min(first + 16)], first, DIGIT);
        if last == first || total + (last - first) > 15 {
            break;
        }
        at = last;
        if bracket {
            if text.get(last) != Some(&b')') {
                break;
            }
            area = true;
            at += 1;
        }
        groups[count] = last - first;
        count += 1;
        total += last - first;
        end = at;
        match text.get(at) {
            Some(b' ' | b'-') => at += 1,
            Some(b'.') => {
                dots += 1;
                at += 1;
            }
            _ if bracket => {}
            _ => break,
        }
    }
    let g = &groups[..count];
    let digit = |i: usize| text.get(start + i).copied().unwrap_or(0);
    let zero = !plus && (digit(0) == b'0' || (digit(0) == b'(' && digit(1) == b'0'));
    let american = matches!(g, [3, 3, 4] | [1, 3, 3, 4] | [3, 3, 3, 4]);
    let shape = if dots > 0 {
        matches!(g, [3, 3, 4]) || (plus && count >= 4 && (9..=15).contains(&total))
    } else if plus {
        (8..=15).contains(&total)
    } else if area {
        (7..=13).contains(&total)
    } else if zero {
        (8..=15).contains(&total)
            && (count >= 2 || total >= 10)
            && g.iter().all(|&n| n <= 8)
            && (count < 3 || g[1] > 2 || g[2] > 2)
    } else {
        american
            || (matches!(g, [11]) && digit(0) == b'1' && matches!(digit(1), b'3'..=b'9'))
            || (count >= 4 && (9..=13).contains(&total) && g.iter().all(|&n| (2..=4).contains(&n)))
    };
    if !shape || is_at(text, end, ALNUM) && text[end] | 0x20 != b'x' {
        return None;
    }
    if [&b" bytes"[..], b" ms", b" rows"].iter().any(|unit| text[end..].starts_with(unit)) {
        return None;
    }
    if matches!(text.get(end), Some(b'x' | b'X')) {
        let ext = run(text, end + 1, DIGIT);
        return (ext > end + 1 && ext - end <= 7 && !is_at(text, ext, ALNUM)).then_some(ext);
    }
    // A date or time follows, or a decimal fraction.
    if memchr3(b':', b'.', b'/', &text[end..text.len().min(end + 1)]).is_some() && is_at(text, end + 1, DIGIT) {
        return None;
    }
    Some(end)
}
