//! The `tests:` section: unit tests of a pipeline, written beside it and run by `tidegate test`.
//!
//! ```yaml
//! tests:
//!   - name: debug lines keep no e-mail address
//!     input:
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
//!
//! Several keys in one expectation must all hold; `event` and `fields` need not mean the same event. Chance is switched off:
//! `sample` keeps what has a share above 0.

use serde_json::Value;

use crate::condition::Condition;
use crate::event::FieldPath;
use crate::settings::{Map, Reader, Settings, Spanned, config, config_enum};

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
        /// An event with these fields.
        pub event: Option<Map<Value>> = None,
        /// What kind of event it is.
        pub kind: TestKind = TestKind::Log,
        /// Metadata of the event or the lines: `source`, `file`, `host`, `peer`, `user`.
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
    }
}

/// Metadata that a test may give to what enters.
const METADATA: [&str; 5] = ["source", "file", "host", "peer", "user"];

impl TestCase {
    /// Notes mistakes between keys.
    pub(crate) fn check(&self, cx: &mut Reader<'_>) {
        for input in &self.input {
            let given = [input.line.is_some(), input.lines.is_some(), input.event.is_some()];
            if given.iter().filter(|given| **given).count() != 1 {
                let message = format!("test `{}`: an input has one of `line`, `lines` and `event`", self.name.value);
                cx.error(input.at.span, message);
            }
            // What no test can set would be a test of nothing.
            for (name, _) in input.metadata.0.iter().filter(|(name, _)| !METADATA.contains(&name.value.as_str())) {
                let message = format!("test `{}`: no metadata `{}` can be given", self.name.value, name.value);
                let known = METADATA.map(|name| format!("`{name}`")).join(", ");
                let diagnostic = cx.error(name.span, message);
                diagnostic.suggest(&name.value, METADATA).help(format!("what can be given: {known}"));
            }
        }
        if self.expect.is_empty() {
            let message = format!("test `{}` expects nothing: it would pass whatever comes", self.name.value);
            cx.error(self.name.span, message).help("for example `expect: [{at: out, count: 1}]`");
        }
        for expect in &self.expect {
            for (path, _) in expect.fields.iter().flat_map(|fields| &fields.0) {
                if let Err(error) = FieldPath::parse(path) {
                    cx.error(path.span, format!("test `{}`: {error}", self.name.value));
                }
            }
            let given = [
                expect.count.is_some(),
                expect.event.is_some(),
                expect.events.is_some(),
                expect.fields.is_some(),
                expect.absent.is_some(),
                expect.condition.is_some(),
            ];
            if !given.contains(&true) {
                let message = format!("test `{}`: this expects nothing of `{}`", self.name.value, expect.at.value);
                cx.error(expect.at.span, message)
                    .help("give `count`, `event`, `events`, `fields`, `absent` or `condition`");
            }
        }
    }

    /// The keys of a test, for the reference.
    pub(crate) fn docs() -> Vec<crate::settings::FieldDoc> {
        let mut out = Vec::new();
        Self::field_docs(&mut out);
        out
    }
}
