//! Hiding secrets in texts that others composed: servers' words, libraries' errors, panics.
//!
//! Promises: each place of a secret becomes `***` once, the longest secret that stands there as a whole; what was put in
//! is not searched again. A secret is found as it is and as others repeat it: escaped as in JSON (with and without
//! letters beyond ASCII), percent-encoded as in URLs and forms, in base64 of both alphabets.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;

/// What stands in place of a secret.
pub const HIDDEN: &str = "***";
/// Shorter secrets are not looked for: they stand in every text by chance.
pub const MIN_SECRET: usize = 4;

/// Texts that are looked for.
#[derive(Clone, Debug, Default)]
pub struct Needles {
    list: HashSet<String>,
    /// Finds all of them at once; made when it is needed.
    finder: OnceLock<Option<AhoCorasick>>,
}

impl Needles {
    /// Adds a secret with the forms in which others repeat it; nothing where it is too short.
    pub fn add(&mut self, secret: &str) {
        if secret.len() < MIN_SECRET {
            return;
        }
        for form in forms(secret) {
            self.insert(form);
        }
    }

    /// Adds a text as it is.
    pub fn insert(&mut self, text: String) {
        if !text.is_empty() && self.list.insert(text) {
            self.finder = OnceLock::new();
        }
    }

    /// `text` with each place of a needle replaced; borrowed where there is none.
    pub fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.list.is_empty() {
            return Cow::Borrowed(text);
        }
        let finder = self
            .finder
            .get_or_init(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&self.list).ok());
        // Too many for a finder, which a configuration cannot hold: rather nothing than a secret.
        let Some(finder) = finder else { return Cow::Borrowed(HIDDEN) };
        let mut found = finder.find_iter(text).peekable();
        if found.peek().is_none() {
            return Cow::Borrowed(text);
        }
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for found in found {
            out.push_str(&text[at..found.start()]);
            out.push_str(HIDDEN);
            at = found.end();
        }
        out.push_str(&text[at..]);
        Cow::Owned(out)
    }
}

/// A text of unknown origin up to the first value that a name says is a secret (`password: x`, `token=x`, `"api_key":"x"`):
/// where such a value ends cannot be told, so nothing after it is shown.
pub fn before_secret(text: &str) -> Cow<'_, str> {
    for (at, separator) in text.match_indices([':', '=']) {
        let name = text[..at].trim_end().trim_end_matches(['"', '\'', '\\']);
        let start = name
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .map_or(0, |n| n + name[n..].chars().next().map_or(1, char::len_utf8));
        if !name[start..].is_empty() && is_secret_name(&name[start..]) {
            return Cow::Owned(format!("{}{HIDDEN}", &text[..at + separator.len()]));
        }
    }
    Cow::Borrowed(text)
}

/// A secret as it is and as others write it.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    // What writers do that keep to ASCII, in both spellings of the digits; and what is made safe for pages.
    let ascii = |hex: fn(u16) -> String, page: bool| {
        let mut out = String::new();
        for c in json.chars() {
            match c {
                '<' | '>' | '&' | '\'' if page => out.push_str(&hex(c as u16)),
                c if c.is_ascii() && c != '\u{7f}' => out.push(c),
                c => c.encode_utf16(&mut [0; 2]).iter().for_each(|u| out.push_str(&hex(*u))),
            }
        }
        out
    };
    let (lower, upper): (fn(u16) -> String, fn(u16) -> String) = (|u| format!("\\u{u:04x}"), |u| format!("\\u{u:04X}"));
    let percent = |space: &str, upper: bool| {
        let mut out = String::new();
        for b in secret.bytes() {
            match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(b as char),
                b' ' => out.push_str(space),
                b if upper => out.push_str(&format!("%{b:02X}")),
                b => out.push_str(&format!("%{b:02x}")),
            }
        }
        out
    };
    let base64 = |text: String| text.trim_end_matches('=').to_owned();
    vec![
        secret.to_owned(),
        json.replace('/', "\\/"),
        ascii(lower, false),
        ascii(upper, false),
        ascii(lower, true),
        ascii(upper, true),
        // Go's encoder.
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        percent("%20", true),
        percent("%20", false),
        percent("+", true),
        secret.escape_debug().to_string(),
        base64(STANDARD.encode(secret)),
        base64(URL_SAFE.encode(secret)),
        json,
    ]
}

/// Whether values under this key are taken for secrets whatever component it belongs to. Misspelled names count: what is
/// shown is most likely the line of a mistake.
pub(crate) fn is_secret_name(key: &str) -> bool {
    if key.len() > 200 {
        return true;
    }
    let mut words = String::with_capacity(key.len() + 4);
    let mut previous_lower = false;
    for c in key.chars() {
        if c.is_ascii_uppercase() && previous_lower {
            words.push('_');
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        words.push(if matches!(c, '-' | '.' | ' ') { '_' } else { c.to_ascii_lowercase() });
    }
    const PARTS: [&str; 11] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "authorization",
        "credential",
        "bearer",
        "cookie",
        "private_key",
    ];
    PARTS.iter().any(|part| words.contains(part))
        || words.split('_').any(|word| matches!(word, "pwd" | "pass" | "jwt") || is_nearly_secret(word))
        || words.rsplit('_').next() == Some("key")
}

/// A typing mistake away from a word for a secret.
fn is_nearly_secret(word: &str) -> bool {
    const NAMES: [(&str, usize); 8] = [
        ("password", 3),
        ("passphrase", 3),
        ("authorization", 3),
        ("credentials", 3),
        ("apikey", 1),
        ("secret", 1),
        ("token", 1),
        ("bearer", 1),
    ];
    (4..=16).contains(&word.len())
        && NAMES.iter().any(|(name, allowed)| strsim::damerau_levenshtein(word, name) <= *allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(list: &[&str]) -> Needles {
        let mut needles = Needles::default();
        list.iter().for_each(|s| needles.add(s));
        needles
    }

    #[test]
    fn each_place_is_replaced_once_and_what_was_put_in_is_not_searched() {
        assert_eq!(needles(&["****", "abcd", "abcdefgh"]).hide("abcdefgh abcd ****"), "*** *** ***");
        assert!(matches!(needles(&["secret"]).hide("nothing"), Cow::Borrowed(_)));
        assert!(needles(&["abc"]).list.is_empty());
    }

    #[test]
    fn what_follows_the_name_of_a_secret_is_not_shown() {
        for (text, shown) in [
            ("{\"user\":\"a\",\"password\":\"b c\", torn", "{\"user\":\"a\",\"password\":***"),
            ("GET /?api_key=x&y=z", "GET /?api_key=***"),
            ("Authorization: Bearer abc", "Authorization:***"),
            ("{\\\"token\\\": 1}", "{\\\"token\\\":***"),
            ("no json 12:30 a=b", "no json 12:30 a=b"),
        ] {
            assert_eq!(before_secret(text), shown);
        }
    }

    #[test]
    fn a_secret_is_found_as_others_repeat_it() {
        let secret = "pä\"s\\s/wörd<&' 🔑";
        let needles = needles(&[secret]);
        let python = r#"p\u00e4\"s\\s/w\u00f6rd<&' \ud83d\udd11"#;
        let go = r#"pä\"s\\s/wörd\u003c\u0026' 🔑"#;
        let page = r#"p\u00E4\"s\\s/w\u00F6rd\u003C\u0026\u0027 \uD83D\uDD11"#;
        let url = "p%C3%A4%22s%5Cs%2Fw%C3%B6rd%3C%26%27%20%F0%9F%94%91";
        for form in [secret, python, go, page, url, &STANDARD.encode(secret), &serde_json::json!(secret).to_string()] {
            let shown = needles.hide(form).into_owned();
            assert_eq!(shown.trim_matches(['"', '=']), "***", "{form}");
        }
    }
}
