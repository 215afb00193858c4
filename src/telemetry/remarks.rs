//! What goes wrong without ending an event, said: one line a minute for each component and kind, with how often since the
//! last line and an example.
//!
//! Promises: what is counted here is never silent; the first time is said within a second, what is left at the end of a run
//! is said then. Nothing is read or locked an event: the counters are looked at once a second.

use crate::sync::live::Live;
use crate::telemetry::RunLedger;
use crate::telemetry::log_throttle::LogThrottle;
use crate::time::clock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the counters are looked at.
pub const LOOK: Duration = Duration::from_secs(1);

/// Kinds of errors that nobody else says, in words, with what to do where something can be done.
const ERRORS: [(&str, &str); 16] = [
    ("decode", "could not be decoded as `decode` says; `on_decode_error` says what becomes of them"),
    (
        "header_unread",
        "the header of the message was not read: all of it is in `message`, and its time is that of receipt",
    ),
    ("invalid_utf8", "bytes that are not UTF-8 were replaced; `charset` or `invalid_utf8` of the source may read them"),
    ("timestamp_unreadable", "the timestamp could not be read: it is that of receipt; `formats` takes further ones"),
    ("level_unknown", "the level is not known; `levels` takes further words"),
    ("connections_at_limit", "clients found all connections taken; `max_connections` says how many there may be"),
    ("proxy_protocol", "connections were closed that do not begin with the header `proxy_protocol` asks for"),
    ("foreign_page", "requests of pages of other sites were refused; `cors` names those that may send"),
    ("reload", "a file has changed and cannot be used: what was read before stays in use"),
    ("geoip_address", "what should be an address is none"),
    ("geoip_database", "the database is damaged where the answer should be"),
    ("enrich_target", "the field to write into was taken by something else and left as it is"),
    ("convert", "values could not be converted and were left as they are"),
    ("oversized", "messages longer than `max_message` were cut"),
    ("long_lines", "lines longer than `max_line_bytes`; `long_lines` says what becomes of them"),
    ("multiline_limit", "joined lines were cut at `max_lines` or `max_bytes`"),
];

/// Reasons of drops that nobody has asked for and nobody else says.
const DROPS: [(&str, &str); 3] = [
    (
        "kernel_buffer_full",
        "the kernel dropped datagrams, because they came faster than they were read; raise `receive_buffer`",
    ),
    ("rejected_unread", "events were rejected, and nobody reads `rejected`: they are gone"),
    ("template", "events lack a field that a template needs, and there is no `dead_letter`: they are gone"),
];

/// One line to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Id of the component.
    pub component: Arc<str>,
    /// Kind of error, or reason of a drop.
    pub kind: &'static str,
    /// How often since the last line.
    pub count: u64,
    /// One of them.
    pub example: Option<String>,
    /// What it is.
    pub words: &'static str,
}

impl Remark {
    fn say(&self) {
        let Remark { component, kind, count, example, words } = self;
        match example {
            Some(example) => tracing::warn!(component = %component, kind, count, example = %example, "{words}"),
            None => tracing::warn!(component = %component, kind, count, "{words}"),
        }
    }
}

#[derive(Default)]
struct Seen {
    total: u64,
    throttle: LogThrottle,
}

/// What was said of each component.
#[derive(Default)]
pub struct Remarks {
    seen: HashMap<(Arc<str>, &'static str), Seen>,
}

impl Remarks {
    /// What is due now.
    pub fn look(&mut self, ledger: &RunLedger, now: Instant) -> Vec<Remark> {
        self.gather(ledger, |seen, more| seen.throttle.due_at(now, more))
    }

    /// What was not said yet.
    fn rest(&mut self, ledger: &RunLedger) -> Vec<Remark> {
        self.gather(ledger, |seen, more| Some(seen.throttle.rest() + more).filter(|n| *n > 0))
    }

    fn gather(&mut self, ledger: &RunLedger, mut due: impl FnMut(&mut Seen, u64) -> Option<u64>) -> Vec<Remark> {
        let mut remarks = Vec::new();
        for counters in &ledger.components {
            let totals: Vec<(&'static str, &'static str, u64)> = counters.update(|t| {
                let errors = ERRORS.iter().map(|(kind, words)| (*kind, *words, t.errors.get(kind)));
                let drops = DROPS.iter().map(|(kind, words)| (*kind, *words, t.dropped.get(kind)));
                errors.chain(drops).filter_map(|(kind, words, n)| Some((kind, words, *n?))).collect()
            });
            for (kind, words, total) in totals {
                let seen = self.seen.entry((counters.id.clone(), kind)).or_default();
                let more = total.saturating_sub(seen.total);
                seen.total = total;
                if let Some(count) = due(seen, more) {
                    let (component, example) = (counters.id.clone(), counters.take_example(kind));
                    remarks.push(Remark { component, kind, count, example, words });
                }
            }
        }
        remarks
    }

    /// Looks and says, until dropped; see [`finish`](Remarks::finish) for the end.
    pub async fn run(&mut self, ledger: &Live<RunLedger>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look(&ledger.now(), clock::monotonic()).iter().for_each(Remark::say);
        }
    }

    /// Says what is left.
    pub fn finish(&mut self, ledger: &RunLedger) {
        self.rest(ledger).iter().for_each(Remark::say);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::telemetry::{ComponentKind, Counters};

    #[test]
    fn one_line_a_minute_for_each_component_and_kind_with_all_and_an_example() {
        let [a, b] = ["a", "b"].map(|id| Counters::new(id, ComponentKind::Source, "file"));
        let ledger = RunLedger { components: vec![a.clone(), b.clone()], ..RunLedger::default() };
        let (mut remarks, start) = (Remarks::default(), clock::monotonic());
        let at = |seconds| start + Duration::from_secs(seconds);
        let short = |list: Vec<Remark>| -> Vec<(String, &str, u64, Option<String>)> {
            list.into_iter().map(|r| (r.component.to_string(), r.kind, r.count, r.example)).collect()
        };
        assert_eq!(short(remarks.look(&ledger, start)), []);
        a.update(|t| t.error("decode", 100_000));
        a.example("decode", || "first".into());
        a.example("decode", || panic!("there is one"));
        b.update(|t| t.drop_events("kernel_buffer_full", 3));
        b.update(|t| t.error("absent", 7));
        let said = short(remarks.look(&ledger, at(1)));
        let right =
            [("a".into(), "decode", 100_000, Some("first".into())), ("b".into(), "kernel_buffer_full", 3, None)];
        assert_eq!(said, right);
        a.update(|t| t.error("decode", 5));
        a.example("decode", || "second".into());
        assert_eq!(short(remarks.look(&ledger, at(30))), []);
        a.update(|t| t.error("decode", 1));
        assert_eq!(short(remarks.look(&ledger, at(61))), [("a".into(), "decode", 6, Some("second".into()))]);
        assert_eq!(short(remarks.look(&ledger, at(200))), []);
        a.update(|t| t.error("decode", 2));
        assert_eq!(short(remarks.look(&ledger, at(201))).len(), 1);
        a.update(|t| t.error("decode", 9));
        assert_eq!(short(remarks.rest(&ledger)), [("a".into(), "decode", 9, None)]);
    }
}
