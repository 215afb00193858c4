//! Tests of reading settings.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unreachable_pub, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

config! {
    /// Common keys.
    pub struct Common {
        /// Keep only what matches.
        pub when: Option<String>,
    }
}

config_enum! {
    /// Where to begin.
    pub enum StartAt {
        /// From the first byte.
        Beginning = "beginning",
        /// Only what is appended.
        End = "end",
    }
}

config! {
    /// Joins lines.
    pub struct Multiline {
        /// Regex of a first line.
        pub start: String,
        /// How long to wait.
        pub timeout: Duration = Duration::from_secs(1),
    }
}

config_enum! {
    /// Presets.
    pub enum Preset {
        /// Java.
        Java = "java",
        /// Go.
        Go = "go",
    }
}

config_union! {
    /// Preset or own.
    pub enum MultilineSetting {
        Preset(Preset),
        Own(Multiline),
    }
}

config! {
    /// Regex decoding.
    pub struct RegexDecode {
        /// The pattern.
        pub pattern: String,
    }
}

config! {
    /// Syslog decoding.
    pub struct SyslogDecode {
        /// Strict.
        pub strict: bool = false,
    }
}

config_choice! {
    /// How to decode.
    pub enum Decode {
        /// Lines.
        Text = "text",
        /// Named groups.
        Regex(RegexDecode) = "regex",
        /// Syslog.
        Syslog(SyslogDecode) = "syslog",
    }
}

config! {
    pub struct MemoryBuffer {
        /// Most bytes.
        pub max_bytes: Size = Size::mib(8),
    }
}

config! {
    pub struct DiskBuffer {
        /// Most bytes.
        pub max_size: Size,
    }
}

config_tagged! {
    /// A queue.
    pub enum Buffer {
        /// In memory.
        Memory(MemoryBuffer) = "memory",
        /// On disk.
        Disk(DiskBuffer) = "disk",
    }
}

config! {
    /// Reads files.
    pub struct Example {
        /// Globs.
        pub include: Vec<String>,
        /// Where to start.
        pub start_at: StartAt = StartAt::Beginning,
        /// Longest line.
        pub max_line_bytes: Size = Size::kib(1024),
        /// Joins lines.
        pub multiline: Option<MultilineSetting> = None,
        /// How to decode.
        pub decode: Decode = Decode::Text,
        /// A queue.
        pub buffer: Buffer = Buffer::Memory(MemoryBuffer::defaults()),
        /// How many.
        pub port: u16 = 80,
        /// Who.
        pub password: Option<Secret>,
        /// Any.
        pub fields: Map<serde_json::Value> = Map::default(),
        /// Names a reserved word.
        pub r#type: Option<String>,
        flatten pub common: Common,
    }
}

fn read(text: &str) -> (Option<Example>, String) {
    read_with(text, &[])
}

fn read_with(text: &str, environment: &[(&str, &str)]) -> (Option<Example>, String) {
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let (value, report) = read_text("t.yaml", text, &environment);
    (value, report.render())
}

#[test]
fn a_block_with_defaults_and_all_forms() {
    let (value, said) = read("include: [a, b]");
    assert_eq!(said, "");
    let value = value.unwrap();
    assert_eq!(value.include, ["a", "b"]);
    assert_eq!(value.start_at, StartAt::Beginning);
    assert_eq!(value.max_line_bytes.bytes(), 1 << 20);
    assert!(value.multiline.is_none() && value.common.when.is_none());
    assert!(matches!(value.buffer, Buffer::Memory(_)));

    let (value, said) = read(
        "include: [a]\nstart_at: end\nmax_line_bytes: 64KiB\nmultiline: {start: '^x', timeout: 500ms}\n\
         decode: {regex: {pattern: x}}\nbuffer: {type: disk, max_size: 1GiB}\nwhen: yes\ntype: t\n\
         fields: {a: 1.10, b: [x, null]}",
    );
    assert_eq!(said, "");
    let value = value.unwrap();
    let Some(MultilineSetting::Own(multiline)) = value.multiline else { panic!("own") };
    assert_eq!(multiline.timeout, Duration::from_millis(500));
    assert!(matches!(value.decode, Decode::Regex(RegexDecode { pattern }) if pattern == "x"));
    assert!(matches!(value.buffer, Buffer::Disk(disk) if disk.max_size == Size::gib(1)));
    assert_eq!(value.fields.get("a").unwrap().to_string(), "1.10");
    assert!(matches!(read("{include: [], multiline: java, decode: syslog}").0.unwrap().decode, Decode::Syslog(_)));
}

#[test]
fn every_mistake_is_said_at_its_place() {
    let (value, said) = read(
        "inclde: [a]\nstart_at: begining\nmax_line_bytes: 64 parsecs\nmultiline: {start: 5, timout: 1s, timeout: 5}\n\
         decode: {regx: {pattern: x}}\nbuffer: {type: disk, max_sie: 1GiB}\nport: 70000\nwhen: 1\n",
    );
    assert!(value.is_none());
    insta::assert_snapshot!(said);
}

#[test]
fn interpolation_fills_every_kind() {
    let (value, said) = read_with(
        "include: ['${A}', \"x$$y$z\", '${B:-d}', '${C:-${A}}', '$${A}']\nport: ${PORT}\nmax_line_bytes: '${SIZE}'\npassword: ${PW}",
        &[("A", "[x]"), ("PORT", "81"), ("SIZE", "5KiB"), ("PW", "123"), ("C", "")],
    );
    assert_eq!(said, "");
    let value = value.unwrap();
    assert_eq!(value.include, ["[x]", "x$y$z", "d", "[x]", "${A}"]);
    assert_eq!((value.port, value.max_line_bytes.bytes()), (81, 5120));
    assert_eq!(value.password.unwrap().reveal(), "123");
    assert!(read("include: []\nport: '81'").1.contains("leave the quotes out"));
}

#[test]
fn interpolation_mistakes_are_said_once_and_without_values() {
    let (_, said) = read_with(
        "include: ['a${NOPE}b', '${X:?must be set}', '${open', '${1}', '${A-b}']\nport: ${PORT}\n",
        &[("PORT", "canary-port")],
    );
    assert!(!said.contains("canary"), "{said}");
    insta::assert_snapshot!(said);
}
