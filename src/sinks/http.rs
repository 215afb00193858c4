//! Sends events to any HTTP endpoint.
//!
//! ```yaml
//! sinks:
//!   api:
//!     type: http
//!     inputs: [app]
//!     url: "https://ingest.example.com/v1/{{ service }}"
//!     headers: {X-Tenant: "{{ tenant }}"}
//!     auth: {bearer: "${API_TOKEN}"}
//!     dead_letter: rejects
//! ```
//!
//! - **Where**: `url` and the values of `headers` are templates; events of one request have them in common, and what they are. The
//!   host is never an event's: values stand behind it, percent-encoded. In a header control characters become blanks, so that
//!   no value ends it. An event that lacks a field of them goes to the dead letter as `template`.
//! - **Body**: `framing: array` (JSON), `newline`, or `none`, an event a request.
//! - **Answers** are judged by their status (see [`delivery`](crate::sinks::delivery)). Where a server says otherwise, `success` is a
//!   condition over `@status` and `@body` (its members where it is JSON, else a text): an answer is a success exactly where
//!   that holds. A 2xx for which it does not is a refusal: halved down to the one record.
//! - Nothing is asked at the start: which request would be harmless is not known.
//! - When the server is down or slow, the sink's buffer fills, and its policy holds.

use crate::ack::Ack;
use crate::condition::{Condition, Outcome};
use crate::encoding::{Encoder, Encoding, EncodingConfig};
use crate::error::BuildError;
use crate::event::{Batch, EventRef, JsonRows, Origin, Slab};
use crate::settings::{Node, Reader, SchemaBuilder, Setting, Spanned, config, config_enum, read_string};
use crate::sinks::delivery::{
    Answer, AuthConfig, Draft, Framing, HttpSink, Judgement, Mask, NetworkSinkCommon, Plan, Protocol, RequestBody,
    Target, Unsendable, byte_of, judge_status, kind_of,
};
use crate::sync::Locked;
use crate::template::{Template, Values};
use crate::time::Zone;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};
use std::sync::Mutex;

config! {
    /// Sends events to any HTTP endpoint.
    pub struct HttpSinkConfig {
        /// Where to: `https://ingest.example.com/v1/{{ service }}`. Events have no part in the host; their values are
        /// percent-encoded.
        pub url: Spanned<Template>,
        /// The method.
        pub method: HttpMethod = HttpMethod::Post,
        /// How events are written.
        pub encoding: EncodingConfig = EncodingConfig::Json,
        /// How they stand in a body; left out, `array` for JSON and `newline` for the others.
        pub framing: Option<Spanned<HttpFraming>> = None,
        /// Credentials.
        pub auth: Option<AuthConfig> = None,
        /// When an answer is a success, in place of a status of 2xx: a condition over `@status` and `@body`, such as
        /// `@status == 200 && @body.code == 0`.
        pub success: Option<Success> = None,
        /// Those of all sinks over the network. The values of `headers` are templates here.
        flatten pub common: NetworkSinkCommon,
    }
}

config_enum! {
    /// The method of requests.
    pub enum HttpMethod {
        /// Adds.
        Post = "POST",
        /// Puts in place.
        Put = "PUT",
        /// Changes.
        Patch = "PATCH",
    }
}

config_enum! {
    /// How events stand in a body.
    pub enum HttpFraming {
        /// In a JSON array.
        Array = "array",
        /// Each with a line end behind it.
        Newline = "newline",
        /// One event a request.
        None = "none",
    }
}

/// A condition over an answer.
#[derive(Debug, Clone)]
pub struct Success(Condition);

impl Setting for Success {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match Condition::parse(&as_fields(text)) {
            Ok(condition) => {
                let foreign = condition.paths().iter().find(|path| {
                    let name = path.text();
                    !["_status", "_body"].iter().any(|own| {
                        name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                    })
                });
                if let Some(path) = foreign {
                    let message = format!("`{path}` in {}: there are `@status` and `@body` only", cx.subject());
                    cx.error(node.span, message);
                    return None;
                }
                Some(Success(condition))
            }
            Err(e) => {
                let message = format!("bad condition for {}: {e}", cx.subject());
                let diagnostic = cx.error_in(node, e.at, message);
                diagnostic.helps.extend(e.help);
                None
            }
        }
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        Condition::schema(g)
    }

    fn describe() -> String {
        "a condition over `@status` and `@body`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.0.text().replace("_status", "@status").replace("_body", "@body"))
    }

    fn accepts(node: &Node) -> bool {
        Condition::accepts(node)
    }

    fn lone() -> bool {
        true
    }
}

/// `@status` and `@body` as the fields of the event that an answer is made; as long as before, so that places of mistakes
/// stay. Texts in quotes are left alone.
fn as_fields(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                out.push(c);
                out.extend(rest.next());
                continue;
            }
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '@') if ["status", "body"].iter().any(|name| rest.as_str().starts_with(name)) => {
                out.push('_');
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

impl Success {
    /// Whether an answer is one.
    fn holds(condition: &mut Condition, answer: &Answer) -> bool {
        let body = String::from_utf8_lossy(&answer.body);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_else(|_| body.into());
        let text = serde_json::json!({"_status": answer.status, "_body": body}).to_string().into_bytes();
        let end = text.len();
        let mut batch = Batch::new(Slab::from_vec(text), Origin::of_source("answer"), 0, Ack::none());
        // An answer that is nested too deeply to be read is none.
        JsonRows::default().push(&mut batch, 0, end, 0).is_ok() && condition.evaluate(batch.event(0)) == Outcome::True
    }
}

/// Bytes of a template's text up to which it is the scheme and the host; `None` where an event may have a part in them.
fn fixed_host(template: &Template) -> Option<usize> {
    let text = template.literal_prefix();
    let host = text.find("://")? + 3;
    match text[host..].find(['/', '?', '#']) {
        Some(end) => Some(host + end),
        None => (template.as_literal().is_some()).then_some(text.len()),
    }
}

impl HttpSinkConfig {
    fn framing(&self) -> HttpFraming {
        let usual = match self.encoding {
            EncodingConfig::Json => HttpFraming::Array,
            _ => HttpFraming::Newline,
        };
        self.framing.as_ref().map_or(usual, |framing| framing.value)
    }

    /// The address with something in place of what comes from events.
    fn sample_url(&self) -> Option<Url> {
        Url::parse(&self.url.value.sample()).ok()
    }

    /// Names and templates of the headers.
    ///
    /// Errors: the name of one that is none, and what is wrong.
    fn header_templates(&self) -> Result<Vec<(HeaderName, Template)>, (Spanned<String>, String)> {
        let mut out = Vec::new();
        for (name, value) in self.common.client.headers.iter() {
            let bad = |what: String| (name.clone(), what);
            let header =
                HeaderName::from_bytes(name.value.as_bytes()).map_err(|_| bad("is not a header name".into()))?;
            let template = Template::parse(value.reveal()).map_err(|e| bad(format!("has a bad template: {e}")))?;
            if template.as_literal().is_some_and(|text| HeaderValue::from_str(text).is_err()) {
                return Err(bad("has a value that no header may have".into()));
            }
            out.push((header, template));
        }
        Ok(out)
    }
}

impl HttpSink for HttpSinkConfig {
    type Protocol = Http;
    type Auth = AuthConfig;
    const AUTO: crate::sinks::delivery::Encoding = crate::sinks::delivery::Encoding::Identity;
    const OWN_HEADERS: bool = true;

    fn shared(&self) -> (&NetworkSinkCommon, Option<&AuthConfig>) {
        (&self.common, self.auth.as_ref())
    }

    fn check_own(&self, cx: &mut Reader<'_>) {
        let span = self.url.span;
        match self.sample_url() {
            Some(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
                cx.error(span, format!("`url`{} must begin with `http://` or `https://`", cx.place()));
            }
            Some(url) if !url.username().is_empty() || url.password().is_some() => {
                cx.error(span, format!("`url`{} holds credentials, which would be shown", cx.place()))
                    .help("write them under `auth: {basic: {user: …, password: …}}`");
            }
            Some(_) if fixed_host(&self.url.value).is_none() => {
                cx.error(span, format!("the host of `url`{} may not come from events", cx.place()))
                    .help("write `https://host/{{ … }}`, or a sink for each host after a `route`");
            }
            Some(_) => {}
            None => {
                cx.error(span, format!("`url`{} is not an address such as `https://example.com/ingest`", cx.place()));
            }
        }
        if let Err((name, what)) = self.header_templates() {
            cx.error(name.span, format!("the header `{}`{} {what}", name.value, cx.place()));
        }
        if let Some(framing) = self.framing.as_ref().filter(|f| f.value == HttpFraming::Array)
            && !matches!(self.encoding, EncodingConfig::Json)
        {
            cx.error(framing.span, format!("`framing: array`{} is for `encoding: json`", cx.place()));
        }
    }

    fn servers(&self) -> Vec<Url> {
        self.sample_url().into_iter().collect()
    }

    fn plan(&self) -> Plan {
        let plan = Plan::new(&self.common);
        if self.framing() == HttpFraming::None { plan.one_event() } else { plan }
    }

    fn connect(&self, server: &Url, _zone: Zone, mask: &Mask) -> Result<Http, BuildError> {
        let headers = self
            .header_templates()
            .map_err(|(name, what)| BuildError::config(format!("the header `{}` {what}", name.value)))?;
        let url = self.url.value.clone();
        let (framing, content_type) = match (self.framing(), &self.encoding) {
            (HttpFraming::Array, _) => (Framing::ARRAY, "application/json"),
            (HttpFraming::None, EncodingConfig::Json) => (Framing::FIELDS, "application/json"),
            (framing, encoding) => {
                let framing = if framing == HttpFraming::None { Framing::FIELDS } else { Framing::LINES };
                let content_type = match encoding {
                    EncodingConfig::Json => "application/x-ndjson",
                    EncodingConfig::Text | EncodingConfig::Logfmt => "text/plain; charset=utf-8",
                    EncodingConfig::Csv(_) => "text/csv; charset=utf-8",
                };
                (framing, content_type)
            }
        };
        let encoding: Encoding = self.encoding.clone().into();
        Ok(Http {
            method: match self.method {
                HttpMethod::Post => Method::POST,
                HttpMethod::Put => Method::PUT,
                HttpMethod::Patch => Method::PATCH,
            },
            is_fixed: url.as_literal().is_some() && headers.iter().all(|(_, value)| value.as_literal().is_some()),
            url,
            sample: server.clone(),
            headers,
            keeps_events: encoding != Encoding::Json,
            encoder: Encoder::new(encoding),
            framing,
            content_type,
            success: self.success.as_ref().map(|s| Mutex::new(s.0.clone())),
            mask: mask.clone(),
        })
    }
}

/// The endpoint.
pub struct Http {
    method: Method,
    url: Template,
    /// The address with something in place of what comes from events.
    sample: Url,
    headers: Vec<(HeaderName, Template)>,
    /// All requests go to the same address with the same headers.
    is_fixed: bool,
    encoder: Encoder,
    /// Records are not the events' JSON.
    keeps_events: bool,
    framing: Framing,
    content_type: &'static str,
    success: Option<Mutex<Condition>>,
    mask: Mask,
}

/// Between the parts of a partition's name, none of which has it.
const BETWEEN: u8 = 0;

impl Protocol for Http {
    type Mark = ();

    /// What the events are, the address and the values of the headers.
    fn partition(&mut self, event: EventRef<'_>, _now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable> {
        name.push(byte_of(event.kind()));
        if self.is_fixed {
            return Ok(());
        }
        self.url.render_as(Values::Url, event, name).map_err(|why| Unsendable::template("url", why))?;
        for (header, value) in &self.headers {
            name.push(BETWEEN);
            let start = name.len();
            value.render(event, name).map_err(|why| Unsendable::template(header.as_str(), why))?;
            for byte in &mut name[start..] {
                if *byte < b' ' || *byte == 0x7f {
                    *byte = b' ';
                }
            }
        }
        Ok(())
    }

    fn target(&self, partition: &[u8]) -> Target {
        let (kind, rest) = kind_of(partition);
        let mut parts = rest.split(|b| *b == BETWEEN);
        let address = match self.is_fixed {
            true => self.url.as_literal().unwrap_or_default().into(),
            false => String::from_utf8_lossy(parts.next().unwrap_or_default()),
        };
        // The sample is an address, and what events put in stays behind the host; percent-encoded it cannot break it.
        let url = Url::parse(&address).unwrap_or_else(|_| self.sample.clone());
        let value = |(name, template): &(HeaderName, Template), text: Option<&[u8]>| {
            let text = text.unwrap_or_else(|| template.as_literal().unwrap_or_default().as_bytes());
            let mut value = HeaderValue::from_bytes(text.trim_ascii()).ok()?;
            value.set_sensitive(true);
            Some((name.clone(), value))
        };
        let headers = self.headers.iter().filter_map(|header| {
            let text = if self.is_fixed { None } else { parts.next() };
            value(header, text)
        });
        Target {
            method: self.method.clone(),
            headers: headers.collect(),
            framing: self.framing,
            ..Target::post(address, kind, url, self.content_type)
        }
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, ()>) -> Result<(), Unsendable> {
        self.encoder.event(event, draft.body);
        // The line end is the framing's.
        draft.body.pop();
        if self.keeps_events {
            draft.keep(event);
        }
        Ok(())
    }

    fn judge(&self, answer: &Answer, _load: &RequestBody<()>, _now: i64) -> Judgement {
        let Some(success) = &self.success else {
            return judge_status(answer, &self.mask).unwrap_or(Judgement::Delivered);
        };
        if Success::holds(&mut success.locked(), answer) {
            return Judgement::Delivered;
        }
        judge_status(answer, &self.mask).unwrap_or_else(|| {
            let words = self.mask.words(&answer.body);
            let detail = format!("HTTP {}, but `success` does not hold: {words}", answer.status);
            Judgement::Halve { reason: "refused", detail }
        })
    }
}
