//! Payment card numbers: 12 to 19 digits that pass Luhn's check, in one piece or in groups, and what is on the stripe of a
//! card.
//!
//! The first digits and the length must be those of a network that issues cards: one in ten numbers passes Luhn's check, and
//! most that are as long are no cards (IMEIs, times, ids). Groups are as cards are written: of four digits, the last of any
//! size up to four or of five; 4-6-5 and 4-6-4; 6-13; 8-8; with single blanks (of any width), dashes or dots between. A number
//! in a longer list of groups is none, nor one behind a `+`, a decimal fraction, part of a UUID, or what is called an order,
//! an IMEI or the like.
//!
//! Of a stripe all of it goes: `%B4111111111111111^DOE/J^2512…?`, `;4111111111111111=2512…?`.

use super::Found;
use crate::transforms::redact::ascii::{
    ALNUM, CARD_GAP, DIGIT, HEX, LOWER, UPPER, after_point, class, escape_before, is, is_at, is_before, run, run_back,
};
use crate::transforms::redact::marks::{self, Marks};

const MIN_DIGITS: usize = marks::CARD;
const MAX_DIGITS: usize = 19;
const MAX_GROUPS: usize = 5;

/// The leftmost card number at or after `from`.
///
/// Looks at the last byte of a window of twelve first: ordinary text is passed in steps of up to twelve bytes.
#[inline(never)]
pub(super) fn find(text: &[u8], from: usize, marks: &Marks) -> Option<Found> {
    let mut at = from.max(marks.first_card());
    'window: while let Some(window) = text.get(at..at + MIN_DIGITS) {
        for k in (0..MIN_DIGITS).rev() {
            if class(window[k]) & (DIGIT | CARD_GAP) == 0 {
                at += k + 1;
                continue 'window;
            }
        }
        if window[0] & 0xf0 != 0x30 {
            // A gap: not the start of a number.
            at += 1;
            continue;
        }
        // Most such runs are addresses and times, with fewer digits.
        let (mut end, mut digits) = (at, 0);
        while digits < MIN_DIGITS
            && let Some(&b) = text.get(end).filter(|&&b| is(b, DIGIT | CARD_GAP))
        {
            digits += usize::from(class(b) & DIGIT);
            end += 1;
        }
        if digits < MIN_DIGITS {
            at = end;
            continue;
        }
        // A digit: walk its groups, each of which may be the first one of a number.
        loop {
            let group = at;
            if let Some(end) =
                number_at(text, group).filter(|&end| begins(text, group) && !in_list(text, from, group, end))
            {
                return Some(whole(text, from, group, end));
            }
            while is_at(text, at, DIGIT) {
                at += 1;
            }
            let gap = gap(text, at);
            if gap > 0 && is_at(text, at + gap, DIGIT) {
                at += gap;
            } else {
                break;
            }
        }
    }
    None
}

/// The length of what may stand between two groups at `at`; 0 where there is nothing of the kind.
fn gap(text: &[u8], at: usize) -> usize {
    match text.get(at..) {
        Some([b' ' | b'-' | b'.' | b'_' | b'+', ..]) => 1,
        Some([b'%', b'2', b'0', ..]) => 3,
        Some([0xc2, 0xa0, ..]) => 2,
        Some([0xe2, 0x80, 0x80..=0x95 | 0xaf, ..]) => 3,
        _ => 0,
    }
}

/// The length of what may stand between two groups before `at`.
fn gap_before(text: &[u8], at: usize) -> usize {
    (1..=3).find(|&n| at >= n && gap(text, at - n) == n).unwrap_or(0)
}

/// Whether a card number may begin at `start`, as far as what stands before it tells.
fn begins(text: &[u8], start: usize) -> bool {
    const CARD: [&[u8]; 12] = [
        b"card",
        b"pan",
        b"cc",
        b"ccn",
        b"visa",
        b"amex",
        b"mastercard",
        b"number",
        b"num",
        b"no",
        b"cardnumber",
        b"b",
    ];
    const OTHER: [&[u8]; 16] = [
        b"imei",
        b"order",
        b"invoice",
        b"tracking",
        b"shipment",
        b"parcel",
        b"isbn",
        b"ean",
        b"gtin",
        b"upc",
        b"snowflake",
        b"iccid",
        b"imsi",
        b"meid",
        b"waybill",
        b"msisdn",
    ];
    if start == 0 {
        return true;
    }
    let letters = run_back(text, start.saturating_sub(12), start, LOWER | UPPER);
    if letters < start && !escape_before(text, start) {
        return CARD.iter().any(|w| text[letters..start].eq_ignore_ascii_case(w)) && !is_before(text, letters, ALNUM);
    }
    if is_before(text, start, ALNUM) || after_point(text, start) || text[start - 1] == b'+' {
        return false;
    }
    // What it is called: `order #`, `imei: `, `"order_id":"`.
    let signs = text[..start].iter().rev().take(8).take_while(|&&b| !is(b, ALNUM) && b < 0x80).count();
    let mut end = start - signs;
    for _ in 0..2 {
        let word = run_back(text, end.saturating_sub(16), end, LOWER | UPPER);
        if OTHER.iter().any(|w| text[word..end].eq_ignore_ascii_case(w)) {
            return false;
        }
        let id = [&b"id"[..], b"no", b"number", b"nr"].iter().any(|w| text[word..end].eq_ignore_ascii_case(w));
        if !id || word == 0 || !matches!(text[word - 1], b'_' | b'-' | b' ' | b'.') {
            break;
        }
        end = word - 1;
    }
    true
}

/// Whether groups of a longer list stand before the groups `start..end`: of three to eight digits. What lies before `from`
/// was a number of its own.
fn in_list(text: &[u8], from: usize, start: usize, end: usize) -> bool {
    let gap = gap_before(text, start);
    if gap == 0 || start - gap <= from || text[start..end].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let before = start - gap - run_back(text, start.saturating_sub(24), start - gap, DIGIT);
    text[start - gap..start] == text[run(text, start, DIGIT)..][..gap] && (3..=8).contains(&before)
}

/// The number with what else of the stripe is around it.
fn whole(text: &[u8], from: usize, start: usize, end: usize) -> Found {
    let stripe = |end: usize| {
        let rest = &text[end..text.len().min(end + 110)];
        let len = rest.iter().take_while(|&&b| b != b'?' && b >= b' ' && b != b'"' && b != b'\'').count();
        end + len + usize::from(rest.get(len) == Some(&b'?'))
    };
    match text.get(end) {
        // `%B` number `^` name `^` expiry, service code and more `?`.
        Some(b'^') => {
            let before = [&b"%B"[..], b"%b", b"B"].iter().find(|p| text[..start].ends_with(p)).map_or(0, |p| p.len());
            let start = (start - before).max(from);
            Found::plain(start, stripe(end))
        }
        // Number `=` expiry and more `?`.
        Some(b'=' | b'D') if text.get(end + 1..end + 8).is_some_and(|t| t.iter().all(u8::is_ascii_digit)) => {
            let start = start - usize::from(text[..start].ends_with(b";") && start > from);
            let digits = run(text, end + 1, DIGIT);
            Found::plain(start, digits + usize::from(text.get(digits) == Some(&b'?')))
        }
        // Number, month, year and check value, as they are traded.
        Some(b'|') => {
            let part = |at: usize, sizes: std::ops::RangeInclusive<usize>| {
                let over = run(text, at, DIGIT);
                (at > 0 && sizes.contains(&(over - at))).then_some(over)
            };
            let next = |at: usize| if text.get(at) == Some(&b'|') { at + 1 } else { 0 };
            let all = part(end + 1, 2..=2).and_then(|m| part(next(m), 2..=4)).and_then(|y| part(next(y), 3..=4));
            Found::plain(start, all.unwrap_or(end))
        }
        _ => Found::plain(start, end),
    }
}

/// The sum of the digits of twice a digit.
const TWICE: [u32; 16] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9, 0, 0, 0, 0, 0, 0];

/// The end of the longest card number whose first group begins at `start`.
fn number_at(text: &[u8], start: usize) -> Option<usize> {
    let mut groups = [0u8; MAX_GROUPS];
    let (mut digits, mut count) = (0usize, 0usize);
    // Sums with every even and with every odd digit (from the left) doubled: which one counts is known at the end.
    let mut sums = [0u32; 2];
    let mut best = None;
    let mut at = start;
    let mut between: &[u8] = &[];
    while digits < MAX_DIGITS && is_at(text, at, DIGIT) {
        let group = &text[at..run(&text[..text.len().min(at + MAX_DIGITS + 1)], at, DIGIT)];
        if digits + group.len() > MAX_DIGITS {
            break;
        }
        let [mut this, mut other] = if digits & 1 == 0 { sums } else { [sums[1], sums[0]] };
        for &b in group {
            let d = usize::from(b & 15);
            (this, other) = (other + d as u32, this + TWICE[d & 15]);
        }
        digits += group.len();
        sums = if digits & 1 == 0 { [this, other] } else { [other, this] };
        groups[count] = group.len() as u8;
        at += group.len();
        let luhn = digits >= MIN_DIGITS && sums[digits & 1] % 10 == 0;
        if luhn && written(&groups[..=count]) && issued(text, start, digits) && over(text, at, between) {
            best = Some(at);
        }
        let gap = gap(text, at);
        if gap == 0 || !is_at(text, at + gap, DIGIT) || (!between.is_empty() && text[at..at + gap] != *between) {
            break;
        }
        count += 1;
        if count == MAX_GROUPS {
            break;
        }
        between = &text[at..at + gap];
        at += gap;
    }
    best.filter(|&end| !in_uuid(text, start, end))
}

/// Whether a number with these groups is written as cards are.
fn written(groups: &[u8]) -> bool {
    match groups {
        [_] | [4, 6, 4 | 5] | [6, 13] | [8, 8] | [4, 4, 5] => true,
        [4, 4, rest @ .., last] => rest.iter().all(|&n| n == 4) && (1..=4).contains(last),
        _ => false,
    }
}

/// Whether a number that ends at `at` is over there, and no group of a longer list.
fn over(text: &[u8], at: usize, between: &[u8]) -> bool {
    if is_at(text, at, ALNUM) && text[at] != b'D' {
        return false;
    }
    let gap = gap(text, at);
    if gap == 0 || !is_at(text, at + gap, DIGIT) {
        return true;
    }
    if text[at] == b'.' && between.is_empty() {
        // A decimal fraction.
        return false;
    }
    if text[at..at + gap] != *between {
        return true;
    }
    // A check value or a year may follow, but no group of the same list.
    let next = run(text, at + gap, DIGIT);
    let more =
        self::gap(text, next) == gap && is_at(text, next + gap, DIGIT) && run(text, next + gap, DIGIT) - next - gap > 3;
    match next - at - gap {
        0..=3 | 9.. => true,
        4 => !more,
        _ => false,
    }
}

/// Whether a network issues numbers of this length that begin so.
fn issued(text: &[u8], start: usize, digits: usize) -> bool {
    let mut first = 0u32;
    let mut at = start;
    for _ in 0..4 {
        while !is_at(text, at, DIGIT) {
            at += 1;
        }
        first = first * 10 + u32::from(text[at] - b'0');
        at += 1;
    }
    match first {
        1000..=1999 => digits == 15,
        2014 | 2100..=2199 => digits == 15,
        2200..=2204 => (16..=19).contains(&digits),
        2221..=2720 => digits == 16,
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => (14..=19).contains(&digits),
        3400..=3499 | 3700..=3799 => digits == 15,
        3500..=3599 => (16..=19).contains(&digits),
        4000..=4999 => matches!(digits, 13 | 16 | 19),
        5100..=5599 => digits == 16,
        5000..=5099 | 5600..=5899 | 6000..=6999 => (12..=19).contains(&digits),
        8100..=8299 => (16..=19).contains(&digits),
        9792 => digits == 16,
        _ => false,
    }
}

/// Whether `start..end` lies in a UUID, whose groups may well be decimal digits; more may stand before the UUID (`req-`).
fn in_uuid(text: &[u8], start: usize, end: usize) -> bool {
    const UUID: usize = 36;
    let part = |b: u8| is(b, HEX) || b == b'-';
    let mut left = start;
    while left > 0 && part(text[left - 1]) && start - left < UUID {
        left -= 1;
    }
    (left..=start).any(|at| {
        text.get(at..at + UUID).is_some_and(|t| {
            at + UUID >= end
                && t.iter()
                    .enumerate()
                    .all(|(i, &b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { is(b, HEX) })
        })
    })
}
