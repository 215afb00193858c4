//! Conditions as settings: mistakes point into the text.

use super::Condition;
use crate::event::Meta;
use crate::settings::text_setting;

text_setting!(
    Condition,
    "a condition such as `level == \"ERROR\"`",
    |text, node, cx| match Condition::parse(text) {
        Ok(condition) => {
            cx.asks(Meta::names_in(condition.paths()));
            for (at, word) in condition.suspects() {
                let message = format!("`{word}` in the condition for {} is read as the name of a field", cx.subject());
                cx.warn_in(node, at.clone(), message).help(format!("a text stands in quotes: \"{word}\""));
            }
            Some(condition)
        }
        Err(e) => {
            let message = format!("bad condition for {}: {e}", cx.subject());
            let diagnostic = cx.error_in(node, e.at, message);
            diagnostic.helps.extend(e.help);
            None
        }
    },
    |condition| condition.text().to_owned()
);
