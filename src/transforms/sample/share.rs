//! Shares, and shares by value.

use serde_json::json;

use crate::event::{Form, Str, Value};
use crate::settings::{Node, Reader, SchemaBuilder, Setting, Spanned};

/// A share of all events, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    rate: f64,
    /// share · 2⁶⁴, cut off; the largest number for 1.
    below: u64,
}

impl Share {
    /// All of them.
    pub const ALL: Share = Share { rate: 1.0, below: u64::MAX };

    /// The share with this rate; `None` outside 0 to 1.
    #[must_use]
    pub fn new(rate: f64) -> Option<Share> {
        // 2^64 as a float; scaling by a power of two is exact.
        (0.0..=1.0).contains(&rate).then_some(Share { rate, below: (rate * 18_446_744_073_709_551_616.0) as u64 })
    }

    /// From 0 to 1.
    #[must_use]
    pub fn rate(self) -> f64 {
        self.rate
    }

    #[inline]
    pub(super) fn is_all(self) -> bool {
        self.rate >= 1.0
    }

    pub(super) fn is_none(self) -> bool {
        self.rate <= 0.0
    }

    /// Whether a number spread evenly over all 64 bits falls into the share.
    #[inline]
    pub(super) fn takes(self, number: u64) -> bool {
        number < self.below || self.is_all()
    }
}

impl Setting for Share {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let percent = node.as_str().and_then(|text| text.trim().strip_suffix('%')?.trim().parse::<f64>().ok());
        if let Some(percent) = percent {
            let diagnostic = cx.expected(node, &Self::describe());
            if (0.0..=100.0).contains(&percent) {
                diagnostic.help(format!("write {}", percent / 100.0));
            }
            return None;
        }
        let rate = f64::read(node, cx)?;
        let share = Share::new(rate);
        if share.is_none() {
            let diagnostic = cx.expected(node, &Self::describe());
            if rate > 1.0 && rate <= 100.0 {
                diagnostic.help(format!("for {rate} percent write {}", rate / 100.0));
            }
        }
        share
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        g.interpolated(json!({"type": "number", "minimum": 0, "maximum": 1}))
    }

    fn describe() -> String {
        "a share from 0 to 1".into()
    }

    fn default_text(&self) -> Option<String> {
        self.rate.default_text()
    }

    fn default_json(&self) -> Option<serde_json::Value> {
        self.rate.default_json()
    }

    fn accepts(node: &Node) -> bool {
        f64::accepts(node)
    }
}

/// So few values are found faster by comparing them one by one.
const FEW: usize = 8;

/// Shares by value.
pub(super) struct Rates {
    pub(super) default: Share,
    /// All as written, `default` among them, for explanations.
    pub(super) written: Vec<(String, Share)>,
    few: Vec<(Box<[u8]>, Share)>,
    many: hashbrown::HashMap<Box<[u8]>, Share>,
}

impl Rates {
    pub(super) fn new<'a>(rates: impl Iterator<Item = &'a (Spanned<String>, Share)>) -> Rates {
        let (written, few, many) = (Vec::new(), Vec::new(), hashbrown::HashMap::new());
        let mut all = Rates { default: Share::ALL, written, few, many };
        for (value, share) in rates {
            all.written.push((value.value.clone(), *share));
            if value.value == "default" {
                all.default = *share;
            } else {
                all.few.push((value.value.as_bytes().into(), *share));
            }
        }
        if all.few.len() > FEW {
            all.many = all.few.drain(..).collect();
        }
        all
    }

    /// The value as it is written, and its share; those of `default` where it is not written, where there is one.
    pub(super) fn written_of(&self, value: Option<Value<'_>>, text: &mut Vec<u8>) -> Option<&(String, Share)> {
        let own = value.and_then(|value| {
            with_text(value, text, |value| {
                self.written.iter().find(|(name, _)| name != "default" && name.as_bytes() == value)
            })
        });
        own.or_else(|| self.written.iter().find(|(name, _)| name == "default"))
    }

    /// The share of a value.
    #[inline]
    pub(super) fn of(&self, value: Value<'_>, text: &mut Vec<u8>) -> Share {
        with_text(value, text, |value| {
            if self.many.is_empty() {
                self.few.iter().find(|(v, _)| **v == *value).map_or(self.default, |(_, share)| *share)
            } else {
                self.many.get(value).copied().unwrap_or(self.default)
            }
        })
    }
}

/// Gives a value's text to `f`: its own bytes where they are plain, else written to `text`.
#[inline]
pub(super) fn with_text<R>(value: Value<'_>, text: &mut Vec<u8>, f: impl FnOnce(&[u8]) -> R) -> R {
    match value {
        Value::Str(Str { bytes, form: Form::Clean | Form::Plain }) | Value::Number(bytes) => f(bytes),
        value => {
            text.clear();
            value.append_text(text);
            f(text)
        }
    }
}
