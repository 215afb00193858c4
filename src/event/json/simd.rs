//! Where quotes, brackets, colons and commas stand, 64 bytes at a time; and the first byte of a class, 16 at a time.
//!
//! Has `unsafe`, as `redact/marks.rs` has: the vector loads, each from an array of their size, and the call of a function whose CPU
//! features were checked just before. Tests compare the versions on random input.

/// What one pass over a line found besides the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matches {
    /// How many positions were written.
    pub(super) count: usize,
    /// A backslash stands somewhere in the line.
    pub(super) backslash: bool,
    /// A raw control character inside a string.
    pub(super) control: bool,
    /// That, or a string that is never closed.
    pub(super) broken: bool,
}

/// One bit for each byte of a block.
#[derive(Clone, Copy)]
struct Masks {
    quote: u64,
    structural: u64,
    /// There is a backslash or a control character: most blocks have none, and no more is asked of them.
    odd: bool,
}

/// One bit for each byte of a block that has such.
#[derive(Clone, Copy)]
struct Odd {
    backslash: u64,
    control: u64,
}

/// Writes the positions (from the start of `text`) of all unescaped quotes and of the structural characters outside
/// strings in `text[start..end]` to `out`, which grows as needed and keeps its length.
pub(super) fn index(text: &[u8], start: usize, end: usize, out: &mut Vec<u32>) -> Matches {
    // Eight are written at a time, so a block may write up to 7 beyond its last.
    let room = (end - start) + 72;
    if out.len() < room {
        out.resize(room, 0);
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("popcnt")
    {
        // SAFETY: the CPU has the features the function is compiled for, checked on the line above.
        #[expect(unsafe_code, reason = "the comment says why it is sound")]
        return unsafe { avx2::index(text, start, end, out) };
    }
    portable(text, start, end, out)
}

fn portable(text: &[u8], start: usize, end: usize, out: &mut [u32]) -> Matches {
    run(text, start, end, out, portable_masks, portable_odd, portable_prefix_xor)
}

#[inline(always)]
fn run(
    text: &[u8],
    start: usize,
    end: usize,
    out: &mut [u32],
    masks: impl Fn(&[u8; 64]) -> Masks,
    odd: impl Fn(&[u8; 64]) -> Odd,
    prefix_xor: impl Fn(u64) -> u64,
) -> Matches {
    let mut state = State { escaped: 0, inside: 0, bad: 0, backslash: 0, written: 0 };
    let (blocks, rest) = text[start..end].as_chunks::<64>();
    let mut at = start;
    for block in blocks {
        state.block(block, masks(block), at as u32, out, &odd, &prefix_xor);
        at += 64;
    }
    if !rest.is_empty() {
        let mut tail = [b' '; 64];
        tail[..rest.len()].copy_from_slice(rest);
        // Blanks are of no class, so that what stands behind the end is nothing.
        state.block(&tail, masks(&tail), at as u32, out, &odd, &prefix_xor);
    }
    let (control, open) = (state.bad != 0, state.inside != 0);
    Matches { count: state.written, backslash: state.backslash != 0, control, broken: control || open }
}

/// What is known behind a block.
struct State {
    /// The next byte is escaped: 1.
    escaped: u64,
    /// The next byte is in a string: all bits.
    inside: u64,
    /// Control characters in strings.
    bad: u64,
    /// Backslashes.
    backslash: u64,
    /// Positions written.
    written: usize,
}

impl State {
    #[inline(always)]
    fn block(
        &mut self,
        block: &[u8; 64],
        m: Masks,
        at: u32,
        out: &mut [u32],
        odd: &impl Fn(&[u8; 64]) -> Odd,
        prefix_xor: &impl Fn(u64) -> u64,
    ) {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let (mut quote, mut structural, mut control) = (m.quote, m.structural, 0);
        if m.odd || self.escaped != 0 {
            let odd = odd(block);
            self.backslash |= odd.backslash;
            control = odd.control;
            structural &= !control;
            let starts = odd.backslash & !self.escaped;
            let follows = (starts << 1) | self.escaped;
            let uneven = starts & !EVEN & !follows;
            let (sequence, overflow) = uneven.overflowing_add(starts);
            self.escaped = u64::from(overflow);
            quote &= !((EVEN ^ (sequence << 1)) & follows);
        }
        let inside = prefix_xor(quote) ^ self.inside;
        self.inside = ((inside as i64) >> 63) as u64;
        self.bad |= control & inside;
        let mut hits = (structural & !inside) | quote;
        // As many slots as a block may fill, so that none is asked for.
        let Some(slots) = out.get_mut(self.written..).and_then(|w| w.first_chunk_mut::<64>()) else { return };
        self.written += hits.count_ones() as usize;
        for eight in slots.as_chunks_mut::<8>().0 {
            if hits == 0 {
                break;
            }
            for slot in eight {
                *slot = at.wrapping_add(hits.trailing_zeros());
                hits &= hits.wrapping_sub(1);
            }
        }
    }
}

fn portable_masks(block: &[u8; 64]) -> Masks {
    let mut m = Masks { quote: 0, structural: 0, odd: false };
    for (i, &c) in block.iter().enumerate() {
        let bit = 1u64 << i;
        m.quote |= if c == b'"' { bit } else { 0 };
        m.structural |= if matches!(c, b'{' | b'}' | b'[' | b']' | b':' | b',') { bit } else { 0 };
        m.odd |= c < 0x20 || c == b'\\';
    }
    m
}

fn portable_odd(block: &[u8; 64]) -> Odd {
    let mut odd = Odd { backslash: 0, control: 0 };
    for (i, &c) in block.iter().enumerate() {
        odd.backslash |= u64::from(c == b'\\') << i;
        odd.control |= u64::from(c < 0x20) << i;
    }
    odd
}

fn portable_prefix_xor(mut x: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        x ^= x << shift;
    }
    x
}

/// A set of bytes to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    /// What cannot stand inside a JSON string as it is: control characters, quotes, backslashes.
    Unclean,
    /// A quote or a backslash.
    QuoteOrBackslash,
    /// What no word of printable ASCII has: blanks, control characters, bytes of other characters.
    NotGraphic,
    /// That, and what no name in syslog's structured data has: `=`, `]`, `"`.
    NotSdName,
}

impl Class {
    /// Whether a byte is in it.
    #[inline(always)]
    fn has(self, c: u8) -> bool {
        match self {
            Class::Unclean => c < 0x20 || Class::QuoteOrBackslash.has(c),
            Class::QuoteOrBackslash => c == b'"' || c == b'\\',
            Class::NotGraphic => !c.is_ascii_graphic(),
            Class::NotSdName => Class::NotGraphic.has(c) || matches!(c, b'=' | b']' | b'"'),
        }
    }
}

/// The first position from `at` on whose byte is in `class`; the text's length where there is none. `at` past the end:
/// the text's length.
#[inline(always)]
pub(crate) fn find(text: &[u8], at: usize, class: Class) -> usize {
    let mut at = at.min(text.len());
    #[cfg(target_arch = "x86_64")]
    {
        let (blocks, _) = text[at..].as_chunks::<16>();
        for block in blocks {
            let hits = hits(block, class);
            if hits != 0 {
                return at + hits.trailing_zeros() as usize;
            }
            at += 16;
        }
    }
    while at < text.len() && !class.has(text[at]) {
        at += 1;
    }
    at
}

/// Whether no byte of `text` is in `class`.
#[inline(always)]
pub(crate) fn has_none(text: &[u8], class: Class) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(last) = text.last_chunk::<16>() {
        let (blocks, _) = text.as_chunks::<16>();
        // The last block overlaps the one before it.
        return blocks.iter().all(|block| hits(block, class) == 0) && hits(last, class) == 0;
    }
    text.iter().all(|&c| !class.has(c))
}

/// One bit for each byte that is in `class`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn hits(block: &[u8; 16], class: Class) -> u32 {
    // SAFETY: SSE2 is part of every x86-64.
    #[expect(unsafe_code, reason = "the comment says why it is sound")]
    unsafe {
        sse2::hits(block, class)
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::Class;
    use std::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn hits(block: &[u8; 16], class: Class) -> u32 {
        // SAFETY: the load stays inside the 16 bytes of `block`; it needs no alignment.
        #[expect(unsafe_code, reason = "the comment says why it is sound")]
        let v = unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
        let is = |c: u8| _mm_cmpeq_epi8(v, _mm_set1_epi8(c as i8));
        let quote_or_backslash = || _mm_or_si128(is(b'"'), is(b'\\'));
        // As signed numbers, bytes of other characters are below 0.
        let not_graphic = || _mm_or_si128(_mm_cmpgt_epi8(_mm_set1_epi8(0x21), v), is(0x7f));
        let mask = match class {
            Class::Unclean => {
                let control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
                _mm_or_si128(control, quote_or_backslash())
            }
            Class::QuoteOrBackslash => quote_or_backslash(),
            Class::NotGraphic => not_graphic(),
            Class::NotSdName => _mm_or_si128(_mm_or_si128(not_graphic(), is(b'=')), _mm_or_si128(is(b']'), is(b'"'))),
        };
        _mm_movemask_epi8(mask) as u32
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Masks, Matches, Odd, run};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2,pclmulqdq,bmi1,popcnt")]
    pub(super) fn index(text: &[u8], start: usize, end: usize, out: &mut [u32]) -> Matches {
        run(text, start, end, out, |b| masks(b), |b| odd(b), |x| prefix_xor(x))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(block: &[u8; 64]) -> (__m256i, __m256i) {
        // SAFETY: both loads stay inside the 64 bytes of `block`; they need no alignment.
        #[expect(unsafe_code, reason = "the comment says why it is sound")]
        unsafe {
            let p = block.as_ptr();
            (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast()))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn bits(a: __m256i, b: __m256i) -> u64 {
        u64::from(_mm256_movemask_epi8(a) as u32) | (u64::from(_mm256_movemask_epi8(b) as u32) << 32)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn is(v: __m256i, c: u8) -> __m256i {
        _mm256_cmpeq_epi8(v, _mm256_set1_epi8(c as i8))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn is_control(v: __m256i) -> __m256i {
        _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v)
    }

    /// Structural characters; and, of control characters, 0x0c and 0x1a. Looked up by a byte's low four bits is the only
    /// structural character that it can be, with bit 0x20, in which `[` and `{`, `]` and `}` differ and which `:` and `,`
    /// have. For bytes of 0x80 and more nothing is looked up.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn structural(v: __m256i) -> __m256i {
        let of_low_bits = _mm256_setr_epi8(
            1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3a, 0x7b, 0x2c, 0x7d, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3a, 0x7b, 0x2c,
            0x7d, 0, 0,
        );
        _mm256_cmpeq_epi8(_mm256_shuffle_epi8(of_low_bits, v), _mm256_or_si256(v, _mm256_set1_epi8(0x20)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn masks(block: &[u8; 64]) -> Masks {
        let (a, b) = halves(block);
        let odd = _mm256_or_si256(
            _mm256_or_si256(is(a, b'\\'), is(b, b'\\')),
            // The smaller of the two bytes is below 0x20 where one of them is.
            is_control(_mm256_min_epu8(a, b)),
        );
        Masks {
            quote: bits(is(a, b'"'), is(b, b'"')),
            structural: bits(structural(a), structural(b)),
            odd: _mm256_testz_si256(odd, odd) == 0,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn odd(block: &[u8; 64]) -> Odd {
        let (a, b) = halves(block);
        Odd { backslash: bits(is(a, b'\\'), is(b, b'\\')), control: bits(is_control(a), is_control(b)) }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn prefix_xor(x: u64) -> u64 {
        let product = _mm_clmulepi64_si128(_mm_set_epi64x(0, x as i64), _mm_set1_epi8(-1), 0);
        _mm_cvtsi128_si64(product) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLASSES: [Class; 4] = [Class::Unclean, Class::QuoteOrBackslash, Class::NotGraphic, Class::NotSdName];

    fn naive(text: &[u8], start: usize, end: usize) -> (Vec<u32>, bool) {
        let (mut out, mut inside, mut escaped, mut bad) = (Vec::new(), false, false, false);
        for (i, &c) in text[start..end].iter().enumerate() {
            let at = (start + i) as u32;
            if escaped {
                escaped = false;
                bad |= inside && c < 0x20;
                if !inside && matches!(c, b'{' | b'}' | b'[' | b']' | b':' | b',') {
                    out.push(at);
                }
                continue;
            }
            match c {
                b'\\' => escaped = true,
                b'"' => {
                    inside = !inside;
                    out.push(at);
                }
                b'{' | b'}' | b'[' | b']' | b':' | b',' if !inside => out.push(at),
                c if c < 0x20 && inside => bad = true,
                _ => {}
            }
        }
        (out, bad || inside)
    }

    proptest! {
        #[test]
        fn both_versions_agree_with_a_naive_scan(
            text in proptest::collection::vec(prop_oneof![
                Just(b'"'), Just(b'\\'), Just(b'{'), Just(b']'), Just(b','), Just(b':'), Just(b'\n'), Just(b'a'), any::<u8>()
            ], 0..300),
            cut in 0usize..80,
        ) {
            let start = cut.min(text.len());
            let end = text.len() - (cut / 2).min(text.len() - start);
            let (want, broken) = naive(&text, start, end);
            let mut a = Vec::new();
            let found = index(&text, start, end, &mut a);
            prop_assert_eq!(&a[..found.count], &want[..]);
            prop_assert_eq!(found.broken, broken);
            let mut b = vec![0; text.len() + 80];
            let other = portable(&text, start, end, &mut b);
            prop_assert_eq!(found, other);
            prop_assert_eq!(&b[..other.count], &want[..]);
        }
    }

    proptest! {
        #[test]
        fn the_first_of_a_class_is_found_as_one_by_one(
            text in proptest::collection::vec(
                prop_oneof![20 => 0x21u8..0x7f, 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(b' '), 1 => any::<u8>()],
                0..70,
            ),
            at in 0usize..80,
        ) {
            for class in CLASSES {
                let from = at.min(text.len());
                let want = text[from..].iter().position(|&c| class.has(c)).map_or(text.len(), |i| from + i);
                prop_assert_eq!(find(&text, at, class), want);
                prop_assert_eq!(has_none(&text[from..], class), want == text.len());
            }
        }
    }

    #[test]
    fn every_byte_is_of_its_class_in_a_block_as_alone() {
        for c in 0..=255u8 {
            for class in CLASSES {
                assert_eq!(find(&[c; 32], 0, class) == 0, class.has(c), "{c:#x} {class:?}");
            }
            let (mut a, mut b) = (Vec::new(), vec![0; 200]);
            let text = [c; 100];
            assert_eq!(index(&text, 0, 100, &mut a), portable(&text, 0, 100, &mut b), "{c:#x}");
        }
    }
}
