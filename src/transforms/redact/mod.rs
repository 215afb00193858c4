//! `redact`: nothing sensitive leaves.
//!
//! ```yaml
//! clean:
//!   type: redact
//!   inputs: [context]
//!   detect: [secrets, email, credit_card]
//!   patterns: [{name: badge, regex: 'B-\d{6}', replace: 'B-***'}]
//!   fields: {drop: [request.cookies], mask: ["**.password"], keep_last: {n: 4, of: [phone]}}
//! ```
//!
//! `fields` first, by path; then one pass over every string, number and key at any depth (or only `in`, or all but
//! `except`). Of what is found the leftmost comes first; at one place `patterns` before `detect`, each in written order;
//! what was replaced is not searched again. The `action` (mask, remove, hash, keep the last characters) goes for all of
//! it but patterns with a `replace` of their own.
//!
//! **It never fails open.** Where it cannot be told how far a value goes, more is masked, not less. Text is searched as it reads, whatever escapes it was written with, and escaped again; all
//! duplicates of a key count; nested JSON is walked at any depth without recursion, keys too; what is hidden in a
//! number becomes a string, and a number in JSON inside a string too; a second pass changes nothing; a pattern that does not compile is a mistake in the configuration. Paths are matched
//! generously: through arrays, and with dotted keys read both ways.
//!
//! **Limits**: booleans, nulls and timestamps made by the agent are not searched. A value that is cut into two fields, or
//! encoded (base64, compressed), is not seen. Each event is worked on alone; nothing is held, nothing dropped.
//!
//! Counted in `tidegate_redacted_total{rule}`: the pattern's name or the kind, `fields.drop` and so on; never a value.

mod ascii;
mod event;
mod explain;
mod find;
mod gate;
mod kinds;
mod marks;
mod nested;
mod paths;
mod patterns;
mod scanner;
#[cfg(test)]
mod tests;

pub use event::{Redact, RedactOptions};
pub use kinds::DetectKind;
pub use paths::PathGlob;
pub use patterns::PatternSpec;
pub use scanner::{Action, HashKey, Rules, Scanner};

use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Transform};
use crate::error::BuildError;
use crate::settings::{Reader, Secret, Span, Spanned, config, config_enum, text_setting};

config_enum! {
    /// What becomes of what is found.
    pub enum ActionWord {
        /// `***` stands in for it.
        Mask = "mask",
        /// It is taken out; a field that holds a secret goes as a whole.
        Remove = "remove",
        /// Its HMAC-SHA256 with `key` stands in for it, as 64 hexadecimal digits: equal values stay equal.
        Hash = "hash",
        /// `***` and its last characters (`keep`) stand in for it.
        KeepLast = "keep_last",
    }
}

config! {
    /// Masks, removes or hashes what is sensitive, in fields named by path and wherever it is found.
    pub struct RedactConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// Built-in kinds to look for, in order of precedence.
        pub detect: Vec<DetectKind> = Vec::new(),
        /// Regular expressions to look for; they come before `detect`.
        pub patterns: Vec<PatternConfig> = Vec::new(),
        /// What is done with fields, whatever they hold.
        pub fields: FieldsConfig = <FieldsConfig as crate::settings::Settings>::defaults(),
        /// Search only below these paths; everywhere when left out.
        pub r#in: Vec<PathGlob> = Vec::new(),
        /// Do not search below these paths.
        pub except: Vec<PathGlob> = Vec::new(),
        /// What becomes of what is found.
        pub action: Spanned<ActionWord> = Spanned::new(ActionWord::Mask, Default::default()),
        /// The key of hashes: needed where something is hashed.
        pub key: Option<Secret> = None,
        /// How many characters the action `keep_last` keeps.
        pub keep: u16 = 4,
    }
}

config! {
    /// A regular expression and what stands in for its matches.
    pub struct PatternConfig {
        /// The name it is counted under; `pattern_1` and so on when left out.
        pub name: Option<String>,
        /// The regular expression.
        pub regex: RegexText,
        /// What stands in for a match: `$1` and `$name` are its groups. As `action` says when left out.
        pub replace: Option<Spanned<String>>,
    }
}

config! {
    /// What is done with fields by their paths: `a.b`, `**.password`, `users[*].email`.
    pub struct FieldsConfig {
        /// They are removed.
        pub drop: Vec<PathGlob> = Vec::new(),
        /// `***` stands in for them.
        pub mask: Vec<PathGlob> = Vec::new(),
        /// Their HMAC-SHA256 with `key` stands in for them.
        pub hash: Vec<Spanned<PathGlob>> = Vec::new(),
        /// `***` and their last characters stand in for them.
        pub keep_last: Option<KeepLastConfig>,
    }
}

config! {
    /// Fields of which the last characters stay.
    pub struct KeepLastConfig {
        /// How many characters stay.
        pub n: u16 = 4,
        /// The fields.
        pub of: Vec<PathGlob>,
    }
}

/// A regular expression that has been compiled once, so that it is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexText(String);

text_setting!(
    listed RegexText,
    "a regular expression",
    |text, node, cx| {
        let spec = PatternSpec { name: String::new(), regex: text.to_owned(), replace: None };
        match spec.check() {
            Ok(()) => Some(Self(text.to_owned())),
            Err(error) => {
                let message = format!("{}: {error}", cx.subject());
                match error.at() {
                    Some(at) => cx.error_in(node, at, message),
                    None => cx.error(node.span, message),
                };
                None
            }
        }
    },
    |pattern| pattern.0.clone()
);

impl RedactConfig {
    fn specs(&self) -> Vec<PatternSpec> {
        let spec = |(i, p): (usize, &PatternConfig)| PatternSpec {
            name: p.name.clone().unwrap_or_else(|| format!("pattern_{}", i + 1)),
            regex: p.regex.0.clone(),
            replace: p.replace.as_ref().map(|r| r.value.clone()),
        };
        self.patterns.iter().enumerate().map(spec).collect()
    }

    fn hash_key(&self) -> Option<HashKey> {
        HashKey::new(self.key.as_ref().filter(|k| !k.is_empty())?.reveal().as_bytes())
    }
}

impl TransformPlan for RedactConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn redacts(&self) -> bool {
        true
    }

    fn check(&self, cx: &mut Reader<'_>) {
        for (spec, pattern) in self.specs().iter().zip(&self.patterns) {
            if let (Some(replace), Err(error)) = (&pattern.replace, spec.check()) {
                cx.error(replace.span, error.to_string());
            }
        }
        if self.hash_key().is_none() {
            let help = "give it one: `key: ${file:/run/secrets/redact-key}`";
            // One that is written is empty.
            let key_at = |cx: &mut Reader<'_>, span: Span, message: &str| {
                let diagnostic = match self.key.is_some() {
                    true => cx.error_at("key", message),
                    false => cx.error(span, message),
                };
                diagnostic.help(help);
            };
            if self.action.value == ActionWord::Hash {
                key_at(cx, self.action.span, "`action: hash` needs a `key`");
            }
            if let Some(path) = self.fields.hash.first() {
                key_at(cx, path.span, "`fields.hash` needs a `key`");
            }
        }
        let fields = &self.fields;
        let none = fields.drop.is_empty() && fields.mask.is_empty() && fields.hash.is_empty();
        if none && fields.keep_last.is_none() && self.detect.is_empty() && self.patterns.is_empty() {
            cx.warn_at("", "this `redact` looks for nothing").help("set `detect`, `patterns` or `fields`");
        }
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let key = || self.hash_key().ok_or_else(|| BuildError::config("hashing needs a `key`"));
        let action = match self.action.value {
            ActionWord::Mask => Action::Mask,
            ActionWord::Remove => Action::Remove,
            ActionWord::Hash => Action::Hash(key()?),
            ActionWord::KeepLast => Action::KeepLast(self.keep.into()),
        };
        let rules = Rules::new(&self.detect, &self.specs(), action)
            .map_err(|errors| BuildError::config(errors.first().map(|e| e.1.to_string()).unwrap_or_default()))?;
        let mut options = RedactOptions::new(rules);
        options.drop = self.fields.drop.clone();
        options.mask = self.fields.mask.clone();
        if !self.fields.hash.is_empty() {
            options.hash = (self.fields.hash.iter().map(|p| p.value.clone()).collect(), Some(key()?));
        }
        if let Some(keep) = &self.fields.keep_last {
            options.keep_last = (keep.of.clone(), keep.n.into());
        }
        options.within = self.r#in.clone();
        options.except = self.except.clone();
        Ok(Box::new(Redact::new(options).map_err(BuildError::config)?))
    }
}
