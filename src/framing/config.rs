//! The `multiline` setting.

use std::sync::Arc;
use std::time::Duration;

use super::Framing;
use super::container::{self, TooLong};
use super::multiline::{Limits, Mode, Multiline, Preset, RuleError};
use crate::error::BuildError;
use crate::settings::{
    FieldDoc, Node, OneOrMany, Reader, SchemaBuilder, Setting, Size, config, config_enum, config_union, text_setting,
};

config_enum! {
    /// A built-in rule.
    pub enum PresetSetting {
        /// The frames and causes of stack traces of Java and its like belong to the line above, which names the exception, and
        /// that to the line with a date above it, unless that one's level is below a warning.
        Java = "java",
        /// A traceback, to the line that names the exception; chained ones belong together, and to the line with a date above
        /// them, as with `java`.
        Python = "python",
        /// A panic with its goroutines.
        Go = "go",
        /// Frames and causes belong to the line above, Rails' too.
        Ruby = "ruby",
        /// An error with its frames and members, and what stands above and below one that nobody caught.
        Node = "node",
        /// `Stack trace:`, its numbered lines and where it was thrown; Laravel's and Monolog's `[stacktrace]`.
        Php = "php",
        /// A panic with its message, notes and backtrace; an error with its causes.
        Rust = "rust",
        /// Frames and inner exceptions belong to the line above; what ASP.NET's console writes below a category.
        Dotnet = "dotnet",
        /// A line that begins with white space belongs to the line above.
        Indent = "indent",
    }
}

config_enum! {
    /// How `condition` continues or ends an event that `start` has opened.
    pub enum ModeSetting {
        /// Lines that match belong to the event.
        ContinueThrough = "continue_through",
        /// As long as a line matches, the next one belongs too.
        ContinuePast = "continue_past",
        /// Lines up to one that matches, that one excluded.
        HaltBefore = "halt_before",
        /// Lines up to one that matches, that one included.
        HaltWith = "halt_with",
    }
}

config! {
    /// A rule for joining lines.
    pub struct RuleSetting {
        /// A line that matches opens an event; other lines stand alone.
        pub start: LinePattern,
        /// How `condition` continues or ends it.
        pub mode: ModeSetting,
        /// What the lines after the first are searched for.
        pub condition: LinePattern,
        /// An open event is closed when no line came for this long.
        pub timeout: Duration = Duration::from_secs(1),
        /// Most lines of one event; further ones make the next event.
        pub max_lines: u32 = Limits::default().max_lines,
        /// Most bytes of one event; further lines make the next event.
        pub max_bytes: Size = Size::mib(1),
    }
}

config! {
    /// Built-in rules with limits of their own.
    struct PresetKeys {
        /// One built-in rule or several.
        preset: OneOrMany<PresetSetting>,
        /// An open event is closed when no line came for this long.
        timeout: Duration = Duration::from_secs(1),
        /// Most lines of one event; further ones make the next event.
        max_lines: u32 = Limits::default().max_lines,
        /// Most bytes of one event; further lines make the next event.
        max_bytes: Size = Size::mib(1),
    }
}

/// As [`PresetKeys`], told from a rule by its key `preset`.
#[derive(Debug, Clone)]
pub struct LimitedPresets(PresetKeys);

impl Setting for LimitedPresets {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        PresetKeys::read(node, cx).map(LimitedPresets)
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        PresetKeys::schema(g)
    }

    fn describe() -> String {
        "a mapping with `preset`".into()
    }

    fn accepts(node: &Node) -> bool {
        node.as_map().is_some_and(|map| map.iter().any(|entry| entry.key.as_str() == "preset"))
    }

    fn fields() -> Vec<FieldDoc> {
        PresetKeys::fields()
    }
}

config_union! {
    /// Which lines make one event.
    pub enum MultilineSetting {
        /// A built-in rule.
        Preset(PresetSetting),
        /// Several of them.
        Presets(Vec<PresetSetting>),
        /// One or several, with limits of their own.
        Limited(LimitedPresets),
        /// A rule of its own.
        Rule(RuleSetting),
    }
}

/// A regular expression on a line, known to compile.
#[derive(Debug, Clone, PartialEq)]
pub struct LinePattern(String);

text_setting!(
    listed LinePattern,
    "a regular expression",
    |text, node, cx| match Multiline::rule(text, Mode::HaltBefore, "", Limits::default()) {
        Ok(_) => Some(LinePattern(text.to_owned())),
        Err(RuleError { source, .. }) => {
            let (at, message) = crate::settings::explain_pattern(text, &source);
            let message = format!("bad pattern for {}: {message}", cx.subject());
            cx.error_in(node, at, message);
            None
        }
    },
    |pattern| pattern.0.clone()
);

impl PresetSetting {
    fn preset(self) -> Preset {
        match self {
            PresetSetting::Java => Preset::Java,
            PresetSetting::Python => Preset::Python,
            PresetSetting::Go => Preset::Go,
            PresetSetting::Ruby => Preset::Ruby,
            PresetSetting::Node => Preset::Node,
            PresetSetting::Php => Preset::Php,
            PresetSetting::Rust => Preset::Rust,
            PresetSetting::Dotnet => Preset::Dotnet,
            PresetSetting::Indent => Preset::Indent,
        }
    }
}

fn limits(timeout: Duration, max_lines: u32, max_bytes: Size) -> Limits {
    Limits {
        timeout_nanos: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX),
        max_lines: max_lines.max(1),
        max_bytes: max_bytes.as_usize(),
    }
}

impl MultilineSetting {
    /// The rule, ready to be shared by the files of a source.
    ///
    /// Errors: none for settings that were read; patterns have been compiled then.
    pub fn build(&self) -> Result<Multiline, RuleError> {
        match self {
            MultilineSetting::Preset(preset) => Ok(Multiline::preset(preset.preset(), Limits::default())),
            MultilineSetting::Presets(presets) => {
                let presets = presets.iter().map(|preset| preset.preset()).collect();
                Ok(Multiline::presets(presets, Limits::default()))
            }
            MultilineSetting::Limited(LimitedPresets(keys)) => {
                let presets = keys.preset.iter().map(|preset| preset.preset()).collect();
                Ok(Multiline::presets(presets, limits(keys.timeout, keys.max_lines, keys.max_bytes)))
            }
            MultilineSetting::Rule(rule) => {
                let mode = match rule.mode {
                    ModeSetting::ContinueThrough => Mode::ContinueThrough,
                    ModeSetting::ContinuePast => Mode::ContinuePast,
                    ModeSetting::HaltBefore => Mode::HaltBefore,
                    ModeSetting::HaltWith => Mode::HaltWith,
                };
                let limits = limits(rule.timeout, rule.max_lines, rule.max_bytes);
                Multiline::rule(&rule.start.0, mode, &rule.condition.0, limits)
            }
        }
    }
}

/// What of container messages is set beside `multiline`.
#[derive(Clone, Copy, Debug)]
pub struct PartLimits {
    /// `partial_timeout`.
    pub timeout: Duration,
    /// Longest line.
    pub max_bytes: usize,
    /// What becomes of longer ones.
    pub too_long: TooLong,
}

/// The framing a source needs: what `multiline` asks for, and whose lines its decoder takes; `None` where each line is a frame.
pub fn framing(
    multiline: Option<&MultilineSetting>,
    container: Option<container::Format>,
    parts: PartLimits,
) -> Result<Option<Framing>, BuildError> {
    let build = |setting: &MultilineSetting| setting.build().map(Arc::new).map_err(BuildError::config);
    let multiline = multiline.map(build).transpose()?;
    Ok(match container {
        None => multiline.map(Framing::Lines),
        Some(format) => Some(Framing::Containers(Arc::new(container::Rule {
            format,
            multiline,
            partial_timeout_nanos: u64::try_from(parts.timeout.as_nanos()).unwrap_or(u64::MAX),
            max_bytes: parts.max_bytes,
            too_long: parts.too_long,
        }))),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::read_text;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Result<MultilineSetting, String> {
        let (value, report) = read_text::<MultilineSetting>("t.yaml", text, &BTreeMap::<String, String>::new());
        value.ok_or_else(|| report.render())
    }

    #[test]
    fn presets_and_rules_are_read() {
        for word in ["java", "python", "go", "ruby", "node", "php", "rust", "dotnet", "indent"] {
            read(word).unwrap().build().unwrap();
        }
        read("[java, python]").unwrap().build().unwrap();
        let limited = read("{preset: [go, indent], timeout: 200ms, max_lines: 3}").unwrap().build().unwrap();
        assert_eq!((limited.limits().timeout_nanos, limited.limits().max_lines), (200_000_000, 3));
        read("{preset: java}").unwrap().build().unwrap();
        read(r"{start: '^\d', mode: halt_before, condition: '^\d', timeout: 200ms, max_lines: 20, max_bytes: 64KiB}")
            .unwrap()
            .build()
            .unwrap();
    }

    #[test]
    fn mistakes_are_placed() {
        let report = read("start: '^[a'\nmode: halt_befor\n").unwrap_err();
        for part in ["bad pattern for `start`: unclosed character class", "did you mean `halt_before`", "`condition`"] {
            assert!(report.contains(part), "{part}\n{report}");
        }
        assert!(read("jav").unwrap_err().contains("did you mean `java`"));
        assert!(read("[java, pyton]").unwrap_err().contains("did you mean `python`"));
        assert!(read("{preset: java, start: x}").unwrap_err().contains("unknown key `start`"));
    }
}
