//! Access logs by the format that the server was given: nginx's `log_format`, Apache's `LogFormat`.
//!
//! ```yaml
//! decode: {access: {log_formats: ['$remote_addr [$time_local] "$request" $status $request_time', combined]}}
//! decode: {access: {log_formats: ['%h %l %u %t "%r" %>s %b %D']}}
//! ```
//!
//! A format is the text alone, or the whole directive as it stands in the server's configuration; `common`, `combined` and
//! `vhost_combined` are the built-in ones. The first that a line has the form of is taken; a line of no format is an error.
//!
//! Variables that the built-in formats have too give the same fields (`$remote_addr` and `%h` are `client_ip`); others give one of
//! their own name (`$upstream_addr` is `upstream_addr`, `%{X-Id}i` is `http_x_id`). Where two would give one field, the first does, and
//! the second keeps its own name. `-` gives an absent field. What is a number by its variable becomes one.
//!
//! Source: nginx's `ngx_http_log_module`, Apache's `mod_log_config`.

use std::ops::Range;
use std::sync::Arc;

use super::{AccessDecoder, AccessLine, request_line, unescape, without_port};
use crate::decoding::FrameDecoder;
use crate::event::{Batch, Str, Sym, Value, json};
use crate::framing::span::Span;
use regex_automata::Input;
use regex_automata::meta::{Cache, Regex};
use regex_automata::util::captures::Captures;

/// Why a text is no format.
#[derive(Debug, PartialEq, Eq)]
pub struct FormatError {
    /// Where in the text.
    pub at: Range<usize>,
    /// What is wrong, a lowercase fragment.
    pub message: String,
}

/// What becomes of a variable's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Text in this field.
    Text(&'static str),
    /// The same, of a name that is the variable's own.
    Named(String),
    /// A number where it is one.
    Number(String),
    /// `METHOD path HTTP/version`, in their fields.
    Request,
    /// `HTTP/1.1`: the version.
    Protocol,
    /// A name, with a port or without.
    Fqdn,
}

/// What values may look like, where what stands around does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Word,
    /// Anything, as short as may be.
    Any,
    /// A number, or several.
    Number,
    /// Words with commas and colons between.
    List,
    Time,
    Iso,
    /// A path, or nothing.
    Path,
    /// The same without its query.
    Bare,
    /// A name or address.
    Host,
}

#[derive(Clone, Debug)]
enum Token {
    Literal(String),
    Value {
        target: Target,
        class: Class,
        /// Apache's `%t` has its brackets with it.
        bracketed: bool,
    },
}

/// What servers do with odd characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    Hex,
    Json,
    Nothing,
}

/// One format, ready to match.
#[derive(Clone, Debug)]
pub struct LogFormat(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    BuiltIn,
    Matched { regex: Regex, targets: Vec<Target>, escape: Escape },
}

impl LogFormat {
    /// Reads a format.
    ///
    /// Errors: a text without variables, or with one that is not written to its end.
    pub fn compile(text: &str) -> Result<LogFormat, FormatError> {
        if matches!(text.trim(), "common" | "combined" | "vhost_combined") {
            return Ok(LogFormat(Arc::new(Kind::BuiltIn)));
        }
        let (format, escape) = bare(text);
        let is_nginx =
            format.contains('$') && !format.contains("%{") && !format.contains("%h") && !format.contains("%r");
        let tokens = if is_nginx { nginx(&format) } else { apache(&format) };
        let error = |message: &str| FormatError { at: 0..text.len(), message: message.to_owned() };
        let mut tokens = tokens.map_err(|message| error(&message))?;
        if !tokens.iter().any(|token| matches!(token, Token::Value { .. })) {
            return Err(error("a format needs a variable, such as `$remote_addr` or `%h`"));
        }
        one_each(&mut tokens);
        let pattern = pattern(&tokens);
        let config = Regex::config().nfa_size_limit(Some(10 << 20));
        let regex =
            Regex::builder().configure(config).build(&pattern).map_err(|_| error("this format is too large"))?;
        let targets = tokens.into_iter().filter_map(|token| match token {
            Token::Value { target, .. } => Some(target),
            Token::Literal(_) => None,
        });
        let targets = targets.collect();
        Ok(LogFormat(Arc::new(Kind::Matched { regex, targets, escape })))
    }
}

/// The format of a whole directive, or the text itself; and how odd characters are written.
fn bare(text: &str) -> (String, Escape) {
    let text = text.trim().trim_end_matches(';').trim_end();
    let escape = |rest: &str| match rest {
        _ if rest.contains("escape=json") => Escape::Json,
        _ if rest.contains("escape=none") => Escape::Nothing,
        _ => Escape::Hex,
    };
    if let Some(rest) = text.strip_prefix("log_format") {
        // The quoted pieces make one text.
        let first = rest.find(['\'', '"']).unwrap_or(rest.len());
        return (quoted_pieces(&rest[first..]), escape(&rest[..first]));
    }
    if let Some(rest) = text.strip_prefix("LogFormat") {
        let rest = rest.trim_start();
        if let Some(inner) = rest.strip_prefix('"') {
            let bytes = inner.as_bytes();
            let end = (0..bytes.len()).find(|at| bytes[*at] == b'"' && (*at == 0 || bytes[at - 1] != b'\\'));
            return (unquoted(&inner[..end.unwrap_or(inner.len())]), Escape::Hex);
        }
        return (unquoted(rest), Escape::Hex);
    }
    for (word, kind) in
        [("escape=json", Escape::Json), ("escape=none", Escape::Nothing), ("escape=default", Escape::Hex)]
    {
        if let Some(rest) = text.strip_prefix(word) {
            let rest = rest.trim_start();
            let is_quoted = rest.starts_with('\'');
            return (if is_quoted { quoted_pieces(rest) } else { unquoted(rest) }, kind);
        }
    }
    (unquoted(text), Escape::Hex)
}

/// `'a ' 'b'` is `a b`.
fn quoted_pieces(text: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            Some(open) if c == '\\' && chars.peek() == Some(&open) => out.extend(chars.next()),
            Some(_) => out.push(c),
            None => {}
        }
    }
    out
}

/// Without the backslashes that a configuration needs.
fn unquoted(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\t", "\t").replace("\\n", "")
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn literal(tokens: &mut Vec<Token>, c: char) {
    match tokens.last_mut() {
        Some(Token::Literal(text)) => text.push(c),
        _ => tokens.push(Token::Literal(c.to_string())),
    }
}

fn nginx(format: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '$' {
            literal(&mut tokens, c);
            continue;
        }
        let name = match rest.strip_prefix('{') {
            Some(inner) => {
                let end = inner.find('}').ok_or("a `${` is not closed")?;
                rest = &inner[end + 1..];
                &inner[..end]
            }
            None => {
                let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                let name = &rest[..end];
                rest = &rest[end..];
                name
            }
        };
        if name.is_empty() {
            literal(&mut tokens, '$');
            continue;
        }
        let (target, class) = nginx_variable(name);
        tokens.push(Token::Value { target, class, bracketed: false });
    }
    Ok(tokens)
}

fn nginx_variable(name: &str) -> (Target, Class) {
    let text = Target::Text;
    match name {
        "remote_addr" => (text("client_ip"), Class::Word),
        "realip_remote_addr" => (text("proxy_ip"), Class::Word),
        "remote_user" => (text("user"), Class::Any),
        "time_local" => (text("time_local"), Class::Time),
        "time_iso8601" => (text("time_local"), Class::Iso),
        "msec" => (Target::Number("time_local".into()), Class::Number),
        "request" => (Target::Request, Class::Any),
        "request_method" => (text("method"), Class::Word),
        "request_uri" => (text("path"), Class::Path),
        "uri" | "document_uri" => (text("path"), Class::Bare),
        "server_protocol" => (Target::Protocol, Class::Word),
        "status" => (Target::Number("status".into()), Class::Number),
        "body_bytes_sent" | "bytes_sent" => (Target::Number("bytes".into()), Class::Number),
        "http_referer" => (text("referer"), Class::Any),
        "http_user_agent" => (text("user_agent"), Class::Any),
        "http_x_forwarded_for" | "proxy_add_x_forwarded_for" => (text("forwarded_for"), Class::List),
        "host" | "http_host" | "server_name" => (Target::Fqdn, Class::Host),
        "request_id" | "req_id" => (text("request_id"), Class::Word),
        "upstream_addr" | "upstream_cache_status" => (Target::Named(name.into()), Class::List),
        _ if name.starts_with("http_") || name.starts_with("sent_http_") || name.starts_with("upstream_http_") => {
            (Target::Named(name.into()), Class::Any)
        }
        _ if is_number(name) => (Target::Number(name.into()), Class::Number),
        _ => (Target::Named(name.into()), Class::Any),
    }
}

fn is_number(name: &str) -> bool {
    const NUMBERS: [&str; 14] = [
        "request_length",
        "request_time",
        "connection",
        "connection_requests",
        "connection_time",
        "connections_active",
        "remote_port",
        "server_port",
        "gzip_ratio",
        "pid",
        "session_time",
        "bytes_received",
        "upstream_status",
        "content_length",
    ];
    NUMBERS.contains(&name)
        || (name.starts_with("upstream_")
            && (name.ends_with("_time") || name.ends_with("_length") || name.contains("_bytes_")))
}

fn apache(format: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '%' {
            literal(&mut tokens, c);
            continue;
        }
        // `%400,501{…}i`, `%!200{…}i`, `%>s`.
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '!' | ',' | '<' | '>'));
        let mut argument = "";
        if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').ok_or("a `%{` is not closed")?;
            (argument, rest) = (&inner[..end], &inner[end + 1..]);
        }
        rest = rest.trim_start_matches(['<', '>']);
        let letter = match rest.strip_prefix("^t") {
            Some(more) => {
                rest = more;
                rest.chars().next()
            }
            None => rest.chars().next(),
        };
        let letter = letter.ok_or("a `%` has no letter after it")?;
        rest = &rest[letter.len_utf8()..];
        if letter == '%' {
            literal(&mut tokens, '%');
            continue;
        }
        let (target, class) = apache_variable(letter, argument).ok_or_else(|| format!("`%{letter}` is not known"))?;
        let bracketed = letter == 't' && argument.is_empty();
        tokens.push(Token::Value { target, class, bracketed });
    }
    Ok(tokens)
}

fn apache_variable(letter: char, argument: &str) -> Option<(Target, Class)> {
    let text = Target::Text;
    let number = |name: &str| (Target::Number(name.into()), Class::Number);
    let own = |prefix: &str| {
        let name: String = argument.chars().map(|c| if is_name(c) { c.to_ascii_lowercase() } else { '_' }).collect();
        (Target::Named(format!("{prefix}{name}")), Class::Any)
    };
    Some(match (letter, argument) {
        ('h', _) | ('a', "") => (text("client_ip"), Class::Word),
        ('a', _) => (text("proxy_ip"), Class::Word),
        ('A', _) => (text("server_ip"), Class::Word),
        ('l', _) => (text("ident"), Class::Word),
        ('u', _) => (text("user"), Class::Any),
        ('t', "") => (text("time_local"), Class::Time),
        ('t', "sec" | "msec" | "usec") => number("time_local"),
        ('t', "msec_frac" | "usec_frac") => number("time_fraction"),
        ('t', _) => (text("time_local"), Class::Any),
        ('r', _) => (Target::Request, Class::Any),
        ('s', _) => number("status"),
        ('b' | 'B', _) => number("bytes"),
        ('I', _) => number("bytes_received"),
        ('O', _) => number("bytes_sent"),
        ('S', _) => number("bytes_transferred"),
        ('D', _) | ('T', "us") => number("request_time_us"),
        ('T', "ms") => number("request_time_ms"),
        ('T', _) => number("request_time"),
        ('v' | 'V', _) => (Target::Fqdn, Class::Host),
        ('p', "remote") => number("client_port"),
        ('p', _) => number("server_port"),
        ('P', _) => number("pid"),
        ('k', _) => number("connection_requests"),
        ('m', _) => (text("method"), Class::Word),
        ('U', _) => (text("path"), Class::Bare),
        ('q', _) => (text("query"), Class::Path),
        ('H', _) => (Target::Protocol, Class::Word),
        ('f', _) => (text("file"), Class::Any),
        ('X', _) => (text("connection_status"), Class::Word),
        ('L', _) => (text("log_id"), Class::Word),
        ('R', _) => (text("handler"), Class::Any),
        ('i', name) => match name.to_ascii_lowercase().as_str() {
            "referer" => (text("referer"), Class::Any),
            "user-agent" => (text("user_agent"), Class::Any),
            "x-forwarded-for" => (text("forwarded_for"), Class::List),
            "host" => (Target::Fqdn, Class::Host),
            "x-request-id" => (text("request_id"), Class::Word),
            _ => own("http_"),
        },
        ('o', _) => own("sent_http_"),
        ('C', _) => own("cookie_"),
        ('e' | 'n' | 'x', _) => own(""),
        _ => return None,
    })
}

/// The fields that a target gives.
fn fields(target: &Target) -> Vec<&str> {
    match target {
        Target::Text(name) => vec![name],
        Target::Named(name) | Target::Number(name) => vec![name],
        Target::Request => vec!["method", "path", "http_version", "request"],
        Target::Protocol => vec!["http_version"],
        Target::Fqdn => vec!["target_fqdn"],
    }
}

/// Each field is given once: a second one is called after what it is, with a number where that is taken as well.
fn one_each(tokens: &mut [Token]) {
    let mut taken: Vec<String> = Vec::new();
    for token in tokens {
        let Token::Value { target, .. } = token else { continue };
        if fields(target).iter().any(|field| taken.iter().any(|other| other == field)) && *target != Target::Request {
            let name = fields(target).first().map(|name| (*name).to_owned()).unwrap_or_default();
            let free = (2..).map(|n| format!("{name}_{n}")).find(|name| !taken.contains(name)).unwrap_or(name);
            *target = match target {
                Target::Number(_) => Target::Number(free),
                _ => Target::Named(free),
            };
        }
        taken.extend(fields(target).into_iter().map(str::to_owned));
    }
}

/// The regular expression of a format: one group for each value.
fn pattern(tokens: &[Token]) -> String {
    let mut out = String::from(r"^\s*");
    for (n, token) in tokens.iter().enumerate() {
        let (class, bracketed) = match token {
            Token::Literal(text) => {
                out.push_str(&regex_syntax::escape(text));
                continue;
            }
            Token::Value { class, bracketed, .. } => (*class, *bracketed),
        };
        let text = |n: Option<usize>| match n.and_then(|n| tokens.get(n)) {
            Some(Token::Literal(text)) => text.as_str(),
            _ => "",
        };
        let (before, behind) = (text(n.checked_sub(1)), text(Some(n + 1)));
        let last = n + 1 == tokens.len();
        if bracketed {
            out.push_str(r"\[([^\]]*)\]");
        } else if before.ends_with('"') && behind.starts_with('"') {
            out.push_str(r#"((?:[^"\\]|\\.)*)"#);
        } else if before.ends_with('[') && behind.starts_with(']') {
            out.push_str(r"([^\]]*)");
        } else {
            out.push_str(match class {
                Class::Word => r"(\S*?)",
                Class::Number => r"(-|-?[\d.]+(?:\s*[,:]\s*(?:-|[\d.]+))*)",
                Class::List => r"(\S+(?:(?:,\s*|\s+:\s+)\S+)*?)",
                Class::Time => r"(-|\d{1,2}/\w{3}/\d{4}:\d{2}:\d{2}:\d{2}(?: [+-]\d{4})?)",
                Class::Iso => r"(-|\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-][\d:]+)?)",
                Class::Path => r"(\S*?)",
                Class::Bare => r#"([^\s?"]*)"#,
                Class::Host => r#"([^\s/"]*?)"#,
                Class::Any if last => r"(.*)",
                Class::Any => r"(.*?)",
            });
        }
    }
    out.push_str(r"\s*$");
    out
}

/// Decodes lines by formats that the user named.
pub struct FormatsDecoder {
    formats: Vec<Running>,
    built_in: AccessDecoder,
    buf: Vec<u8>,
}

/// A format with what matching needs.
struct Running {
    format: LogFormat,
    keys: Arc<[Sym]>,
    state: Option<(Captures, Cache)>,
}

impl Running {
    fn new(format: LogFormat) -> Self {
        let keys = match &*format.0 {
            Kind::BuiltIn => Vec::new(),
            Kind::Matched { targets, .. } => targets
                .iter()
                .map(|target| Sym::from_config(fields(target).first().copied().unwrap_or("message")))
                .collect(),
        };
        Running::with_keys(format, keys.into())
    }

    fn with_keys(format: LogFormat, keys: Arc<[Sym]>) -> Self {
        let state = match &*format.0 {
            Kind::BuiltIn => None,
            Kind::Matched { regex, .. } => Some((regex.create_captures(), regex.create_cache())),
        };
        Running { format, keys, state }
    }
}

impl FormatsDecoder {
    /// A decoder that tries these, in order.
    pub fn new(formats: &[LogFormat]) -> Self {
        let formats = formats.iter().cloned().map(Running::new).collect();
        FormatsDecoder { formats, built_in: AccessDecoder::default(), buf: Vec::new() }
    }
}

impl FrameDecoder for FormatsDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        for running in &mut self.formats {
            let Some((captures, cache)) = &mut running.state else {
                if self.built_in.decode(batch, start, end, offset).is_ok() {
                    return Ok(());
                }
                continue;
            };
            let Kind::Matched { regex, targets, escape } = &*running.format.0 else { continue };
            regex.search_captures_with(cache, &Input::new(&batch.text()[start..end]), captures);
            if !captures.is_match() {
                continue;
            }
            let row = batch.push_line(start, end, offset);
            let mut put = Put { batch, row, start, end, buf: &mut self.buf, escape: *escape, keys: self.built_in.keys };
            for (n, (target, key)) in targets.iter().zip(&*running.keys).enumerate() {
                let span = captures.get_group(n + 1).map(|span| Span::new(span.start, span.end));
                if let Some(span) = span.and_then(|span| span.unless_dash(put.line())) {
                    put.value(target, *key, span);
                }
            }
            return Ok(());
        }
        Err("of none of the log formats")
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        let formats = self.formats.iter().map(|r| Running::with_keys(r.format.clone(), r.keys.clone())).collect();
        Box::new(FormatsDecoder { formats, built_in: AccessDecoder::default(), buf: Vec::new() })
    }
}

/// Puts values into an event.
struct Put<'a> {
    batch: &'a mut Batch,
    row: usize,
    start: usize,
    end: usize,
    buf: &'a mut Vec<u8>,
    escape: Escape,
    keys: super::Keys,
}

impl Put<'_> {
    fn line(&self) -> &[u8] {
        &self.batch.text()[self.start..self.end]
    }

    fn value(&mut self, target: &Target, key: Sym, span: Span) {
        match target {
            Target::Text(_) | Target::Named(_) => self.text(key, span),
            Target::Number(_) => self.number(key, span),
            Target::Fqdn => self.text(key, without_port(self.line(), span)),
            Target::Protocol => {
                let skipped = if span.of(self.line()).starts_with(b"HTTP/") { 5 } else { 0 };
                self.text(key, Span::new(span.start + skipped, span.end));
            }
            Target::Request => {
                let mut parts = AccessLine::default();
                request_line(self.line(), span, &mut parts);
                let keys = self.keys;
                let parts = [
                    (keys.request, parts.request),
                    (keys.method, parts.method),
                    (keys.path, parts.path),
                    (keys.http_version, parts.http_version),
                ];
                for (key, part) in parts {
                    if let Some(part) = part {
                        self.text(key, part);
                    }
                }
            }
        }
    }

    fn text(&mut self, key: Sym, span: Span) {
        let (from, to) = (self.start + span.start, self.start + span.end);
        let text = &self.batch.text()[from..to];
        if self.escape == Escape::Nothing || memchr::memchr(b'\\', text).is_none() {
            self.batch.push_text_field(key, from, to);
            return;
        }
        self.buf.clear();
        match self.escape {
            Escape::Json => json::unescape(text, self.buf),
            _ => unescape(text, self.buf),
        }
        self.batch.event_mut(self.row).push(key, Value::Str(Str::plain(self.buf)));
    }

    fn number(&mut self, key: Sym, span: Span) {
        let text = span.of(self.line());
        let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
        let fraction = text.get(digits + 1..).unwrap_or_default();
        let plain = digits > 0 && (digits == 1 || text[0] != b'0') && digits < 19;
        if plain && digits == text.len() {
            let n = text.iter().fold(0, |n, c| n * 10 + i64::from(c - b'0'));
            self.batch.event_mut(self.row).push(key, Value::I64(n));
        } else if plain && text[digits] == b'.' && !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit) {
            self.buf.clear();
            self.buf.extend_from_slice(&self.batch.text()[self.start + span.start..self.start + span.end]);
            self.batch.event_mut(self.row).push(key, Value::Number(self.buf));
        } else {
            self.text(key, span);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::testing::decode_line;
    use super::*;

    fn decoded(formats: &[&str], line: &str) -> Result<String, String> {
        let formats: Vec<LogFormat> = formats.iter().map(|text| LogFormat::compile(text).unwrap()).collect();
        let mut decoder = FormatsDecoder::new(&formats);
        let first = decode_line(&mut decoder, line.as_bytes());
        assert_eq!(decode_line(&mut *decoder.fork(), line.as_bytes()), first);
        first
    }

    #[test]
    fn formats_of_nginx_are_read() {
        let main = r#"log_format  main  '$remote_addr - $remote_user [$time_local] "$request" '
                      '$status $body_bytes_sent "$http_referer" '
                      '"$http_user_agent" "$http_x_forwarded_for" rt=$request_time uct="$upstream_connect_time" up=$upstream_addr $host';"#;
        assert_eq!(
            decoded(&[main], r#"10.0.0.1 - frank q [10/Oct/2000:13:55:36 -0700] "GET /a?b HTTP/2.0" 200 5 "-" "a \x22b\x22" "1.2.3.4, 10.0.0.9" rt=0.003 uct="0.001, 0.002" up=10.1.1.1:80, 10.1.1.2:80 www.example:8080"#).unwrap(),
            r#"{"client_ip":"10.0.0.1","user":"frank q","time_local":"10/Oct/2000:13:55:36 -0700","method":"GET","path":"/a?b","http_version":"2.0","status":200,"bytes":5,"user_agent":"a \"b\"","forwarded_for":"1.2.3.4, 10.0.0.9","request_time":0.003,"upstream_connect_time":"0.001, 0.002","upstream_addr":"10.1.1.1:80, 10.1.1.2:80","target_fqdn":"www.example"}"#
        );
        assert_eq!(
            decoded(&["$time_iso8601|${status}|$request_method $request_uri $server_protocol|$pipe|$msec|$bytes_sent $body_bytes_sent"], "2024-05-01T10:00:00+02:00|404|GET /x HTTP/1.1|.|1714557600.123|10 7").unwrap(),
            r#"{"time_local":"2024-05-01T10:00:00+02:00","status":404,"method":"GET","path":"/x","http_version":"1.1","pipe":".","time_local_2":1714557600.123,"bytes":10,"bytes_2":7}"#
        );
        assert_eq!(
            decoded(
                &[r#"escape=json '{"a":"$remote_addr","r":"$request","t":"$request_time"}'"#],
                r#"{"a":"::1","r":"GET /\"x HTTP/1.1","t":"0.010"}"#
            )
            .unwrap(),
            r#"{"client_ip":"::1","method":"GET","path":"/\"x","http_version":"1.1","request_time":0.010}"#
        );
    }

    #[test]
    fn formats_of_apache_are_read() {
        let format = r#"LogFormat "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\" %D %{X-Trace-Id}i %{SSL_PROTOCOL}x" mine"#;
        assert_eq!(
            decoded(&[format], r#"www.example:443 192.0.2.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326 "http://r/" "M \"x\"" 1234 abc TLSv1.3"#).unwrap(),
            r#"{"target_fqdn":"www.example","server_port":443,"client_ip":"192.0.2.1","user":"frank","time_local":"10/Oct/2000:13:55:36 -0700","method":"GET","path":"/a","http_version":"1.1","status":200,"bytes_sent":2326,"referer":"http://r/","user_agent":"M \"x\"","request_time_us":1234,"http_x_trace_id":"abc","ssl_protocol":"TLSv1.3"}"#
        );
        assert_eq!(
            decoded(&["%a %{%Y-%m-%d}t 100%% %U%q %!200,304{Via}i"], "::1 2024-05-01 100% /a?b=1 -").unwrap(),
            r#"{"client_ip":"::1","time_local":"2024-05-01","path":"/a","query":"?b=1"}"#
        );
    }

    #[test]
    fn the_first_format_that_fits_is_taken_and_none_is_an_error() {
        let formats = ["A $status", "combined", "B $status"];
        assert_eq!(decoded(&formats, "A 200").unwrap(), r#"{"status":200}"#);
        assert_eq!(decoded(&formats, "B 201").unwrap(), r#"{"status":201}"#);
        assert!(
            decoded(&formats, r#"::1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 5"#)
                .unwrap()
                .contains(r#""client_ip":"::1""#)
        );
        assert_eq!(decoded(&formats, "C 200"), Err("of none of the log formats".into()));
        assert_eq!(decoded(&formats, "A x"), Err("of none of the log formats".into()));
    }

    #[test]
    fn texts_that_are_no_formats_are_refused() {
        for text in ["", "no variable", "${open", "%{open", "%", "%Z", "%h %"] {
            assert!(LogFormat::compile(text).is_err(), "{text:?}");
        }
    }
}
