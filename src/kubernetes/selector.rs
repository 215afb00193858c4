//! Label selectors as Kubernetes writes them: `app=web,tier!=db,env in (a, b),!canary`.
//!
//! Source: Kubernetes, "Labels and Selectors": requirements divided by commas, all of which must hold; `!=` and `notin` hold for what
//! lacks the label too.

use crate::settings::text_setting;

/// A selector, known to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads a selector.
    ///
    /// Errors: what of it cannot be read, in words.
    pub fn parse(text: &str) -> Result<Selector, String> {
        let mut requirements = Vec::new();
        for part in split(text)? {
            requirements.push(Requirement::parse(part.trim())?);
        }
        if requirements.is_empty() {
            return Err("it is empty".into());
        }
        Ok(Selector { text: text.to_owned(), requirements })
    }

    /// Whether labels fit; `get` finds a label's value.
    pub fn selects<'l>(&self, get: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = get(&requirement.key);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
                Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }
}

/// The parts between commas that stand in no parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut from, mut inside) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            '(' if inside => return Err("a `(` within parentheses".into()),
            '(' => inside = true,
            ')' if !inside => return Err("a `)` without `(`".into()),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a `(` is not closed".into());
    }
    parts.push(&text[from..]);
    parts.retain(|part| !part.trim().is_empty());
    Ok(parts)
}

impl Requirement {
    fn parse(part: &str) -> Result<Requirement, String> {
        let of = |key: &str, test: Test| Ok(Requirement { key: name(key)?, test });
        if let Some(key) = part.strip_prefix('!') {
            return of(key, Test::Absent);
        }
        if let Some((key, value)) = part.split_once("!=") {
            return of(key, Test::NotIn(vec![label(value)?]));
        }
        if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return of(key, Test::In(vec![label(value)?]));
        }
        let Some((head, list)) = part.split_once('(') else { return of(part, Test::Exists) };
        let list = list.strip_suffix(')').ok_or("something stands behind `)`")?;
        let values: Vec<String> = list.split(',').map(label).collect::<Result<_, _>>()?;
        match head.trim().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => of(key, Test::In(values)),
            Some((key, "notin")) => of(key, Test::NotIn(values)),
            _ => Err(format!("`{head}` has neither `in` nor `notin`")),
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if text.is_empty() || !text.chars().all(fine) {
        return Err(format!("`{text}` is no name of a label"));
    }
    Ok(text.to_owned())
}

fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.chars().all(fine) {
        return Err(format!("`{text}` is no value of a label"));
    }
    Ok(text.to_owned())
}

text_setting!(
    Selector,
    "a label selector such as `app=web,tier!=db`",
    |text, node, cx| match Selector::parse(text) {
        Ok(selector) => Some(selector),
        Err(why) => {
            cx.error(node.span, format!("this is no label selector: {why}"));
            None
        }
    },
    |selector| selector.text.clone()
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn requirements_hold_as_kubernetes_has_them_hold() {
        let labels = [("app", "web"), ("tier", "front"), ("example.com/team", "a-1"), ("empty", "")];
        let get = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        for (text, holds) in [
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier = front", true),
            ("app=api", false),
            ("app!=api", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (api, web)", true),
            ("app in (api)", false),
            ("app notin (api)", true),
            ("app notin (api,web),tier", false),
            ("other notin (x)", true),
            ("example.com/team", true),
            ("example.com/team in (a-1),!canary", true),
            ("!app", false),
            ("canary", false),
            ("empty=", true),
            ("app=web,app=api", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().selects(get), holds, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_told() {
        for text in ["", ",", "a in b", "a in (b", "a) ", "a like (b)", "a b", "a=b c", "=b", "a in ((b))", "!"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
