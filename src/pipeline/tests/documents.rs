//! Whole configurations, with a registry of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::*;
use crate::component::common::SinkCommon;
use crate::component::common::SourceCommon;
use crate::component::plan::{SinkPlan, SinkType, SourcePlan, SourceType, TransformPlan, TransformType};
use crate::component::{BuildContext, SinkRun, SourceRun, Transform};
use crate::condition::Condition;
use crate::error::BuildError;
use crate::framing::MultilineSetting;
use crate::settings::*;
use crate::telemetry::ComponentKind;
use crate::template::Template;

config! {
    /// Reads files.
    pub struct FileSource {
        /// Globs of the files to read.
        pub include: Vec<String>,
        /// Which lines make one event.
        pub multiline: Option<MultilineSetting> = None,
        /// Longest line.
        pub max_line_bytes: Size = Size::mib(1),
        /// Between two sweeps.
        pub glob_interval: std::time::Duration = std::time::Duration::from_secs(1),
        flatten pub common: SourceCommon,
    }
}

impl SourcePlan for FileSource {
    fn common(&self) -> &SourceCommon {
        &self.common
    }
    fn build(self: Box<Self>, _: &BuildContext) -> Result<SourceRun, BuildError> {
        Err(BuildError::config("not built in tests"))
    }
}

config! {
    /// Listens.
    pub struct HttpSource {
        /// Address.
        pub listen: Spanned<String>,
        /// Tokens.
        pub bearer: Vec<Secret> = Vec::new(),
        flatten pub common: SourceCommon,
    }
}

impl SourcePlan for HttpSource {
    fn common(&self) -> &SourceCommon {
        &self.common
    }
    fn listens(&self) -> Vec<Spanned<String>> {
        vec![self.listen.clone()]
    }
    fn check(&self, cx: &mut Reader<'_>) {
        if self.bearer.is_empty() && !self.listen.value.starts_with("127.") {
            cx.warn(self.listen.span, "anyone may send here").help("give `auth`");
        }
    }
    fn build(self: Box<Self>, _: &BuildContext) -> Result<SourceRun, BuildError> {
        Err(BuildError::config("not built in tests"))
    }
}

/// A transform of the tests: `redact` where it redacts, `route` where it has named outputs only.
macro_rules! transform {
    ($name:ident, $outputs:expr, $redacts:expr, $default:expr) => {
        config! {
            /// A transform.
            pub struct $name {
                /// What it reads.
                pub inputs: Vec<Spanned<String>>,
                /// A text with fields.
                pub to: Option<Template> = None,
                /// What it is done to.
                pub when: Option<Condition> = None,
                /// A share.
                pub rate: f64 = 1.0,
            }
        }
        impl TransformPlan for $name {
            fn inputs(&self) -> &[Spanned<String>] {
                &self.inputs
            }
            fn outputs(&self) -> Vec<String> {
                let outputs: &[&str] = &$outputs;
                outputs.iter().map(|name| name.to_string()).collect()
            }
            fn redacts(&self) -> bool {
                $redacts
            }
            fn has_default_output(&self) -> bool {
                $default
            }
            fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
                Err(BuildError::config("not built in tests"))
            }
        }
    };
}

transform!(Validate, ["rejected"], false, true);
transform!(Redact, [], true, true);
transform!(Route, ["errors", "other"], false, false);

config! {
    /// A sink.
    pub struct HttpSink {
        /// Where to.
        pub url: String = "http://localhost".into(),
        /// Who.
        pub password: Option<Secret> = None,
        /// Where it listens.
        pub listen: Option<Spanned<String>> = None,
        flatten pub common: SinkCommon,
    }
}

impl SinkPlan for HttpSink {
    fn common(&self) -> &SinkCommon {
        &self.common
    }
    fn listens(&self) -> Vec<Spanned<String>> {
        self.listen.iter().cloned().collect()
    }
    fn build(self: Box<Self>, _: &BuildContext) -> Result<SinkRun, BuildError> {
        Err(BuildError::config("not built in tests"))
    }
}

const SOURCES: &[SourceType] = &[SourceType::of::<FileSource>("file"), SourceType::of::<HttpSource>("http")];
const TRANSFORMS: &[TransformType] = &[
    TransformType::of::<Validate>("validate"),
    TransformType::of::<Redact>("redact"),
    TransformType::of::<Route>("route"),
];
const SINKS: &[SinkType] = &[SinkType::of::<HttpSink>("out")];

pub(crate) fn registry() -> Registry<'static> {
    Registry { sources: SOURCES, transforms: TRANSFORMS, sinks: SINKS }
}

pub(super) fn load(texts: &[(&str, &str)]) -> Loaded {
    load_texts(texts, &BTreeMap::new(), registry())
}

fn said(text: &str) -> String {
    load(&[("t.yaml", text)]).report.render()
}

const GOOD: &str = "\
data_dir: ./d
api: {listen: '127.0.0.1:8686'}
sources:
  app_a: {type: file, include: [a]}
  app_b: {type: file, include: [b]}
transforms:
  clean: {type: redact, inputs: ['app_*']}
  quality: {type: validate, inputs: [clean]}
sinks:
  rejects: {type: out, inputs: [quality.rejected]}
  letters: {type: out}
  main: {type: out, inputs: [quality], dead_letter: letters}
";

#[test]
fn a_good_file_becomes_a_graph_in_order() {
    let loaded = load(&[("t.yaml", GOOD)]);
    assert_eq!(loaded.report.render(), "");
    let config = loaded.config.unwrap();
    assert_eq!(config.globals.data_dir, PathBuf::from("./d"));
    assert_eq!(*config.globals.memory_limit, Size::mib(24));
    let ids: Vec<&str> = config.components.iter().map(|component| component.id.value.as_str()).collect();
    let place = |id: &str| ids.iter().position(|known| *known == id).unwrap();
    assert_eq!(ids.len(), 7);
    assert!(place("app_b") < place("clean") && place("clean") < place("quality") && place("quality") < place("main"));
    assert!(place("main") < place("letters"), "a dead letter is stopped after the sinks that use it");
    let clean = &config.components[place("clean")];
    assert_eq!((clean.kind, clean.type_name), (ComponentKind::Transform, "redact"));
    let inputs: Vec<String> = clean.inputs.iter().map(Edge::to_string).collect();
    assert_eq!(inputs, ["app_a", "app_b"]);
    assert_eq!(config.components[place("rejects")].inputs[0].to_string(), "quality.rejected");
}

#[test]
fn one_wrong_file_shows_every_mistake() {
    let files = [
        ("pipelines/edge.yaml", include_str!("fixtures/edge.yaml")),
        ("pipelines/more.yaml", include_str!("fixtures/more.yaml")),
    ];
    let loaded = load(&files);
    assert!(loaded.config.is_none());
    insta::assert_snapshot!(loaded.report.render());
}

#[test]
fn files_merge_and_a_key_given_twice_names_both_places() {
    let one = "data_dir: ./a\nsources:\n  app: {type: file, include: [a]}\nsinks:\n";
    let two = "data_dir: ./b\nsources:\n  app: {type: file, include: [b]}\nsinks:\n  out: {type: out, inputs: [app]}\n";
    insta::assert_snapshot!(load(&[("a.yaml", one), ("b.yaml", two)]).report.render());
    let three = "sinks:\n  out: {type: out, inputs: [app]}\ntests:\n";
    let loaded = load(&[("a.yaml", one), ("c.yaml", three)]);
    assert_eq!(loaded.report.render(), "");
    assert_eq!(loaded.config.unwrap().components.len(), 2);
}

#[test]
fn folders_are_read_in_order_and_missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b.yml"), "sinks:\n  out: {type: out, inputs: [app]}\n").unwrap();
    std::fs::write(dir.path().join("a.yaml"), "\u{feff}sources:\r\n  app: {type: file, include: [b]}\r\n").unwrap();
    std::fs::write(dir.path().join("c.txt"), "nonsense: 1").unwrap();
    let loaded = super::super::load(&[dir.path().to_owned()], &BTreeMap::new(), registry());
    assert_eq!(loaded.report.render(), "");
    let names: Vec<&str> = loaded.report.sources.files().iter().map(|file| file.name()).collect();
    assert!(names[0].ends_with("a.yaml") && names[1].ends_with("b.yml") && names.len() == 2);
    let missing = dir.path().join("none.yaml");
    let said = super::super::load(&[missing], &BTreeMap::new(), registry()).report.render();
    assert!(said.starts_with("error: cannot read `") && said.contains("none.yaml"), "{said}");
}

#[test]
fn warnings_do_not_stop() {
    let text = "\
sources:
  app: {type: file, include: [a], on_decode_error: reject}
  lost: {type: file, include: [b]}
  web: {type: http, listen: '0.0.0.0:9000'}
transforms:
  clean: {type: redact, inputs: [app, web]}
  quality: {type: validate, inputs: [clean]}
  split: {type: route, inputs: [quality]}
sinks:
  main: {type: out, inputs: [split.errors, split.errors]}
  around: {type: out, inputs: [app], dead_letter: letters}
  letters: {type: out}
";
    let loaded = load(&[("t.yaml", text)]);
    assert!(loaded.config.is_some());
    insta::assert_snapshot!(loaded.report.render());
}

#[test]
fn cycles_through_dead_letters_and_ports_taken_twice() {
    insta::assert_snapshot!(said(
        "\
api: {listen: '127.0.0.1:9000'}
sources:
  app: {type: file, include: [a]}
  web: {type: http, listen: '0.0.0.0:9000'}
  udp: {type: http, listen: 'udp://127.0.0.1:9000'}
  any: {type: http, listen: '127.0.0.1:0'}
sinks:
  one: {type: out, inputs: ['*'], dead_letter: two, listen: '127.0.0.1:0'}
  two: {type: out, dead_letter: one}
  three: {type: out, inputs: [app], dead_letter: three}
  four: {type: out, inputs: [app], dead_letter: app}
  five: {type: out}
"
    ));
}

#[test]
fn syntax_errors_have_a_place_and_plain_words() {
    let texts = [
        "sources:\n  app: {type: file, include: [a]\nsinks:\n",
        "sources:\n\tapp: {type: file}\n",
        "sources:\n  app:\n    type: file\n   include: [a]\n",
        "sources:\n  app: {type: file, include: [*.log]}\n",
        "sources:\n  a: \"\\d\"\n",
        "sources: a: b\n",
        "sources:\n  a: @x\n",
        "sources: 'abc\n",
        "transforms:\n  x: {type: validate, inputs: [a], to: {{ service }} }\n",
        "a: 1\n---\nb: 2\n",
        "a: &x [*x]\n",
        "- a\n",
        "just text\n",
        "",
        "<<: {a: 1}\nx: !!binary abc\n",
    ];
    let said: Vec<String> = texts.iter().map(|text| format!("{text:?}\n{}", said(text))).collect();
    insta::assert_snapshot!(said.join("\n----------\n"));
}

#[test]
fn the_schema_is_a_schema_of_every_type() {
    let schema = json_schema(registry());
    let text = serde_json::to_string_pretty(&schema).unwrap();
    for type_name in ["file", "http", "validate", "redact", "route", "out"] {
        assert!(text.contains(&format!("\"const\": \"{type_name}\"")), "{type_name}");
    }
    // Every reference leads somewhere.
    for reference in text.split("\"#/definitions/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schema["definitions"].get(name).is_some(), "{name}");
    }
}

#[test]
fn buffers_that_cannot_be_meant_are_mistakes() {
    let sink = |buffer: &str| {
        said(&format!(
            "sources:\n  a: {{type: file, include: [a]}}\nsinks:\n  o: {{type: out, inputs: [a], buffer: {buffer}}}\n"
        ))
    };
    assert_eq!(sink("{type: disk, max_size: 1MiB}"), "");
    assert_eq!(sink("{type: memory, when_full: overflow, overflow: {type: disk, max_size: 1MiB}}"), "");
    for (buffer, message) in [
        ("{type: disk, max_size: 1023KiB}", "less than 1MiB"),
        ("{type: memory, when_full: overflow}", "needs the buffer that it overflows to"),
        ("{type: memory, overflow: {type: disk, max_size: 1MiB}}", "with `when_full: overflow` only"),
        ("{type: memory, when_full: overflow, overflow: {type: disk, max_size: 9KiB}}", "less than 1MiB"),
    ] {
        assert!(sink(buffer).contains(message), "{buffer}: {}", sink(buffer));
    }
}

/// What users get wrong, and what they read then: one snapshot, to be read as they would.
#[test]
fn broken_configurations_get_a_message_that_helps() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/broken");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 60);
    let mut all = String::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = load_texts(&[(&name, &text)], &BTreeMap::new(), crate::registry::built_in());
        let said = loaded.report.render_within(Some(100));
        let warned_only = name.contains("nobody-reads") || name.contains("text-without-quotes");
        assert!(loaded.config.is_none() || warned_only, "{name} is taken");
        all.push_str(&format!("=== {name}\n{said}\n"));
    }
    insta::assert_snapshot!(all);
}

/// Excerpts fit into the terminal, with what is marked in them.
#[test]
fn excerpts_are_cut_to_the_terminal() {
    let before = "\"/var/log/a-long-name-of-a-service/*.log\", ".repeat(8);
    let text = format!("sources:\n  app: {{type: file, include: [{before}\"x\"], inclde: 1, exclude: [{before}]}}\n");
    let loaded = load_texts(&[("t.yaml", &text)], &BTreeMap::new(), crate::registry::built_in());
    for columns in [0, 20, 40, 80, 200] {
        let said = loaded.report.render_within(Some(columns));
        let lines: Vec<&str> = said.lines().collect();
        let marks = lines.iter().position(|line| line.contains("^^^^^^")).unwrap();
        let at = lines[marks].chars().take_while(|c| *c != '^').count();
        let marked: String = lines[marks - 1].chars().skip(at).take(6).collect();
        assert_eq!(marked, "inclde", "{columns}: {said}");
        let widest = lines[marks - 1].chars().count();
        assert!(widest <= columns.clamp(33, 170), "{columns}: {widest}");
    }
}

#[test]
fn mistakes_for_programs_have_their_places() {
    let loaded = load_texts(
        &[("a.yaml", "sources:\n  ä: {type: demo, rate: x}\n"), ("b.yaml", "threads: 1\nthreads: 2\n")],
        &BTreeMap::new(),
        crate::registry::built_in(),
    );
    let found = loaded.report.to_json();
    let short = |one: &serde_json::Value| {
        format!("{} {} {}:{}-{}", one["severity"], one["file"], one["line"], one["column"], one["end_column"])
    };
    let all: Vec<String> = found.as_array().unwrap().iter().map(short).collect();
    assert!(all.contains(&"\"error\" \"a.yaml\" 2:25-26".to_owned()), "{all:?}");
    let twice = found.as_array().unwrap().iter().find(|one| one["file"] == "b.yaml").unwrap();
    assert_eq!((&twice["line"], &twice["notes"][0]["line"]), (&2.into(), &1.into()), "{twice}");
}

/// Where a key is looked for behind which the blank is missing, anything may stand.
#[test]
fn keys_beside_letters_of_other_scripts_are_no_reason_to_panic() {
    for text in ["ä:[", "{ä€x:[}", "a:\nüb:c\n  d: [", "x: {Ж:\"}", "Ж_a:{", "€\n:[1"] {
        load(&[("t.yaml", text)]);
    }
}
