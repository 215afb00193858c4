//! The `decode` setting of sources and of `parse`.

use super::access::AccessDecoder;
use super::access::formats::{FormatsDecoder, LogFormat};
use super::auto::AutoDecoder;
use super::cri::CriDecoder;
use super::docker::DockerDecoder;
use super::logfmt::LogfmtDecoder;
use super::regex::{PatternError, RegexDecoder};
use super::server::{Server, ServerDecoder};
use super::syslog::SyslogDecoder;
use super::{FrameDecoder, JsonDecoder, TextDecoder};
use crate::error::BuildError;
use crate::framing::container::Format;
use crate::settings::{config, config_choice, text_setting};
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
        /// Access logs of Apache and nginx, common and combined, or of formats that are named.
        Access(AccessSetting) = "access",
        /// nginx's error log.
        NginxError = "nginx_error",
        /// Apache's error log.
        ApacheError = "apache_error",
        /// klog, as Kubernetes writes it, and glog.
        Klog = "klog",
        /// HAProxy's log: HTTP, TCP, errors, with or without a header of syslog.
        Haproxy = "haproxy",
        /// PostgreSQL's text log, with the usual prefixes.
        Postgresql = "postgresql",
        /// The error log of MySQL and MariaDB, the general and the slow log.
        Mysql = "mysql",
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
    /// What the lines of an access log look like.
    pub struct AccessSetting {
        /// Formats in nginx's `log_format` or Apache's `LogFormat` syntax, alone or as whole directives; `common` and `combined` are
        /// those. The first that a line has the form of is taken. Without any, lines are read as common or combined.
        pub log_formats: Vec<FormatSetting> = Vec::new(),
    }
}

/// A format of an access log, known to be one.
#[derive(Debug, Clone)]
pub struct FormatSetting {
    text: String,
    format: LogFormat,
}

text_setting!(
    listed FormatSetting,
    "a format in the syntax of nginx's `log_format` or Apache's `LogFormat`",
    |text, node, cx| match LogFormat::compile(text) {
        Ok(format) => Some(FormatSetting { text: text.to_owned(), format }),
        Err(error) => {
            let message = format!("bad format for {}: {}", cx.subject(), error.message);
            cx.error_in(node, error.at, message);
            None
        }
    },
    |setting| setting.text.clone()
);

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

text_setting!(
    listed Pattern,
    "a regular expression with named groups",
    |text, node, cx| match RegexDecoder::new(text) {
        Ok(_) => Some(Pattern(text.to_owned())),
        Err(error) => {
            let message = format!("bad pattern for {}: {error}", cx.subject());
            match &error {
                PatternError::NoNames => cx.error(node.span, message),
                PatternError::Syntax { at, .. } => cx.error_in(node, at.clone(), message),
            };
            None
        }
    },
    |pattern| pattern.0.clone()
);

impl DecodeSetting {
    /// Whether it reads times, of which some name no zone.
    pub fn reads_times(&self) -> bool {
        use DecodeSetting::{Auto, Cri, Docker, Json, Logfmt, Regex, Text};
        !matches!(self, Text | Json | Logfmt | Auto | Cri | Docker | Regex(_))
    }

    /// The decoder it asks for, where times that name no zone are local to `timezone`.
    pub fn build(&self, timezone: &jiff::tz::TimeZone) -> Result<Box<dyn FrameDecoder>, BuildError> {
        self.decoder(&Zone::from_jiff(timezone.clone()))
    }

    /// The decoder it asks for, where times that name no zone are local to `zone`.
    pub fn decoder(&self, zone: &Zone) -> Result<Box<dyn FrameDecoder>, BuildError> {
        let times = || TimestampReader::new(zone.clone(), Vec::new());
        let server = |server| -> Box<dyn FrameDecoder> { Box::new(ServerDecoder::new(server, times())) };
        Ok(match self {
            DecodeSetting::Text => Box::new(TextDecoder),
            DecodeSetting::Json => Box::new(JsonDecoder::default()),
            DecodeSetting::Logfmt => Box::new(LogfmtDecoder::default()),
            DecodeSetting::Syslog => Box::new(SyslogDecoder::new(times())),
            DecodeSetting::Access(access) if access.log_formats.is_empty() => Box::new(AccessDecoder::default()),
            DecodeSetting::Access(access) => {
                let formats: Vec<LogFormat> = access.log_formats.iter().map(|setting| setting.format.clone()).collect();
                Box::new(FormatsDecoder::new(&formats))
            }
            DecodeSetting::NginxError => server(Server::Nginx),
            DecodeSetting::ApacheError => server(Server::Apache),
            DecodeSetting::Klog => server(Server::Klog),
            DecodeSetting::Haproxy => server(Server::Haproxy),
            DecodeSetting::Postgresql => server(Server::Postgresql),
            DecodeSetting::Mysql => server(Server::Mysql),
            DecodeSetting::Cri => Box::new(CriDecoder),
            DecodeSetting::Docker => Box::new(DockerDecoder::default()),
            DecodeSetting::Auto => Box::new(AutoDecoder::default()),
            DecodeSetting::Regex(regex) => Box::new(RegexDecoder::new(&regex.pattern.0).map_err(BuildError::config)?),
        })
    }

    /// `access` without formats of its own.
    pub fn access() -> Self {
        DecodeSetting::Access(AccessSetting { log_formats: Vec::new() })
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
    use crate::settings::read_text;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Result<DecodeSetting, String> {
        let (value, report) = read_text::<DecodeSetting>("t.yaml", text, &BTreeMap::<String, String>::new());
        value.ok_or_else(|| report.render())
    }

    #[test]
    fn every_word_builds_its_decoder() {
        for word in [
            "text",
            "json",
            "logfmt",
            "syslog",
            "access",
            "cri",
            "docker",
            "auto",
            "nginx_error",
            "apache_error",
            "klog",
            "haproxy",
            "postgresql",
            "mysql",
        ] {
            read(word).unwrap().decoder(&Zone::UTC).unwrap();
        }
        read("{access: {log_formats: ['$remote_addr $status', combined]}}").unwrap().decoder(&Zone::UTC).unwrap();
        read(r"{regex: {pattern: '^(?<level>\w+) (?<message>.*)$'}}").unwrap().decoder(&Zone::UTC).unwrap();
    }

    #[test]
    fn a_bad_pattern_is_reported_at_its_place() {
        let report = read("{regex: {pattern: '^(?<a>x)(('}}").unwrap_err();
        assert!(report.contains("t.yaml:1:29") && report.contains("unclosed group"), "{report}");
        let report = read("{access: {log_formats: ['$a', 'x']}}").unwrap_err();
        assert!(report.contains("t.yaml:1:32") && report.contains("needs a variable"), "{report}");
        assert!(read("{regex: {pattern: 'x'}}").unwrap_err().contains("named group"));
        assert!(read("regex").unwrap_err().contains("pattern"));
    }
}
