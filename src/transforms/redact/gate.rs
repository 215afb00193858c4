//! What a kind needs to be in a text at all: most texts lack it, and then its finder need not run.

use super::find::Finder;
use super::kinds::DetectKind;
use super::marks::{
    ANY, AT, CARD_RUN, CLOSE, COLON_EQUALS, DASH, DASH_POINT, DIGIT, LETTER, Marks, PERCENT, QUOTE_AND, SLASH_LOW,
    SPACE, TAB, TOKEN_RUN, UPPER, WIDE, WIDE_LEAD,
};

/// The shortest text that may hold a hit, and of which classes it must have at least one each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    shortest: usize,
    needs: [u32; 2],
}

impl Gate {
    /// What a kind needs. Must not ask for more than its finder does.
    pub(super) fn of(kind: DetectKind) -> Self {
        let gate = |shortest, needs| Self { shortest, needs };
        match kind {
            DetectKind::Email => gate(6, [AT | PERCENT | WIDE, DASH_POINT]),
            DetectKind::CreditCard => gate(12, [CARD_RUN, DIGIT]),
            DetectKind::Phone => gate(7, [DIGIT, ANY]),
            DetectKind::Ipv4 => gate(7, [DIGIT, DASH_POINT]),
            DetectKind::Ipv6 => gate(2, [COLON_EQUALS, ANY]),
            DetectKind::MacAddress => gate(14, [COLON_EQUALS | DASH_POINT, ANY]),
            DetectKind::UsSsn => gate(11, [DIGIT, DASH_POINT | SPACE]),
            DetectKind::AwsKey => gate(20, [LETTER, ANY]),
            DetectKind::PrivateKey => gate(27, [DASH, UPPER]),
            DetectKind::Iban => gate(15, [UPPER, DIGIT]),
            DetectKind::CnIdCard => gate(18, [DIGIT, ANY]),
            DetectKind::CnPhone => gate(11, [DIGIT, ANY]),
            DetectKind::UrlCredentials => gate(7, [SLASH_LOW, AT]),
            DetectKind::HighEntropy => gate(24, [DIGIT, LETTER]),
            // Tokens of makers, which have a finder of their own.
            _ => gate(20, [ANY; 2]),
        }
    }

    /// What a finder needs, of the finders of `kind`.
    pub(super) fn for_finder(kind: DetectKind, finder: &Finder) -> Self {
        match finder {
            Finder::Secrets => Self { shortest: 5, needs: [COLON_EQUALS | PERCENT, ANY] },
            Finder::Quotes => Self { shortest: 6, needs: [QUOTE_AND | CLOSE, ANY] },
            Finder::Words(_) => Self { shortest: 5, needs: [SPACE | TAB | QUOTE_AND | WIDE_LEAD, ANY] },
            Finder::Makers(_) => Self { shortest: 20, needs: [TOKEN_RUN, ANY] },
            // Of `secrets`, the blocks of private keys.
            Finder::Anchored(_) if kind == DetectKind::Secrets => Self::of(DetectKind::PrivateKey),
            _ => Self::of(kind),
        }
    }

    /// Whether a text may hold a hit.
    #[inline]
    pub(super) fn lets(&self, text: &[u8], marks: &Marks) -> bool {
        text.len() >= self.shortest && self.needs.iter().all(|&n| marks.has(n))
    }
}
