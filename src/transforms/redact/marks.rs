//! What a text has, read off in one pass before any finder begins: which classes of bytes, whether there are runs as long
//! as tokens and card numbers have, and where words end. Most texts lack what most finders need.
//!
//! Sixty-four bytes at a time: two table look-ups by halves of a byte give its classes, and one bit for each byte says
//! where those of some classes stand. With AVX2 where the processor has it; else byte by byte, with the same result, as
//! a test compares. Has `unsafe`, as `event/json/simd.rs` has: the vector loads, each from an array of their size, and the call
//! of a function whose CPU features were checked just before.

/// Digits.
pub(super) const DIGIT: u32 = 1;
/// Letters of either case.
pub(super) const LETTER: u32 = 1 << 1 | 1 << 2;
/// `-`, `.` and `+`.
pub(super) const DASH_POINT: u32 = 1 << 3;
/// `/` and `_`.
pub(super) const SLASH_LOW: u32 = 1 << 4;
/// A blank.
pub(super) const SPACE: u32 = 1 << 5;
/// `:` and `=`.
pub(super) const COLON_EQUALS: u32 = 1 << 6;
/// `%`.
pub(super) const PERCENT: u32 = 1 << 7;
/// `"`, `'` and `&`.
pub(super) const QUOTE_AND: u32 = 1 << 8;
/// `>`.
pub(super) const CLOSE: u32 = 1 << 9;
/// `@`.
pub(super) const AT: u32 = 1 << 10;
/// A tab.
pub(super) const TAB: u32 = 1 << 11;
/// What is not ASCII.
pub(super) const WIDE: u32 = 1 << 12;
/// Of these, the bytes that begin most characters of Chinese, Japanese and Korean.
pub(super) const WIDE_LEAD: u32 = 1 << 13;
/// Capitals and the signs beside them (`@ [ \ ] ^ _`).
pub(super) const UPPER: u32 = 1 << 14;
/// `-`.
pub(super) const DASH: u32 = 1 << 15;
/// A run of [`TOKEN`] bytes of letters, digits and `_ - . /`.
pub(super) const TOKEN_RUN: u32 = 1 << 16;
/// A run of [`CARD`] bytes of digits and what may stand between their groups.
pub(super) const CARD_RUN: u32 = 1 << 17;
/// Anything at all.
pub(super) const ANY: u32 = u32::MAX;

/// The shortest run of bytes that holds a token of a maker.
pub(super) const TOKEN: usize = 20;
/// The shortest run of bytes that holds a card number.
pub(super) const CARD: usize = 12;

const TOKEN_BYTES: u32 = DIGIT | LETTER | DASH_POINT | SLASH_LOW;
const CARD_BYTES: u32 = DIGIT | DASH_POINT | SLASH_LOW | PERCENT | SPACE | WIDE;
/// What ends a word, or begins one that is told by its first byte.
const WORD_BYTES: u32 = SPACE | TAB | QUOTE_AND | WIDE_LEAD;
const SEPARATOR_BYTES: u32 = COLON_EQUALS | PERCENT;

/// Classes as the high halves and the low halves of their bytes, one bit for each half: a byte is of the class where both
/// of its halves are.
const HALVES: [(u16, u16); 16] = [
    (1 << 3, 0x03ff),
    (1 << 4 | 1 << 6, 0xfffe),
    (1 << 5 | 1 << 7, 0x07ff),
    (1 << 2, 1 << 0xb | 1 << 0xd | 1 << 0xe),
    (1 << 2 | 1 << 5, 1 << 0xf),
    (1 << 2, 1),
    (1 << 3, 1 << 0xa | 1 << 0xd),
    (1 << 2, 1 << 5),
    (1 << 2, 1 << 2 | 1 << 6 | 1 << 7),
    (1 << 3, 1 << 0xe),
    (1 << 4, 1),
    (1, 1 << 9),
    (0xff00, 0xffff),
    (1 << 0xe, 0x3ff8),
    (1 << 4 | 1 << 5, 0xffff),
    (1 << 2, 1 << 0xd),
];

/// The classes of the bytes that have this half: high or low.
const fn by_half(high: bool) -> [u16; 16] {
    let mut table = [0; 16];
    let mut half = 0;
    while half < 16 {
        let mut class = 0;
        while class < 16 {
            let bits = if high { HALVES[class].0 } else { HALVES[class].1 };
            if bits & 1 << half != 0 {
                table[half] |= 1 << class;
            }
            class += 1;
        }
        half += 1;
    }
    table
}

/// The classes of each byte.
static CLASSES: [u16; 256] = {
    let (high, low) = (by_half(true), by_half(false));
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = high[b >> 4] & low[b & 15];
        b += 1;
    }
    table
};

/// One bit for each byte of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Block {
    token: u64,
    card: u64,
    places: Places,
}

/// One bit for each byte of a block: places to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Where words end, or may begin that are told by their first byte.
    pub(super) words: u64,
    /// `:`, `=` and `%`.
    pub(super) separators: u64,
}

impl Block {
    /// Without its first bytes.
    #[inline(always)]
    fn behind(self, bytes: u32) -> Self {
        let places = Places { words: self.places.words >> bytes, separators: self.places.separators >> bytes };
        Self { token: self.token >> bytes, card: self.card >> bytes, places }
    }
}

/// What a text has. One for each worker, used for one text after the other.
#[derive(Debug, Default)]
pub(super) struct Marks {
    present: u32,
    /// Where the first run begins that is as long as a token, and as a card number; unset where there is none.
    first_token: usize,
    first_card: usize,
    /// By blocks of 64 bytes.
    places: Vec<Places>,
}

impl Marks {
    /// Reads a text; what was known of another is forgotten.
    #[inline]
    pub(super) fn read(&mut self, text: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has the feature the function is compiled for, checked on the line above.
            #[expect(unsafe_code, reason = "the comment says why it is sound")]
            unsafe {
                avx2::read(self, text);
            }
            return;
        }
        self.read_portably(text);
    }

    fn read_portably(&mut self, text: &[u8]) {
        let mut present = 0;
        let mut runs = Runs::new();
        self.places.clear();
        for bytes in text.chunks(64) {
            let mut block = Block::default();
            for (i, &b) in bytes.iter().enumerate() {
                let classes = u32::from(CLASSES[usize::from(b)]);
                present |= classes;
                block.token |= u64::from(classes & TOKEN_BYTES != 0) << i;
                block.card |= u64::from(classes & CARD_BYTES != 0) << i;
                block.places.words |= u64::from(classes & WORD_BYTES != 0) << i;
                block.places.separators |= u64::from(classes & SEPARATOR_BYTES != 0) << i;
            }
            self.places.push(block.places);
            runs.add(block);
        }
        self.finish(present, &runs);
    }

    #[inline(always)]
    fn finish(&mut self, present: u32, runs: &Runs) {
        let token = if runs.token == NONE { 0 } else { TOKEN_RUN };
        let card = if runs.card == NONE { 0 } else { CARD_RUN };
        self.present = present | token | card;
        (self.first_token, self.first_card) = (runs.token, runs.card);
    }

    /// Where the first run of [`TOKEN`] bytes begins; past the end of every text where there is none.
    #[inline(always)]
    pub(super) fn first_token(&self) -> usize {
        self.first_token
    }

    /// Where the first run of [`CARD`] bytes begins; past the end of every text where there is none.
    #[inline(always)]
    pub(super) fn first_card(&self) -> usize {
        self.first_card
    }

    /// Whether the text has one of these classes or runs at least.
    #[inline(always)]
    pub(super) fn has(&self, any: u32) -> bool {
        self.present & any != 0
    }

    /// Those of a text in which everything is possible, so that no finder is left out or begins late.
    #[cfg(test)]
    pub(super) fn all(text: &[u8]) -> Self {
        let bits = |bytes: &[u8], is: &dyn Fn(u8) -> bool| {
            bytes.iter().enumerate().fold(0, |bits, (i, &b)| bits | u64::from(is(b)) << i)
        };
        let block = |bytes: &[u8]| Places {
            words: bits(bytes, &|_| true),
            separators: bits(bytes, &|b| matches!(b, b':' | b'=' | b'%')),
        };
        Self { present: ANY, first_token: 0, first_card: 0, places: text.chunks(64).map(block).collect() }
    }

    /// The places of one sort, in order: where a block of 64 bytes begins, and one bit for each of them; from the block on
    /// that `from` is in, without what stands before it.
    #[inline(always)]
    pub(super) fn places(&self, from: usize, sort: impl Fn(&Places) -> u64) -> impl Iterator<Item = (usize, u64)> {
        let first = from / 64;
        let rest = self.places.get(first..).unwrap_or_default().iter();
        rest.enumerate().map(move |(i, places)| {
            let before = if i == 0 { u64::MAX << (from % 64) } else { u64::MAX };
            ((first + i) * 64, sort(places) & before)
        })
    }
}

/// In [`Runs`]: there is none.
const NONE: usize = 1 << 48;

/// Looks for runs in one block after the other.
struct Runs {
    /// The block before.
    before: Block,
    /// Where the next block begins.
    at: usize,
    /// Where the first runs begin.
    token: usize,
    card: usize,
}

impl Runs {
    fn new() -> Self {
        Self { before: Block::default(), at: 0, token: NONE, card: NONE }
    }

    #[inline(always)]
    fn add(&mut self, block: Block) {
        let across = self.before.token >> 63 & block.token | self.before.card >> 63 & block.card;
        if across & 1 != 0 {
            // The middle of both. It comes first.
            let (token, card) =
                (self.before.token >> 32 | block.token << 32, self.before.card >> 32 | block.card << 32);
            self.found(self.at - 32, token_run(token), card_run(card));
        }
        let (token, card) = (token_run(block.token), card_run(block.card));
        if token | card != 0 {
            self.found(self.at, token, card);
        }
        self.before = block;
        self.at += 64;
    }
}

impl Runs {
    /// Where runs begin in 64 bytes at `at`.
    fn found(&mut self, at: usize, token: u64, card: u64) {
        self.token = self.token.min(first(at, token));
        self.card = self.card.min(first(at, card));
    }
}

/// The place of the first bit of a block at `at`.
#[inline(always)]
fn first(at: usize, bits: u64) -> usize {
    if bits == 0 { NONE } else { at + bits.trailing_zeros() as usize }
}

/// Not zero where [`TOKEN`] bits are set in a row.
#[inline(always)]
fn token_run(bits: u64) -> u64 {
    let bits = bits & bits >> 1;
    let bits = bits & bits >> 2;
    let four = bits;
    let bits = bits & bits >> 4;
    let bits = bits & bits >> 8;
    bits & four >> 16
}

/// Not zero where [`CARD`] bits are set in a row.
#[inline(always)]
fn card_run(bits: u64) -> u64 {
    let bits = bits & bits >> 1;
    let bits = bits & bits >> 2;
    let four = bits;
    let bits = bits & bits >> 4;
    bits & four >> 8
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Block, CARD_BYTES, Marks, Places, Runs, SEPARATOR_BYTES, TOKEN_BYTES, WORD_BYTES, by_half};
    use std::arch::x86_64::*;

    /// A table of the lower or the upper eight classes by a half of a byte, twice: shuffles stay within 16 bytes.
    const fn table(high: bool, upper: bool) -> [u8; 32] {
        let classes = by_half(high);
        let mut table = [0; 32];
        let mut i = 0;
        while i < 32 {
            table[i] = (classes[i % 16] >> if upper { 8 } else { 0 }) as u8;
            i += 1;
        }
        table
    }

    static LOW_LOWER: [u8; 32] = table(false, false);
    static LOW_UPPER: [u8; 32] = table(false, true);
    static HIGH_LOWER: [u8; 32] = table(true, false);
    static HIGH_UPPER: [u8; 32] = table(true, true);

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(bytes: &[u8; 32]) -> __m256i {
        // SAFETY: the load stays inside the 32 bytes of `bytes`; it needs no alignment.
        #[expect(unsafe_code, reason = "the comment says why it is sound")]
        unsafe {
            _mm256_loadu_si256(bytes.as_ptr().cast())
        }
    }

    /// The classes of 32 bytes: the lower eight and the upper eight.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn classes(bytes: &[u8; 32]) -> (__m256i, __m256i) {
        let half = _mm256_set1_epi8(15);
        let v = load(bytes);
        let (low, high) = (_mm256_and_si256(v, half), _mm256_and_si256(_mm256_srli_epi16(v, 4), half));
        let look = |table: &[u8; 32], halves| _mm256_shuffle_epi8(load(table), halves);
        let lower = _mm256_and_si256(look(&LOW_LOWER, low), look(&HIGH_LOWER, high));
        let upper = _mm256_and_si256(look(&LOW_UPPER, low), look(&HIGH_UPPER, high));
        (lower, upper)
    }

    /// One bit for each byte that has one of these classes.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn bits((lower, upper): (__m256i, __m256i), any: u32) -> u32 {
        let of = |v, any: u32| _mm256_and_si256(v, _mm256_set1_epi8(any as u8 as i8));
        let found = match (any & 0xff, any >> 8) {
            (any, 0) => of(lower, any),
            (0, any) => of(upper, any),
            (a, b) => _mm256_or_si256(of(lower, a), of(upper, b)),
        };
        !_mm256_movemask_epi8(_mm256_cmpeq_epi8(found, _mm256_setzero_si256())) as u32
    }

    /// The bits of 32 bytes in the lower halves.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn half(classes: (__m256i, __m256i)) -> Block {
        let of = |any| u64::from(bits(classes, any));
        let places = Places { words: of(WORD_BYTES), separators: of(SEPARATOR_BYTES) };
        Block { token: of(TOKEN_BYTES), card: of(CARD_BYTES), places }
    }

    /// `second` stands `shift` bytes behind `first`, perhaps over part of it.
    #[inline(always)]
    fn joined(first: Block, second: Block, shift: u32) -> Block {
        Block {
            token: first.token | second.token << shift,
            card: first.card | second.card << shift,
            places: Places {
                words: first.places.words | second.places.words << shift,
                separators: first.places.separators | second.places.separators << shift,
            },
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn read(marks: &mut Marks, text: &[u8]) {
        let zero = _mm256_setzero_si256();
        let mut present = (zero, zero);
        let mut runs = Runs::new();
        marks.places.clear();
        let mut whole = |bytes: &[u8; 32]| {
            let classes = classes(bytes);
            present = (_mm256_or_si256(present.0, classes.0), _mm256_or_si256(present.1, classes.1));
            half(classes)
        };
        let (blocks, rest) = text.as_chunks::<64>();
        for block in blocks {
            let (halves, _) = block.as_chunks::<32>();
            let block = joined(whole(&halves[0]), whole(&halves[1]), 32);
            marks.places.push(block.places);
            runs.add(block);
        }
        if !rest.is_empty() {
            let block = match (rest.first_chunk::<32>(), rest.last_chunk::<32>(), text.last_chunk::<32>()) {
                (Some(first), Some(last), _) => joined(whole(first), whole(last), rest.len() as u32 - 32),
                // With bytes of the block before, which are left out.
                (_, _, Some(last)) => whole(last).behind(32 - rest.len() as u32),
                _ => {
                    let mut bytes = [0; 32];
                    bytes[..rest.len()].copy_from_slice(rest);
                    whole(&bytes)
                }
            };
            marks.places.push(block.places);
            runs.add(block);
        }
        // Bytes that are not there are zero, which is of no class.
        let fold = |v: __m256i| _mm_or_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        let (lower, upper) = (fold(present.0), fold(present.1));
        let both = _mm_or_si128(_mm_unpacklo_epi8(lower, upper), _mm_unpackhi_epi8(lower, upper));
        let both = _mm_or_si128(both, _mm_srli_si128(both, 8));
        let both = _mm_or_si128(both, _mm_srli_si128(both, 4));
        let both = _mm_or_si128(both, _mm_srli_si128(both, 2));
        marks.finish(_mm_extract_epi16(both, 0) as u32 & 0xffff, &runs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is(b: u8, classes: u32) -> bool {
        u32::from(CLASSES[usize::from(b)]) & classes != 0
    }

    fn longest(text: &[u8], classes: u32) -> usize {
        text.split(|&b| !is(b, classes)).map(<[u8]>::len).max().unwrap_or(0)
    }

    #[test]
    fn classes_are_of_the_bytes_that_they_say() {
        let of = |class: u32| (0..=255u8).filter(move |&b| is(b, class));
        let check = |class: u32, has: &dyn Fn(u8) -> bool| {
            assert!(of(class).eq((0..=255u8).filter(|&b| has(b))), "{class:x}");
        };
        check(DIGIT, &|b| b.is_ascii_digit());
        check(LETTER, &|b| b.is_ascii_alphabetic());
        check(DASH_POINT, &|b| b"-.+".contains(&b));
        check(SLASH_LOW, &|b| b"/_".contains(&b));
        check(SPACE, &|b| b == b' ');
        check(COLON_EQUALS, &|b| b":=".contains(&b));
        check(PERCENT, &|b| b == b'%');
        check(QUOTE_AND, &|b| b"\"'&".contains(&b));
        check(CLOSE, &|b| b == b'>');
        check(AT, &|b| b == b'@');
        check(TAB, &|b| b == b'\t');
        check(WIDE, &|b| b >= 0x80);
        check(WIDE_LEAD, &|b| (0xe3..=0xed).contains(&b));
        check(UPPER, &|b| (0x40..0x60).contains(&b));
        check(DASH, &|b| b == b'-');
    }

    proptest! {
        #[test]
        fn both_versions_say_what_is_in_a_text(
            text in prop::collection::vec(prop_oneof![
                4 => prop::sample::select(b"a0-. ".to_vec()),
                1 => prop::sample::select(b"Z:=%\"'&>@\t/_\xe5\x86\n".to_vec()),
                1 => any::<u8>(),
            ], 0..300),
            runs in prop::collection::vec((0..300usize, 1..70usize, prop::sample::select(b"a0".to_vec())), 0..3),
        ) {
            let mut text = text;
            for (at, length, byte) in runs {
                let end = text.len().min(at + length);
                text[at.min(end)..end].fill(byte);
            }
            let (mut portable, mut quick) = (Marks::default(), Marks::default());
            // What is known of another text is forgotten.
            quick.read(&[b'x'; 200]);
            portable.read_portably(&text);
            quick.read(&text);
            prop_assert_eq!(&quick.places, &portable.places);
            prop_assert_eq!(quick.present, portable.present);
            let first = |classes, least| {
                let long = |i: &usize| text[*i..].iter().take_while(|&&b| is(b, classes)).count() >= least;
                (0..text.len()).find(long).unwrap_or(NONE)
            };
            for marks in [&portable, &quick] {
                prop_assert_eq!(marks.first_token(), first(TOKEN_BYTES, TOKEN));
                prop_assert_eq!(marks.first_card(), first(CARD_BYTES, CARD));
            }
            prop_assert_eq!(quick.has(TOKEN_RUN), longest(&text, TOKEN_BYTES) >= TOKEN);
            prop_assert_eq!(quick.has(CARD_RUN), longest(&text, CARD_BYTES) >= CARD);
            let of = |from, sort: fn(&Places) -> u64| {
                let blocks = quick.places(from, sort);
                blocks.flat_map(|(at, bits)| (0..64).filter(move |i| bits >> i & 1 != 0).map(move |i| at + i))
            };
            let text = &text;
            let with = |from, classes| (from..text.len()).filter(move |&i: &usize| is(text[i], classes));
            for from in 0..text.len() + 70 {
                prop_assert!(of(from, |p| p.words).eq(with(from, WORD_BYTES)));
                prop_assert!(of(from, |p| p.separators).eq(with(from, SEPARATOR_BYTES)));
            }
        }
    }
}
