//! What users of other agents write: keys, types and whole files, and what they are called here.
//!
//! Names are compared without case, `-` as `_`. A name is proposed only where it exists at the place, so the tables may hold
//! several for one.

/// Keys of others, each with what may be meant here, the likeliest first.
const KEYS: &[(&str, &[&str])] = &[
    ("address", &["listen", "url"]),
    ("bind", &["listen"]),
    ("charset_encoding", &["charset"]),
    ("codec", &["decode", "encoding"]),
    ("condition", &["when"]),
    ("conditions", &["when", "rules"]),
    ("delete", &["remove"]),
    ("dest", &["path", "url"]),
    ("destination", &["path", "url"]),
    ("drop_fields", &["remove"]),
    ("endpoint", &["url", "endpoints", "listen"]),
    ("endpoints", &["url"]),
    ("exclude_files", &["exclude"]),
    ("exclude_path", &["exclude"]),
    ("exclude_paths", &["exclude"]),
    ("exclude_pattern", &["exclude"]),
    ("expr", &["when"]),
    ("fields_under_root", &["keep_rest"]),
    ("file", &["path", "include"]),
    ("filename", &["path"]),
    ("files", &["include"]),
    ("filter", &["when"]),
    ("format", &["decode", "encoding"]),
    ("from_beginning", &["start_at"]),
    ("globs", &["include"]),
    ("group_by", &["by"]),
    ("if", &["when"]),
    ("ignore_older_secs", &["ignore_older"]),
    ("index", &["stream"]),
    ("initial_position", &["start_at"]),
    ("key_field", &["key"]),
    ("org", &["organization"]),
    ("parser", &["decode"]),
    ("parsers", &["decode"]),
    ("path", &["include"]),
    ("paths", &["include"]),
    ("pattern", &["patterns"]),
    ("poll_interval", &["glob_interval"]),
    ("port", &["listen"]),
    ("position", &["start_at"]),
    ("ratio", &["rate"]),
    ("read_from", &["start_at"]),
    ("read_from_head", &["start_at"]),
    ("remove_fields", &["remove"]),
    ("rename_fields", &["rename"]),
    ("sample_rate", &["rate"]),
    ("sampling_percentage", &["rate"]),
    ("sources", &["inputs"]),
    ("start_position", &["start_at"]),
    ("streams", &["stream"]),
    ("target", &["url", "path"]),
    ("uri", &["url"]),
    ("where", &["when"]),
];

/// Types that run scripts.
const SCRIPTS: [&str; 6] = ["lua", "remap", "script", "vrl", "javascript", "starlark"];

const NO_SCRIPTS: &str =
    "there is no scripting language; `normalize`, `edit`, `parse` and `when: …` do what most scripts do";

/// What to do in place of a type that has no like here.
pub(crate) fn type_hint(name: &str) -> Option<&'static str> {
    SCRIPTS.contains(&&*folded(name)).then_some(NO_SCRIPTS)
}

/// What is done with a key of others where there is no key for it.
const HINTS: &[(&str, &str)] = &[
    ("forward_to", "a component names what it reads: write `inputs: [this]` in what is to read it"),
    ("match", "there are no tags: a component names what it reads with `inputs: […]`"),
    ("next", "a component names what it reads: write `inputs: [this]` in what is to read it"),
    ("output", "a component names what it reads: write `inputs: [this]` in what is to read it"),
    ("outputs", "a component names what it reads: write `inputs: [this]` in what is to read it"),
    ("tag", "there are no tags: a component names what it reads with `inputs: […]`"),
    ("source", NO_SCRIPTS),
];

/// Types of others, each with what does that here, the likeliest first.
const TYPES: &[(&str, &[&str])] = &[
    ("add_fields", &["edit"]),
    ("aggregate", &["prometheus"]),
    ("amazon_s3", &["file"]),
    ("debug", &["console"]),
    ("dedot", &["edit"]),
    ("dedupe", &["sample"]),
    ("demo_logs", &["demo"]),
    ("dissect", &["parse"]),
    ("docker", &["file"]),
    ("docker_logs", &["file"]),
    ("drop", &["filter", "blackhole"]),
    ("dummy", &["demo"]),
    ("es", &["elasticsearch"]),
    ("exclude", &["filter"]),
    ("filelog", &["file"]),
    ("filestream", &["file"]),
    ("forward", &["http"]),
    ("generate", &["demo"]),
    ("generator", &["demo"]),
    ("geoip", &["enrich"]),
    ("grep", &["filter"]),
    ("grok", &["parse"]),
    ("grok_parser", &["parse"]),
    ("http_json", &["http"]),
    ("http_server", &["http"]),
    ("json_parser", &["parse"]),
    ("keep", &["filter"]),
    ("kubernetes", &["file", "enrich"]),
    ("kubernetes_logs", &["file"]),
    ("log", &["file"]),
    ("log_to_metric", &["prometheus"]),
    ("logs", &["file"]),
    ("lookup", &["enrich"]),
    ("mask", &["redact"]),
    ("modify", &["edit"]),
    ("multiline", &["join"]),
    ("mutate", &["edit"]),
    ("null", &["blackhole"]),
    ("opensearch", &["elasticsearch"]),
    ("opentelemetry", &["http", "otlp"]),
    ("otlp", &["http"]),
    ("otlphttp", &["otlp"]),
    ("parser", &["parse"]),
    ("pii", &["redact"]),
    ("print", &["console"]),
    ("probabilistic_sampler", &["sample"]),
    ("prom", &["prometheus"]),
    ("prometheus_exporter", &["prometheus"]),
    ("prometheus_remote_write", &["prometheus", "http"]),
    ("record_modifier", &["edit"]),
    ("record_transformer", &["edit"]),
    ("redaction", &["redact"]),
    ("reduce", &["join"]),
    ("regex_parser", &["parse"]),
    ("remove_fields", &["edit"]),
    ("rename", &["edit"]),
    ("rename_fields", &["edit"]),
    ("rewrite_tag", &["route"]),
    ("sampler", &["sample"]),
    ("socket", &["syslog"]),
    ("split", &["route"]),
    ("stdout", &["console"]),
    ("swimlanes", &["route"]),
    ("switch", &["route"]),
    ("tail", &["file"]),
    ("tcp", &["syslog"]),
    ("tcplog", &["syslog"]),
    ("throttle", &["sample"]),
    ("udp", &["syslog"]),
    ("udplog", &["syslog"]),
    ("useragent", &["enrich"]),
    ("vector", &["http", "otlp"]),
];

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

fn row<T: Copy>(table: &'static [(&'static str, T)], name: &str) -> Option<T> {
    let name = folded(name);
    table.iter().find(|(foreign, _)| *foreign == name).map(|(_, here)| *here)
}

/// The key that stands here for `key` of another agent, among those that there are.
pub(crate) fn key_here<'k>(key: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    row(KEYS, key)?.iter().find_map(|here| known.clone().find(|name| name == here))
}

/// What to do in place of a key that has no like here.
pub(crate) fn hint(key: &str) -> Option<&'static str> {
    row(HINTS, key)
}

/// The type that does here what `name` does elsewhere, among those that there are.
pub(crate) fn type_here<'k>(name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    row(TYPES, name)?.iter().find_map(|here| known.clone().find(|name| name == here))
}

/// The value that stands behind a colon without a blank: `type:file` is the key `type` with the value `file`.
pub(crate) fn glued(key: &str, is_known: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    key.split_once(':').filter(|(name, value)| is_known(name) && !value.is_empty())
}

/// A file in the language of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// What it is: "a configuration of Fluent Bit".
    pub(crate) what: &'static str,
    /// What to do.
    pub(crate) help: &'static str,
    /// Bytes of the text that show it.
    pub(crate) shown_by: std::ops::Range<usize>,
}

const REWRITE: &str = "a configuration of tidegate has `sources`, `transforms` and `sinks`; `tidegate schema` and docs/configuration.md \
    say what they hold";

/// Tells by its looks that a text is for another program. A text with a section of ours is ours, unless it is TOML.
pub(crate) fn recognise(name: &str, text: &str) -> Option<Foreign> {
    let mut at = 0;
    let lines: Vec<(usize, &str)> = text
        .split_inclusive('\n')
        .map(|line| {
            at += line.len();
            (at - line.len(), line.trim_end())
        })
        .filter(|(_, line)| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'))
        .take(500)
        .collect();
    let found = |(at, line): &(usize, &str), what, help| Some(Foreign { what, help, shown_by: *at..*at + line.len() });
    let first = lines.first()?;
    if let Some(section) = lines.iter().find(|(_, line)| is_toml_section(line)) {
        let upper = section.1.chars().all(|c| !c.is_ascii_lowercase());
        if upper && ["[INPUT]", "[OUTPUT]", "[SERVICE]", "[FILTER]", "[PARSER]"].contains(&section.1) {
            return found(section, "a configuration of Fluent Bit", REWRITE);
        }
        let assigns = lines.iter().any(|(_, line)| is_assignment(line));
        if assigns || name.ends_with(".toml") {
            let vector =
                ["sources.", "transforms.", "sinks."].iter().any(|part| section.1.starts_with(&format!("[{part}")));
            let help = if vector {
                "write it as YAML: `[sources.app]` is `sources: {app: {…}}`; types and keys may have other names here"
            } else {
                "write it as YAML"
            };
            return found(section, "TOML", help);
        }
    }
    let top: Vec<(usize, &str)> = lines.iter().filter_map(|(at, line)| Some((*at, top_key(line)?))).collect();
    let has = |key: &str| top.iter().find(|(_, known)| *known == key);
    if ["sources", "sinks", "transforms"].iter().any(|section| has(section).is_some()) {
        return None;
    }
    if let (Some(at), true) = (has("pipeline"), lines.iter().any(|(_, l)| matches!(l.trim(), "inputs:" | "outputs:"))) {
        return found(at, "a configuration of Fluent Bit", REWRITE);
    }
    if let (Some(at), true) = (has("receivers"), has("service").or(has("exporters")).is_some()) {
        return found(at, "a configuration of the OpenTelemetry collector", REWRITE);
    }
    if let Some(at) = top.iter().find(|(_, key)| key.starts_with("filebeat.") || *key == "filebeat") {
        return found(at, "a configuration of Filebeat", REWRITE);
    }
    if let Some(at) = has("scrape_configs") {
        let what = match has("clients").or(has("positions")) {
            Some(_) => "a configuration of Promtail",
            None => "a configuration of Prometheus",
        };
        return found(at, what, REWRITE);
    }
    if let (Some(at), true) = (has("apiVersion"), has("kind").is_some()) {
        return found(at, "a Kubernetes manifest", "give the file that is in it, the text under a ConfigMap's `data`");
    }
    let first_word = first.1.trim_start();
    let starts = |words: &[&str]| words.iter().any(|word| first_word.starts_with(word));
    if starts(&["<source>", "<match", "<filter", "<system>"]) {
        return found(first, "a configuration of Fluentd", REWRITE);
    }
    if starts(&["@version:", "@include \""]) {
        return found(first, "a configuration of syslog-ng", REWRITE);
    }
    if starts(&["module(", "$ModLoad", "$template", "input(type="]) {
        return found(first, "a configuration of rsyslog", REWRITE);
    }
    if ["input {", "filter {", "output {"].contains(&first_word) {
        return found(first, "a configuration of Logstash", REWRITE);
    }
    None
}

/// `[name]` or `[[name]]` alone on a line.
fn is_toml_section(line: &str) -> bool {
    let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-\"".contains(&b))
}

/// `name = value`.
fn is_assignment(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(name, _)| {
        let name = name.trim();
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-\"".contains(&b))
    })
}

/// The key of a YAML line that is not indented.
fn top_key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    let bare = !key.is_empty() && !key.starts_with([' ', '\t', '-', '[', '{', '"', '<', '@']);
    (bare && !key.contains(' ')).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_proposed_exists() {
        let registry = crate::registry::built_in();
        let reference = crate::pipeline::reference::markdown(registry, None).unwrap();
        // What comes with a part that is not built yet stands in the tables already.
        let later = ["elasticsearch", "otlp", "join", "endpoints", "charset"];
        for (foreign, here) in KEYS {
            for name in here.iter().filter(|name| !later.contains(name)) {
                let is_key = reference.contains(&format!("| `{name}` |"));
                assert!(is_key, "`{foreign}` is said to be `{name}`, which is no key");
            }
        }
        let types: Vec<&str> = registry.names().into_iter().map(|(_, name)| name).collect();
        for (foreign, here) in TYPES {
            for name in here.iter().filter(|name| !later.contains(name)) {
                assert!(types.contains(name), "`{foreign}` is said to be `{name}`, which is no type");
            }
        }
        for table in [KEYS.iter().map(|r| r.0).collect::<Vec<_>>(), TYPES.iter().map(|r| r.0).collect()] {
            assert!(table.iter().all(|name| folded(name) == *name));
        }
    }

    #[test]
    fn files_of_others_are_told_by_their_looks_and_ours_are_not() {
        let what =
            |name: &str, text: &str| recognise(name, text).map(|found| (found.what, text[found.shown_by].to_owned()));
        for (text, right) in [
            ("# x\n[SERVICE]\n  Flush 1\n[INPUT]\n  Name tail\n", "a configuration of Fluent Bit"),
            ("service:\n  flush: 1\npipeline:\n  inputs:\n    - name: tail\n", "a configuration of Fluent Bit"),
            ("data_dir = \"x\"\n\n[sources.in]\ntype = \"file\"\n", "TOML"),
            ("[[inputs.tail]]\n  files = [\"x\"]\n", "TOML"),
            ("receivers:\n  filelog:\nservice:\n  pipelines:\n", "a configuration of the OpenTelemetry collector"),
            ("filebeat.inputs:\n- type: log\n", "a configuration of Filebeat"),
            (
                "server:\n  http_listen_port: 9080\nclients:\n  - url: x\nscrape_configs:\n",
                "a configuration of Promtail",
            ),
            ("global:\n  scrape_interval: 1s\nscrape_configs:\n", "a configuration of Prometheus"),
            ("apiVersion: v1\nkind: ConfigMap\n", "a Kubernetes manifest"),
            ("<source>\n  @type tail\n</source>\n", "a configuration of Fluentd"),
            ("@version: 4.2\n@include \"scl.conf\"\n", "a configuration of syslog-ng"),
            ("module(load=\"imuxsock\")\n*.* /var/log/x\n", "a configuration of rsyslog"),
            ("input {\n  file { path => \"/x\" }\n}\n", "a configuration of Logstash"),
        ] {
            assert_eq!(what("x", text).map(|found| found.0), Some(right), "{text}");
        }
        assert_eq!(what("x", "# y\n[sources.in]\na = 1").unwrap().1, "[sources.in]");
        for ours in [
            "",
            "# [SERVICE]\n",
            "data_dir: x\nsources:\n  a: {type: file, include:\n[x]\n}\n",
            "sources: {a: {type: demo}}\npipeline: 1\ninputs:\n",
            "tests:\n- name: x = y\n",
            "memory_limit: 5MiB\n",
        ] {
            assert_eq!(what("x", ours), None, "{ours}");
        }
    }

    #[test]
    fn a_key_of_others_is_proposed_only_where_its_like_is_known() {
        let known = ["include", "start_at", "type"];
        let here = |key| key_here(key, known.iter().copied());
        assert_eq!(
            [here("read_from"), here("Read-From-Head"), here("paths"), here("condition"), here("x")],
            [Some("start_at"), Some("start_at"), Some("include"), None, None]
        );
        assert_eq!(glued("type:file", |key| key == "type"), Some(("type", "file")));
        assert_eq!([glued("type:", |_| true), glued("a:b", |_| false)], [None, None]);
    }
}
