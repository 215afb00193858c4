//! The `tests:` section: unit tests of a pipeline, written beside it and run by `tidegate test`.
//!
//! ```yaml
//! tests:
//!   - name: debug lines keep no e-mail address
//!     input:
//!       - {at: web, file: lines/web.log}           # a file beside this one, read as that source reads files
//!       - at: app                                  # a source: the line is decoded as that source decodes
//!         line: '{"level":"debug","msg":"from a@b.example"}'
//!         metadata: {file: /var/log/app/a.log}
//!       - at: clean                                # a transform: the event enters there
//!         event: {level: INFO, message: hello}
//!     expect:
//!       - {at: clean, count: 2}
//!       - {at: clean, fields: {level: DEBUG, message: "from ***"}}
//!       - {at: quality.rejected, count: 0}
//!       - {at: o2, condition: 'level != "TRACE"'}  # a sink: what reached it
//! ```
//!
//! An expectation looks at what came out of a component (`id`, or `id.output`), or reached a sink:
//!
//! | Key | Holds when |
//! |---|---|
//! | `count` | that many events were there |
//! | `event` | one of them has exactly these fields (their order does not matter) |
//! | `events` | they are exactly these, in this order |
//! | `fields` | one of them has at least these values at these paths |
//! | `absent` | none of them has any of these paths |
//! | `condition` | there was at least one, and it holds for each |
//! | `reason` | one was dropped or rejected there for this reason |
//! | `path` | the sink would put one of them there: a file, a stream, an index, an address |
//! | `labels` | one of them would have a stream or series with at least these labels |
//! | `snapshot` | they are, a line each, what the file holds |
//!
//! Several keys in one expectation must all hold; `event` and `fields` need not mean the same event. Numbers are compared by value,
//! but for `snapshot`. Chance is switched off: `sample` keeps what has a share above 0.

use serde_json::Value;

use crate::condition::Condition;
use crate::event::{FieldPath, Meta};
use crate::settings::{Map, Reader, Settings, Spanned, config, config_enum};
use crate::time::parse_rfc3339;
use std::path::PathBuf;

config! {
    /// One unit test of the pipeline.
    pub struct TestCase {
        /// What the test shows.
        pub name: Spanned<String>,
        /// The time at which everything is received, RFC 3339. Default: 2025-01-01T00:00:00Z.
        pub now: Option<Spanned<String>> = None,
        /// What enters, in order.
        pub input: Vec<TestInput>,
        /// What must come of it.
        pub expect: Vec<TestExpect>,
    }
}

config! {
    /// Something that enters the pipeline.
    pub struct TestInput {
        /// Where: a source or a transform.
        pub at: Spanned<String>,
        /// A line as the source reads it.
        pub line: Option<String> = None,
        /// Several lines, in order.
        pub lines: Option<Vec<String>> = None,
        /// A file that the source reads, as it would read it: decompressed, in its charset, its lines joined. From the folder of the
        /// file that the test is in.
        pub file: Option<Spanned<PathBuf>> = None,
        /// An event with these fields.
        pub event: Option<Map<Value>> = None,
        /// What kind of event it is.
        pub kind: TestKind = TestKind::Log,
        /// Metadata of the event or the lines: `source`, `file`, `host`, `peer`, `user`, `tls.subject`, `http.…`.
        pub metadata: Map<Value> = Map::default(),
    }
}

config_enum! {
    /// Kinds of events.
    pub enum TestKind {
        /// A log record.
        Log = "log",
        /// A metric sample.
        Metric = "metric",
        /// A trace span.
        Trace = "trace",
    }
}

config! {
    /// What must have come out somewhere.
    pub struct TestExpect {
        /// Where: a component, `id.output`, or a sink.
        pub at: Spanned<String>,
        /// How many events.
        pub count: Option<u64> = None,
        /// An event with exactly these fields.
        pub event: Option<Map<Value>> = None,
        /// Exactly these events, in this order.
        pub events: Option<Vec<Map<Value>>> = None,
        /// Values that one of the events has at these paths.
        pub fields: Option<Map<Value>> = None,
        /// Paths that none of the events has.
        pub absent: Option<Vec<FieldPath>> = None,
        /// What holds for each event.
        pub condition: Option<Condition> = None,
        /// Why an event was dropped or rejected there: `filtered`, `sampled`, `validate`, …
        pub reason: Option<String> = None,
        /// Where the sink would put one of the events: the path of a file, a stream, an index, an address.
        pub path: Option<String> = None,
        /// Labels that one of the events has as the sink would render them; `__name__` is the name of a metric.
        pub labels: Option<Map<Value>> = None,
        /// A file that holds the events, a line each; `tidegate test --update` writes it. From the folder of the file that the test
        /// is in.
        pub snapshot: Option<Spanned<PathBuf>> = None,
    }
}

/// Metadata that can be given to a test.
const GIVEN: [&str; 6] = ["source", "file", "host", "peer", "user", "tls.subject"];

impl TestCase {
    /// Notes mistakes between keys.
    pub(crate) fn check(&self, cx: &mut Reader<'_>) {
        let name = &self.name.value;
        if let Some(now) = self.now.as_ref().filter(|now| parse_rfc3339(now.value.as_bytes()).is_none()) {
            cx.error(now.span, format!("test `{name}`: `now: {}` is not an RFC 3339 time", now.value))
                .help("write it as in `2025-06-15T10:00:00Z`");
        }
        if self.input.is_empty() {
            cx.error(self.name.span, format!("test `{name}`: nothing enters")).help("give it an `input`");
        }
        if self.expect.is_empty() {
            cx.error(self.name.span, format!("test `{name}` expects nothing"))
                .help("say what must come of it in `expect`");
        }
        for input in &self.input {
            let given = [input.line.is_some(), input.lines.is_some(), input.file.is_some(), input.event.is_some()];
            if given.iter().filter(|given| **given).count() != 1 {
                let message = format!("test `{name}`: an input has one of `line`, `lines`, `file` and `event`");
                cx.error(input.at.span, message);
            }
            for (key, _) in &input.metadata.0 {
                let known = match Meta::from_config(&key.value) {
                    Some(Meta::Http(_)) => true,
                    _ => GIVEN.contains(&key.value.as_str()),
                };
                if !known {
                    let message = format!("test `{name}`: there is no metadata `{}` that could be given", key.value);
                    cx.error(key.span, message).suggest(&key.value, GIVEN);
                }
            }
        }
        self.expect.iter().for_each(|expect| expect.check(name, cx));
    }

    /// The keys of a test, for the reference.
    pub(crate) fn docs() -> Vec<crate::settings::FieldDoc> {
        let mut out = Vec::new();
        Self::field_docs(&mut out);
        out
    }
}

impl TestExpect {
    /// Notes what expects nothing.
    fn check(&self, name: &str, cx: &mut Reader<'_>) {
        for (path, _) in self.fields.iter().flat_map(|fields| &fields.0) {
            if let Err(error) = FieldPath::parse(path) {
                cx.error(path.span, format!("test `{name}`: {error}"));
            }
        }
        let empty = [
            ("fields", self.fields.as_ref().is_some_and(|fields| fields.is_empty())),
            ("absent", self.absent.as_ref().is_some_and(Vec::is_empty)),
            ("labels", self.labels.as_ref().is_some_and(|labels| labels.is_empty())),
        ];
        for (key, _) in empty.iter().filter(|(_, is_empty)| *is_empty) {
            cx.error(
                self.at.span,
                format!("test `{name}`: `{key}` of `{}` is empty, which always holds", self.at.value),
            );
        }
        let given = [
            self.count.is_some(),
            self.event.is_some(),
            self.events.is_some(),
            self.fields.is_some(),
            self.absent.is_some(),
            self.condition.is_some(),
            self.reason.is_some(),
            self.path.is_some(),
            self.labels.is_some(),
            self.snapshot.is_some(),
        ];
        if !given.contains(&true) {
            let message = format!("test `{name}`: this expects nothing of `{}`", self.at.value);
            cx.error(self.at.span, message).help(
                "give `count`, `event`, `events`, `fields`, `absent`, `condition`, `reason`, `path`, `labels` or `snapshot`",
            );
        }
    }
}
