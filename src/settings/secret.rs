//! A text that is never shown.

use std::borrow::Cow;
use std::fmt;

use crate::text::mask::Needles;

use serde_json::{Value, json};

use super::node::Node;
use super::reader::Reader;
use super::schema::SchemaBuilder;
use super::setting::Setting;

/// Every secret that was read: all of them, and those that cannot be words of the agent's own.
type Known = Option<(Needles, Needles)>;

#[cfg(not(test))]
fn with_known<R>(act: impl FnOnce(&mut Known) -> R) -> R {
    use crate::sync::Locked;
    static KNOWN: std::sync::Mutex<Known> = std::sync::Mutex::new(None);
    act(&mut KNOWN.locked())
}

/// As in the agent, but for one thread: what one test reads as a secret may be a word that another one expects to see.
#[cfg(test)]
fn with_known<R>(act: impl FnOnce(&mut Known) -> R) -> R {
    thread_local!(static KNOWN: std::cell::RefCell<Known> = const { std::cell::RefCell::new(None) });
    KNOWN.with_borrow_mut(act)
}

/// Shorter ones may stand in the agent's own log by chance.
const MIN_IN_LOG: usize = 6;

/// Keeps a text as one that [`mask_known`] hides.
pub(super) fn remember(text: &str) {
    with_known(|known| {
        let (all, clear) = known.get_or_insert_default();
        // What has several lines is repeated by the line.
        for part in text.lines().map(str::trim).chain([text]) {
            all.add(part);
            if part.len() >= MIN_IN_LOG && !part.bytes().all(|b| b.is_ascii_alphabetic() || b" _-./:".contains(&b)) {
                clear.add(part);
            }
        }
    });
}

/// A text that nobody composed with care, such as a panic's or a server's, with every secret of the configuration and
/// every value of `${file:…}` as `***`.
pub fn mask_known(text: &str) -> String {
    with_known(|known| known.as_ref().map_or_else(|| text.to_owned(), |(all, _)| all.hide(text).into_owned()))
}

/// A record of the log on its way out, with the same as `***` where it cannot be a word of the agent's own: the last of
/// several nets.
pub fn mask_log(text: &str) -> Cow<'_, str> {
    with_known(|known| match known {
        Some((_, clear)) => clear.hide(text),
        None => Cow::Borrowed(text),
    })
}

/// A password, token or key. `Debug` and `Display` show `***`; comparing takes the same time wherever two differ.
#[derive(Clone, Default, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the request that needs it and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is the empty text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `candidate` is the same text, in time that depends on lengths only.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let own = self.0.as_bytes();
        if own.len() != candidate.len() {
            return false;
        }
        let difference = own.iter().zip(candidate).fold(0_u8, |difference, (a, b)| difference | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Setting for Secret {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.hide_all(node);
        if let Some(text) = node.as_str() {
            // A header may be empty, no proxy is none, and a key that is not for a client says itself what it is for.
            if text.trim().is_empty() && !cx.is_below(&["headers", "proxy"]) && !cx.is_at("key") {
                let message = format!("{} is empty; anybody could show it", cx.subject());
                let diagnostic = cx.error(node.span, message);
                if node.interpolated {
                    diagnostic.help("what `${…}` stands for is not set, or has no text");
                }
                // Mistakes beside it are found all the same.
                return Some(Self::default());
            }
            remember(text);
            return Some(Self(text.to_owned()));
        }
        let what = format!("expected {} for {}", Self::describe(), cx.subject());
        let diagnostic = cx.error(node.span, what);
        if node.scalar_text().is_some() {
            diagnostic.help("put it in quotes");
        }
        None
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        json!({"type": "string"})
    }

    fn describe() -> String {
        "a string (secret)".into()
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}
