//! Words of servers and libraries, fit to be shown: short, on one line, without the sink's own secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// Longest text that is shown or goes into a dead letter.
pub const MAX_WORDS: usize = 1024;
/// Shorter secrets are not looked for: they stand in every text by chance.
const MIN_SECRET: usize = 4;

/// Hides the sink's secrets in texts.
#[derive(Clone, Default)]
pub struct Mask {
    needles: Arc<[String]>,
}

impl Mask {
    /// Hides these texts and their base64.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles: Vec<String> = Vec::new();
        for secret in secrets {
            if secret.len() < MIN_SECRET {
                continue;
            }
            let encoded = STANDARD.encode(secret);
            needles.push(encoded.trim_end_matches('=').to_owned());
            needles.push(secret.to_owned());
        }
        // Longer ones first, lest a part hides the whole.
        needles.sort_by_key(|n| std::cmp::Reverse(n.len()));
        needles.dedup();
        Mask { needles: needles.into() }
    }

    /// The text on one line, at most [`MAX_WORDS`] bytes, secrets as `***`.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in self.needles.iter() {
            if text.contains(needle.as_str()) {
                text = text.replace(needle.as_str(), "***");
            }
        }
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

    #[test]
    fn secrets_go_and_the_text_becomes_one_short_line() {
        let mask = Mask::new(["Complexpass#123", "ab", "root@example.com:Complexpass#123"]);
        let encoded = STANDARD.encode("root@example.com:Complexpass#123");
        let shown = mask.text(&format!("bad\r\n\x1b[31m key Complexpass#123 and {encoded} ab"));
        assert_eq!(shown, "bad [31m key *** and ***= ab");
        let long = mask.text(&"é".repeat(4000));
        assert!(long.len() <= MAX_WORDS + 4 && long.ends_with('…'));
    }
}
