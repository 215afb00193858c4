//! Finders of the built-in kinds: each gives its leftmost hit at or after a place, in time linear in the text.
//!
//! None of them is a regular expression: each looks for the one byte or literal that every hit has (`@`, `:`, a digit at
//! the end of a window, a prefix), which mostly is not there, then checks the place by hand. A candidate that fails its
//! check is no hit and hides none: the search goes on behind its first byte, or where no other can begin before.

mod card;
mod email;
mod ids;
mod makers;
mod network;
pub(super) mod secrets;
mod tokens;

use super::kinds::DetectKind;
use super::marks::Marks;
use makers::Makers;
use memchr::memmem;
use secrets::words::Words;
use tokens::Anchored;

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Zero, or one more than the backslashes of the quotes that the replacement needs around it.
    pub(super) wrap: u8,
    /// Which of the rules of its finder found it.
    pub(super) which: u16,
}

impl Found {
    pub(super) fn plain(start: usize, end: usize) -> Self {
        Self { start, end, wrap: 0, which: 0 }
    }
}

/// One pass over a text, ready to run. Most kinds have one, `secrets` has several, and all kinds of tokens that are told by
/// their prefix share one.
pub(super) enum Finder {
    /// One that needs nothing prepared.
    Bare(fn(&[u8], usize) -> Option<Found>),
    Secrets,
    /// The values of `secrets` whose anchor is a quote.
    Quotes,
    /// Those whose anchor is a word.
    Words(Words),
    Makers(Box<Makers>),
    Card,
    Email,
    Anchored(Anchored),
    Url(Box<memmem::Finder<'static>>),
}

impl Finder {
    /// The finders of a kind; none for those that [`makers`](Self::makers) finds. `None` when a prefilter could not be built,
    /// which does not happen with our own prefixes.
    pub(super) fn of(kind: DetectKind) -> Option<Vec<Self>> {
        let anchored = |prefixes, check| Anchored::new(prefixes, check).map(Self::Anchored);
        let one = match kind {
            DetectKind::Secrets => {
                let keys = anchored(tokens::PRIVATE_KEY, tokens::private_key)?;
                return Some(vec![Self::Secrets, Self::Quotes, Self::Words(Words::new()?), keys]);
            }
            kind if Makers::has(kind) => return Some(Vec::new()),
            DetectKind::CreditCard => Self::Card,
            DetectKind::Email => Self::Email,
            DetectKind::Phone => Self::Bare(ids::phone),
            DetectKind::Ipv4 => Self::Bare(network::ipv4),
            DetectKind::Ipv6 => Self::Bare(network::ipv6),
            DetectKind::MacAddress => Self::Bare(network::mac_address),
            DetectKind::UsSsn => Self::Bare(ids::us_ssn),
            DetectKind::Iban => Self::Bare(ids::iban),
            DetectKind::CnIdCard => Self::Bare(ids::cn_id_card),
            DetectKind::CnPhone => Self::Bare(ids::cn_phone),
            DetectKind::HighEntropy => Self::Bare(tokens::high_entropy),
            DetectKind::UrlCredentials => Self::Url(Box::new(memmem::Finder::new(b"://"))),
            DetectKind::AwsKey => anchored(tokens::AWS_KEY, tokens::aws_key)?,
            DetectKind::PrivateKey => anchored(tokens::PRIVATE_KEY, tokens::private_key)?,
            _ => return None,
        };
        Some(vec![one])
    }

    /// The finder of all tokens that are told by their prefix: of the kinds named, and of all others too where `secrets` is
    /// looked for. Also the rules, by [`Found::which`]. `None` where there are none.
    pub(super) fn makers(rules: &[(DetectKind, u16)]) -> Option<(Self, Vec<u16>)> {
        let rule = |kind: DetectKind| rules.iter().find(|r| r.0 == kind).map(|r| r.1);
        let all = rule(DetectKind::Secrets);
        let mut found = Vec::new();
        found.extend(all);
        found.extend(rules.iter().filter(|r| Makers::has(r.0)).map(|r| r.1));
        let place = |kind| rule(kind).or(all).and_then(|r| found.iter().position(|f| *f == r)).map(|p| p as u16);
        (!found.is_empty()).then(|| (Self::Makers(Box::new(Makers::new(place))), found.clone()))
    }

    /// The leftmost hit at or after `from`. What lies before `from` is seen as context only. `marks` are those of the text.
    ///
    /// Each finder is a function of its own: all of them in one leave too few registers to their loops.
    #[inline(always)]
    pub(super) fn find(&self, text: &[u8], from: usize, marks: &Marks) -> Option<Found> {
        match self {
            Self::Secrets => secrets::find(text, from, marks),
            Self::Quotes => secrets::quotes::find(text, from),
            Self::Words(words) => words.find(text, from, marks),
            Self::Makers(makers) => makers.find(text, from, marks),
            Self::Card => card::find(text, from, marks),
            Self::Email => email::find(text, from, marks),
            Self::Bare(find) => find(text, from),
            Self::Anchored(anchored) => anchored.find(text, from),
            Self::Url(slashes) => network::url_credentials(text, from, slashes),
        }
    }

    /// Whether a hit that another one runs into keeps what lies behind that one. So the rest of a password that begins
    /// like an address does not stay.
    pub(super) fn keeps_rest(&self) -> bool {
        matches!(self, Self::Secrets | Self::Quotes | Self::Words(_))
    }
}
