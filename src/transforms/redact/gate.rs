//! What a kind needs to be in a text at all: most texts lack it, and then its finder need not run.

use super::find::Finder;
use super::kinds::DetectKind;

const DIGIT: u16 = 1;
const UPPER: u16 = 1 << 1;
const LOWER: u16 = 1 << 2;
const AT: u16 = 1 << 3;
const PERCENT: u16 = 1 << 4;
const COLON: u16 = 1 << 5;
const EQUALS: u16 = 1 << 6;
const POINT: u16 = 1 << 7;
const DASH: u16 = 1 << 8;
const SLASH: u16 = 1 << 10;
const SPACE: u16 = 1 << 11;
/// Quotes and brackets, and whatever is not ASCII.
const OTHER: u16 = 1 << 12;
const ANY: u16 = u16::MAX;

static PRESENCE: [u16; 256] = {
    let mut t = [OTHER; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        if b.is_ascii_digit() {
            t[i] = DIGIT;
        } else if b.is_ascii_uppercase() {
            t[i] = UPPER;
        } else if b.is_ascii_lowercase() {
            t[i] = LOWER;
        }
        i += 1;
    }
    t[b'@' as usize] = AT;
    t[b'%' as usize] = PERCENT;
    t[b':' as usize] = COLON;
    t[b'=' as usize] = EQUALS;
    t[b'.' as usize] = POINT;
    t[b'-' as usize] = DASH;
    t[b'/' as usize] = SLASH;
    t[b' ' as usize] = SPACE;
    t
};

/// Classes of the bytes that a text has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presence(u16);

impl Presence {
    /// Looks at every byte once.
    #[inline]
    pub(super) fn of(text: &[u8]) -> Self {
        Self(text.iter().fold(0, |all, &b| all | PRESENCE[usize::from(b)]))
    }
}

/// The shortest text that may hold a hit, and of which classes it must have at least one each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    shortest: usize,
    needs: [u16; 3],
}

impl Gate {
    /// What a kind needs. Must not ask for more than its finder does.
    pub(super) fn of(kind: DetectKind) -> Self {
        let gate = |shortest, needs| Self { shortest, needs };
        match kind {
            DetectKind::Email => gate(6, [AT | PERCENT, POINT, ANY]),
            DetectKind::CreditCard => gate(12, [DIGIT, ANY, ANY]),
            DetectKind::Phone => gate(7, [DIGIT, ANY, ANY]),
            DetectKind::Ipv4 => gate(7, [DIGIT, POINT, ANY]),
            DetectKind::Ipv6 => gate(2, [COLON, ANY, ANY]),
            DetectKind::MacAddress => gate(14, [COLON | DASH | POINT, ANY, ANY]),
            DetectKind::UsSsn => gate(11, [DIGIT, DASH | POINT | SPACE, ANY]),
            DetectKind::AwsKey => gate(20, [UPPER | LOWER, ANY, ANY]),
            DetectKind::PrivateKey => gate(27, [DASH, SPACE, UPPER]),
            DetectKind::Iban => gate(15, [UPPER, DIGIT, ANY]),
            DetectKind::CnIdCard => gate(18, [DIGIT, ANY, ANY]),
            DetectKind::CnPhone => gate(11, [DIGIT, ANY, ANY]),
            DetectKind::UrlCredentials => gate(7, [COLON, SLASH, AT]),
            DetectKind::HighEntropy => gate(24, [DIGIT, LOWER | UPPER, ANY]),
            // Tokens of makers, and what `secrets` has beside the finders with gates of their own.
            _ => gate(20, [ANY; 3]),
        }
    }

    /// What a finder needs, of the finders of `kind`.
    pub(super) fn for_finder(kind: DetectKind, finder: &Finder) -> Self {
        match finder {
            Finder::Secrets => Self { shortest: 5, needs: [COLON | EQUALS | PERCENT, ANY, ANY] },
            Finder::Quotes => Self { shortest: 6, needs: [OTHER, ANY, ANY] },
            Finder::Words(_) => Self { shortest: 5, needs: [SPACE | OTHER, ANY, ANY] },
            Finder::Makers(_) => Self { shortest: 20, needs: [LOWER | UPPER, ANY, ANY] },
            _ => Self::of(kind),
        }
    }

    /// Whether a text may hold a hit.
    #[inline]
    pub(super) fn lets(&self, text: &[u8], presence: Presence) -> bool {
        text.len() >= self.shortest && self.needs.iter().all(|&n| presence.0 & n != 0)
    }
}
