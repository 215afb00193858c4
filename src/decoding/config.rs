//! The `decode` setting of sources and of `parse`.

use super::access::AccessDecoder;
use super::auto::AutoDecoder;
use super::cri::CriDecoder;
use super::docker::DockerDecoder;
use super::logfmt::LogfmtDecoder;
use super::regex::{PatternError, RegexDecoder};
use super::syslog::SyslogDecoder;
use super::{FrameDecoder, JsonDecoder, TextDecoder};
use crate::component::{BuildContext, BuildError};
use crate::config::{Node, Reader, SchemaBuilder, Setting, config, config_choice, read_string};
use crate::framing::container::Format;
use crate::time::{TimestampReader, Zone};

config_choice! {
    /// How frames become events.
    pub enum DecodeSetting {
        /// Each frame is text, in `message`.
        Text = "text",
        /// Each frame is a JSON object whose members are the fields; JSON that is no object becomes the text of `message`.
        Json = "json",
        /// `key=value` pairs; values are text.
        Logfmt = "logfmt",
        /// RFC 5424, RFC 3164 and what devices make of them, told apart message by message; a header that is not read is an error.
        Syslog = "syslog",
        /// Access logs of Apache and nginx, common and combined.
        Access = "access",
        /// Container logs of containerd and CRI-O; split lines are joined.
        Cri = "cri",
        /// Container logs of Docker's json-file driver; split lines are joined.
        Docker = "docker",
        /// JSON if it parses, else text.
        Auto = "auto",
        /// The named groups of a regular expression.
        Regex(RegexSetting) = "regex",
    }
}

config! {
    /// Fields from the named groups of a pattern.
    pub struct RegexSetting {
        /// A regular expression with named groups, searched anywhere in the line: `^(?<level>\w+) (?<message>.*)$`.
        pub pattern: Pattern,
    }
}

/// A pattern that has been compiled once, so that it is known to be right.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern(String);

impl Setting for Pattern {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match RegexDecoder::new(text) {
            Ok(_) => Some(Pattern(text.to_owned())),
            Err(error) => {
                let message = format!("bad pattern for {}: {error}", cx.subject());
                match &error {
                    PatternError::NoNames => cx.error(node.span, message),
                    PatternError::Syntax { at, .. } => cx.error_in(node, at.clone(), message),
                };
                None
            }
        }
    }

    fn schema(_: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": "string"})
    }

    fn describe() -> String {
        "a regular expression with named groups".into()
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

impl DecodeSetting {
    /// The decoder it asks for.
    pub fn build(&self, cx: &BuildContext) -> Result<Box<dyn FrameDecoder>, BuildError> {
        self.decoder(&Zone::from_jiff(cx.timezone.clone()))
    }

    /// The decoder it asks for, where times that name no zone are local to `zone`.
    pub fn decoder(&self, zone: &Zone) -> Result<Box<dyn FrameDecoder>, BuildError> {
        Ok(match self {
            DecodeSetting::Text => Box::new(TextDecoder),
            DecodeSetting::Json => Box::new(JsonDecoder::default()),
            DecodeSetting::Logfmt => Box::new(LogfmtDecoder::default()),
            DecodeSetting::Syslog => Box::new(SyslogDecoder::new(TimestampReader::new(zone.clone(), Vec::new()))),
            DecodeSetting::Access => Box::new(AccessDecoder::default()),
            DecodeSetting::Cri => Box::new(CriDecoder),
            DecodeSetting::Docker => Box::new(DockerDecoder::default()),
            DecodeSetting::Auto => Box::new(AutoDecoder::default()),
            DecodeSetting::Regex(regex) => {
                Box::new(RegexDecoder::new(&regex.pattern.0).map_err(|error| BuildError(error.to_string()))?)
            }
        })
    }

    /// How the container runtime writes whose lines it decodes, where it does: sources join parts of messages then.
    pub fn container(&self) -> Option<Format> {
        match self {
            DecodeSetting::Cri => Some(Format::Cri),
            DecodeSetting::Docker => Some(Format::Docker),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::read_text;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Result<DecodeSetting, String> {
        let (value, report) = read_text::<DecodeSetting>("t.yaml", text, &BTreeMap::<String, String>::new());
        value.ok_or_else(|| report.render())
    }

    #[test]
    fn every_word_builds_its_decoder() {
        for word in ["text", "json", "logfmt", "syslog", "access", "cri", "docker", "auto"] {
            read(word).unwrap().decoder(&Zone::UTC).unwrap();
        }
        read(r"{regex: {pattern: '^(?<level>\w+) (?<message>.*)$'}}").unwrap().decoder(&Zone::UTC).unwrap();
    }

    #[test]
    fn a_bad_pattern_is_reported_at_its_place() {
        let report = read("{regex: {pattern: '^(?<a>x)(('}}").unwrap_err();
        assert!(report.contains("t.yaml:1:29") && report.contains("unclosed group"), "{report}");
        assert!(read("{regex: {pattern: 'x'}}").unwrap_err().contains("named group"));
        assert!(read("regex").unwrap_err().contains("pattern"));
    }
}
