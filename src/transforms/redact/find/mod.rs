//! Finders of the built-in kinds: each gives its leftmost hit at or after a place, in time linear in the text.
//!
//! None of them is a regular expression: each looks for the one byte or literal that every hit has (`@`, `:`, a digit at
//! the end of a window, a prefix), which mostly is not there, then checks the place by hand. A candidate that fails its
//! check is no hit and hides none: the search goes on behind its first byte, or where no other can begin before.

mod card;
mod email;
mod ids;
mod network;
pub(super) mod secrets;
mod tokens;

use super::kinds::DetectKind;
use memchr::memmem;
use tokens::Anchored;

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Zero, or one more than the backslashes of the quotes that the replacement needs around it.
    pub(super) wrap: u8,
}

impl Found {
    pub(super) fn plain(start: usize, end: usize) -> Self {
        Self { start, end, wrap: 0 }
    }
}

/// The finder of a kind, ready to run.
pub(super) enum Finder {
    /// One that needs nothing prepared.
    Bare(fn(&[u8], usize) -> Option<Found>),
    Secrets,
    Card,
    Email,
    Anchored(Anchored),
    Url(Box<memmem::Finder<'static>>),
}

impl Finder {
    /// `None` when the prefilter could not be built, which does not happen with our own prefixes.
    pub(super) fn new(kind: DetectKind) -> Option<Self> {
        let anchored = |prefixes, check| Anchored::new(prefixes, check).map(Self::Anchored);
        match kind {
            DetectKind::Secrets => Some(Self::Secrets),
            DetectKind::CreditCard => Some(Self::Card),
            DetectKind::Email => Some(Self::Email),
            DetectKind::Phone => Some(Self::Bare(ids::phone)),
            DetectKind::Ipv4 => Some(Self::Bare(network::ipv4)),
            DetectKind::Ipv6 => Some(Self::Bare(network::ipv6)),
            DetectKind::MacAddress => Some(Self::Bare(network::mac_address)),
            DetectKind::UsSsn => Some(Self::Bare(ids::us_ssn)),
            DetectKind::Iban => Some(Self::Bare(ids::iban)),
            DetectKind::CnIdCard => Some(Self::Bare(ids::cn_id_card)),
            DetectKind::CnPhone => Some(Self::Bare(ids::cn_phone)),
            DetectKind::HighEntropy => Some(Self::Bare(tokens::high_entropy)),
            DetectKind::UrlCredentials => Some(Self::Url(Box::new(memmem::Finder::new(b"://")))),
            DetectKind::Jwt => anchored(tokens::JWT, tokens::jwt),
            DetectKind::AwsKey => anchored(tokens::AWS_KEY, tokens::aws_key),
            DetectKind::GithubToken => anchored(tokens::GITHUB_TOKEN, tokens::github_token),
            DetectKind::SlackToken => anchored(tokens::SLACK_TOKEN, tokens::slack_token),
            DetectKind::StripeKey => anchored(tokens::STRIPE_KEY, tokens::stripe_key),
            DetectKind::SendgridKey => anchored(tokens::SENDGRID_KEY, tokens::sendgrid_key),
            DetectKind::PrivateKey => anchored(tokens::PRIVATE_KEY, tokens::private_key),
        }
    }

    /// The leftmost hit at or after `from`. What lies before `from` is seen as context only.
    #[inline]
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        match self {
            Self::Secrets => secrets::find(text, from),
            Self::Card => card::find(text, from),
            Self::Email => email::find(text, from),
            Self::Bare(find) => find(text, from),
            Self::Anchored(anchored) => anchored.find(text, from),
            Self::Url(slashes) => network::url_credentials(text, from, slashes),
        }
    }

    /// Whether a hit that another one runs into keeps what lies behind that one. So the rest of a password that begins
    /// like an address does not stay.
    pub(super) fn keeps_rest(&self) -> bool {
        matches!(self, Self::Secrets)
    }
}
