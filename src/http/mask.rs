//! Words of servers and libraries, fit to be shown: short, on one line, without the sink's own secrets.

use crate::settings::mask_known;
use crate::sync::Locked;
use crate::text::mask::Needles;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Longest text that is shown or goes into a dead letter.
pub const MAX_WORDS: usize = 1024;
/// Tokens that the sink made itself and that may still be repeated: those before are no longer good.
const MINTED: usize = 4;

/// Hides the sink's secrets in texts, those that it makes itself while it runs included, and all others of the
/// configuration.
#[derive(Clone, Default)]
pub struct Mask {
    needles: Arc<Needles>,
    minted: Arc<Mutex<VecDeque<Needles>>>,
}

impl Mask {
    /// Hides these texts, however a server writes them.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles = Needles::default();
        secrets.into_iter().for_each(|secret| needles.add(secret));
        Mask { needles: Arc::new(needles), minted: Arc::default() }
    }

    /// Hides a token that was just made, too.
    pub fn minted(&self, token: &str) {
        let mut needles = Needles::default();
        needles.add(token);
        let mut minted = self.minted.locked();
        minted.truncate(MINTED - 1);
        minted.push_front(needles);
    }

    /// The text on one line, at most [`MAX_WORDS`] bytes, secrets as `***`.
    pub fn text(&self, text: &str) -> String {
        let text = self.needles.hide(text);
        let minted = self.minted.locked();
        let text = minted.iter().fold(text.into_owned(), |text, token| token.hide(&text).into_owned());
        drop(minted);
        let text = mask_known(&text);
        let mut out = String::with_capacity(text.len().min(MAX_WORDS));
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
            if out.len() + word.len() + 1 > MAX_WORDS {
                let room = MAX_WORDS.saturating_sub(out.len() + 4);
                let end = (0..=room.min(word.len())).rev().find(|&i| word.is_char_boundary(i)).unwrap_or(0);
                out.push(' ');
                out.push_str(&word[..end]);
                out.push('…');
                break;
            }
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(word);
        }
        out
    }

    /// As [`text`](Mask::text), for a body of unknown content.
    pub fn words(&self, body: &[u8]) -> String {
        // Enough to be sure that the shown part has been searched for secrets whole.
        self.text(&String::from_utf8_lossy(&body[..body.len().min(16 * MAX_WORDS)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn secrets_go_and_the_text_becomes_one_short_line() {
        let mask = Mask::new(["Complexpass#123", "ab", "root@example.com:Complexpass#123"]);
        let encoded = STANDARD.encode("root@example.com:Complexpass#123");
        let shown = mask.text(&format!("bad\r\n\x1b[31m key Complexpass#123 and {encoded} ab"));
        assert_eq!(shown, "bad [31m key *** and ***= ab");
        // As a server repeats it inside JSON.
        let mask = Mask::new(["pa\"ss\\wörd"]);
        for echo in [r#"{"e":"pa\"ss\\wörd"}"#, r#"{"e":"pa\"ss\\w\u00f6rd"}"#, "pa%22ss%5Cw%C3%B6rd"] {
            assert!(mask.words(echo.as_bytes()).replace("{\"e\":\"", "").starts_with("***"), "{echo}");
        }
        let long = mask.text(&"é".repeat(4000));
        assert!(long.len() <= MAX_WORDS + 4 && long.ends_with('…'));
    }
}
