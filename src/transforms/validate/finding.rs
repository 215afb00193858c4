//! What is wrong with an event, and how it is written into it.

use std::sync::Arc;

use crate::component::Emitter;
use crate::event::json::{self, Children};
use crate::event::{EventMut, Sym, Value};

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
}

struct Finding {
    severity: Severity,
    /// Number of the rule.
    rule: usize,
    /// The message, in `Findings::text`.
    start: usize,
    end: usize,
}

/// Most findings of one event that are written out; all are counted.
const MAX_FINDINGS: usize = 32;
/// Longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Findings of one event at a time, and counts by rule since they were last published.
pub(super) struct Findings {
    names: Arc<[Arc<str>]>,
    list: Vec<Finding>,
    text: Vec<u8>,
    errors: u32,
    error_counts: Vec<u64>,
    warning_counts: Vec<u64>,
    json: Vec<u8>,
}

impl Findings {
    /// None yet; `names` are those of all rules.
    pub(super) fn new(names: Arc<[Arc<str>]>) -> Findings {
        let counts = vec![0; names.len()];
        Findings {
            error_counts: counts.clone(),
            warning_counts: counts,
            names,
            list: Vec::new(),
            text: Vec::new(),
            errors: 0,
            json: Vec::new(),
        }
    }

    /// An empty one for another worker.
    pub(super) fn fork(&self) -> Findings {
        Findings::new(self.names.clone())
    }

    /// The number of the last rule, which is the JSON schema.
    pub(super) fn last_rule(&self) -> usize {
        self.names.len() - 1
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Adds a finding.
    #[cold]
    pub(super) fn add(&mut self, severity: Severity, rule: usize, message: &str) {
        self.add_with(severity, rule, |out| out.extend_from_slice(message.as_bytes()));
    }

    /// Adds a finding whose message is written by `message`.
    #[cold]
    pub(super) fn add_with(&mut self, severity: Severity, rule: usize, message: impl FnOnce(&mut Vec<u8>)) {
        match severity {
            Severity::Error => {
                self.errors += 1;
                self.error_counts[rule] += 1;
            }
            Severity::Warning => self.warning_counts[rule] += 1,
        }
        if self.list.len() >= MAX_FINDINGS {
            return;
        }
        let start = self.text.len();
        message(&mut self.text);
        let mut end = self.text.len();
        if end - start > MAX_MESSAGE_BYTES {
            end = start + MAX_MESSAGE_BYTES;
            while self.text[end] & 0xc0 == 0x80 {
                end -= 1; // not within a character
            }
        }
        self.text.truncate(end);
        self.list.push(Finding { severity, rule, start, end });
    }

    /// Forgets the event's findings, not the counts.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
        self.errors = 0;
    }

    /// Gives each finding that is kept: severity, name of the rule, message.
    pub(super) fn each(&self, mut give: impl FnMut(Severity, &str, &str)) {
        for finding in &self.list {
            let message = String::from_utf8_lossy(&self.text[finding.start..finding.end]);
            give(finding.severity, &self.names[finding.rule], &message);
        }
    }

    /// The messages of the errors, for the envelope.
    pub(super) fn errors_in_words(&self) -> String {
        let mut words = String::new();
        for finding in self.list.iter().filter(|f| f.severity == Severity::Error) {
            if !words.is_empty() {
                words.push_str("; ");
            }
            words.push_str(&String::from_utf8_lossy(&self.text[finding.start..finding.end]));
        }
        words
    }

    /// Writes the findings into `quality` of the event, behind those that are there already. A `quality` that is no
    /// object becomes `quality.value`.
    pub(super) fn tag(&mut self, event: &mut EventMut<'_>, warnings: bool) {
        if !warnings && !self.has_errors() {
            return;
        }
        let mut out = std::mem::take(&mut self.json);
        out.clear();
        {
            let earlier = event.as_ref().field(Sym::QUALITY);
            let object = match earlier {
                Some(Value::Object(raw)) => raw,
                _ => b"{}",
            };
            out.push(b'{');
            if let Some(value) = earlier.filter(|v| !matches!(v, Value::Object(_) | Value::Null)) {
                out.extend_from_slice(b"\"value\":");
                value.append_json(&mut out);
            }
            for child in Children::new(object) {
                let key = &object[child.key.0..child.key.1];
                if !json::key_is(key, b"errors") && !json::key_is(key, b"warnings") {
                    comma(&mut out);
                    out.extend_from_slice(&object[child.start..child.value.1]);
                }
            }
            self.write_list(b"errors", Severity::Error, object, true, &mut out);
            self.write_list(b"warnings", Severity::Warning, object, warnings, &mut out);
            out.push(b'}');
        }
        event.set_field(Sym::QUALITY, Value::Object(&out));
        self.json = out;
    }

    /// Writes one list: what was in it, then the new findings where they are wanted.
    fn write_list(&self, name: &[u8], severity: Severity, object: &[u8], new: bool, out: &mut Vec<u8>) {
        let earlier = Children::new(object)
            .filter(|c| json::key_is(&object[c.key.0..c.key.1], name))
            .map(|c| &object[c.value.0..c.value.1])
            .last(); // of duplicate keys the last counts
        let found = self.list.iter().filter(|f| new && f.severity == severity);
        if earlier.is_none() && found.clone().next().is_none() {
            return;
        }
        comma(out);
        out.push(b'"');
        out.extend_from_slice(name);
        out.extend_from_slice(b"\":[");
        match earlier {
            Some(list) if list.first() == Some(&b'[') => {
                out.extend_from_slice(list[1..list.len() - 1].trim_ascii());
            }
            Some(value) => out.extend_from_slice(value),
            None => {}
        }
        for finding in found {
            let start = out.len();
            comma(out);
            let item = out.len();
            out.extend_from_slice(b"{\"rule\":\"");
            json::escape(self.names[finding.rule].as_bytes(), out);
            out.extend_from_slice(b"\",\"message\":\"");
            json::escape(&self.text[finding.start..finding.end], out);
            out.extend_from_slice(b"\"}");
            // Found before already: a letter that was put in again.
            if earlier.is_some_and(|list| memchr::memmem::find(list, &out[item..]).is_some()) {
                out.truncate(start);
            }
        }
        out.push(b']');
    }

    /// Adds the counts by rule to the component's, and begins again.
    pub(super) fn publish(&mut self, out: &mut Emitter<'_>) {
        for (metric, counts) in
            [("validate_errors", &mut self.error_counts), ("validate_warnings", &mut self.warning_counts)]
        {
            for (name, count) in self.names.iter().zip(counts) {
                out.count_rule(metric, name, std::mem::take(count));
            }
        }
    }
}

/// A comma, unless this is the first in its brackets.
fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}
