//! Where quotes, brackets, colons and commas stand, 64 bytes at a time.
//!
//! The only module with `unsafe`: the AVX2 loads and the call of a function whose CPU features were checked just
//! before. A test compares both versions on random input.

/// What one pass over a line found besides the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many positions were written.
    pub(super) count: usize,
    /// A backslash stands somewhere in the line.
    pub(super) backslash: bool,
    /// A raw control character inside a string.
    pub(super) control: bool,
    /// That, or a string that is never closed.
    pub(super) broken: bool,
}

#[derive(Clone, Copy)]
struct Masks {
    quote: u64,
    backslash: u64,
    structural: u64,
    control: u64,
}

/// Writes the positions (from the start of `text`) of all unescaped quotes and of the structural characters outside
/// strings in `text[start..end]` to `out`, which grows as needed and keeps its length.
pub(super) fn index(text: &[u8], start: usize, end: usize, out: &mut Vec<u32>) -> Found {
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
        #[allow(unsafe_code)]
        return unsafe { avx2::index(text, start, end, out) };
    }
    portable(text, start, end, out)
}

fn portable(text: &[u8], start: usize, end: usize, out: &mut [u32]) -> Found {
    run(text, start, end, out, portable_masks, portable_prefix_xor)
}

#[inline(always)]
fn run(
    text: &[u8],
    start: usize,
    end: usize,
    out: &mut [u32],
    masks: impl Fn(&[u8; 64]) -> Masks,
    prefix_xor: impl Fn(u64) -> u64,
) -> Found {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let (mut escaped_carry, mut inside_carry) = (0u64, 0u64);
    let (mut bad, mut any_backslash) = (0u64, 0u64);
    let (mut at, mut written) = (start, 0usize);
    let mut tail = [b' '; 64];
    while at < end {
        let left = end - at;
        let block: &[u8; 64] = match text.get(at..at + 64).and_then(|b| b.try_into().ok()) {
            Some(block) => block,
            None => {
                tail[..left].copy_from_slice(&text[at..end]);
                &tail
            }
        };
        let valid = if left >= 64 { !0u64 } else { (1u64 << left) - 1 };
        let m = masks(block);
        let mut quote = m.quote & valid;
        let backslash = m.backslash & valid;
        any_backslash |= backslash;
        if backslash | escaped_carry != 0 {
            let starts = backslash & !escaped_carry;
            let follows = (starts << 1) | escaped_carry;
            let odd = starts & !EVEN & !follows;
            let (sequence, overflow) = odd.overflowing_add(starts);
            escaped_carry = u64::from(overflow);
            quote &= !((EVEN ^ (sequence << 1)) & follows);
        }
        let inside = prefix_xor(quote) ^ inside_carry;
        inside_carry = ((inside as i64) >> 63) as u64;
        bad |= m.control & inside & valid;
        let mut hits = (m.structural & valid & !inside) | quote;
        let count = hits.count_ones() as usize;
        let mut done = 0;
        while done < count {
            if let Some(w) = out.get_mut(written + done..written + done + 8) {
                for slot in w {
                    *slot = (at as u32).wrapping_add(hits.trailing_zeros());
                    hits &= hits.wrapping_sub(1);
                }
            }
            done += 8;
        }
        written += count;
        at += 64;
    }
    Found { count: written, backslash: any_backslash != 0, control: bad != 0, broken: bad != 0 || inside_carry != 0 }
}

fn portable_masks(block: &[u8; 64]) -> Masks {
    let mut m = Masks { quote: 0, backslash: 0, structural: 0, control: 0 };
    for (i, &c) in block.iter().enumerate() {
        let bit = 1u64 << i;
        m.quote |= if c == b'"' { bit } else { 0 };
        m.backslash |= if c == b'\\' { bit } else { 0 };
        m.structural |= if matches!(c, b'{' | b'}' | b'[' | b']' | b':' | b',') { bit } else { 0 };
        m.control |= if c < 0x20 { bit } else { 0 };
    }
    m
}

fn portable_prefix_xor(mut x: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        x ^= x << shift;
    }
    x
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Found, Masks, run};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2,pclmulqdq,bmi1,popcnt")]
    pub(super) fn index(text: &[u8], start: usize, end: usize, out: &mut [u32]) -> Found {
        run(text, start, end, out, |b| masks(b), |x| prefix_xor(x))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn masks(block: &[u8; 64]) -> Masks {
        // SAFETY: both loads stay inside the 64 bytes of `block`; they need no alignment.
        #[allow(unsafe_code)]
        let (a, b) = unsafe {
            let p = block.as_ptr();
            (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast()))
        };
        let both = |f: &dyn Fn(__m256i) -> __m256i| -> u64 {
            u64::from(_mm256_movemask_epi8(f(a)) as u32) | (u64::from(_mm256_movemask_epi8(f(b)) as u32) << 32)
        };
        let (quote, backslash) = (_mm256_set1_epi8(b'"' as i8), _mm256_set1_epi8(b'\\' as i8));
        let (open, close) = (_mm256_set1_epi8(b'{' as i8), _mm256_set1_epi8(b'}' as i8));
        let (colon, comma) = (_mm256_set1_epi8(b':' as i8), _mm256_set1_epi8(b',' as i8));
        let (x20, control) = (_mm256_set1_epi8(0x20), _mm256_set1_epi8(0x1f));
        Masks {
            quote: both(&|v| _mm256_cmpeq_epi8(v, quote)),
            backslash: both(&|v| _mm256_cmpeq_epi8(v, backslash)),
            structural: both(&|v| {
                // `[` and `{`, `]` and `}` differ in bit 0x20 only.
                let low = _mm256_or_si256(v, x20);
                let brackets = _mm256_or_si256(_mm256_cmpeq_epi8(low, open), _mm256_cmpeq_epi8(low, close));
                let rest = _mm256_or_si256(_mm256_cmpeq_epi8(v, colon), _mm256_cmpeq_epi8(v, comma));
                _mm256_or_si256(brackets, rest)
            }),
            control: both(&|v| _mm256_cmpeq_epi8(_mm256_min_epu8(v, control), v)),
        }
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
}
