//! Which path means what: the formats that `paths` names, each with the endpoints its clients know.

use super::bulk::Action;
use super::format::{Answer, Format, Head, Variables};
use super::plain::Plain;
use super::signals::{OpenObserveOtlp, Otlp, RemoteWrite, RemoteWriteApi, prometheus_health};
use super::{elasticsearch, openobserve};
use crate::decoding::otlp::Signal;
use crate::settings::{Map, OneOrMany, Reader, Span, Spanned, config_enum};
use hyper::Method;
use std::sync::Arc;

config_enum! {
    /// What a path is for.
    pub enum PathFormat {
        /// JSON or lines of text: by content type, else by the first byte.
        Auto = "auto",
        /// A JSON object, an array of them, or one behind the other (NDJSON).
        Json = "json",
        /// Lines of text, decoded as `decode` says.
        Text = "text",
        /// OpenObserve's `api/{org}/{stream}/_json`, `_multi`, `api/{org}/_bulk`, and its OTLP and remote write below the path.
        OpenObserve = "openobserve",
        /// Elasticsearch's `_bulk`, `{index}/_bulk`, `{index}/_doc` and, with an id, `_doc`, `_create` and `_update` below the path.
        Elasticsearch = "elasticsearch",
        /// OTLP over HTTP: `v1/logs`, `v1/metrics` and `v1/traces` below the path.
        Otlp = "otlp",
        /// Prometheus remote write 1.0: `api/v1/write` below the path.
        RemoteWrite = "remote_write",
    }
}

/// `paths`: each with one format or several.
pub type Paths = Map<OneOrMany<PathFormat>>;

/// Everything, where clients expect it.
pub(super) fn default_paths() -> Paths {
    let all = vec![
        PathFormat::Auto,
        PathFormat::OpenObserve,
        PathFormat::Elasticsearch,
        PathFormat::Otlp,
        PathFormat::RemoteWrite,
    ];
    Map(vec![(Spanned::new("/".to_owned(), Span::default()), OneOrMany(all))])
}

/// What is done with a request.
#[derive(Clone)]
pub(super) enum RouteAction {
    /// Its body is taken.
    Take(Arc<dyn Format>),
    /// It is answered; `Format` words its refusals.
    Say(fn(&Head) -> Answer, Arc<dyn Format>),
    /// It is answered, whoever asks.
    Open(fn(&Head) -> Answer),
}

/// One path with its method.
struct Route {
    methods: &'static [Method],
    segments: Vec<Segment>,
    does: RouteAction,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Segment {
    Text(String),
    Variable(Arc<str>),
}

/// All paths of a source.
pub(super) struct Routes(Vec<Route>);

/// Where a request leads.
pub(super) enum FoundRoute<'r> {
    /// Here.
    Route(&'r RouteAction, Variables),
    /// The path has other methods.
    Method(Vec<&'static str>),
    /// Nowhere.
    Nothing,
}

const POST: &[Method] = &[Method::POST, Method::PUT];
const POST_ONLY: &[Method] = &[Method::POST];
const GET: &[Method] = &[Method::GET, Method::HEAD];
const ANY: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];

/// The endpoints of a format, below the path it is given.
fn endpoints(format: PathFormat) -> Vec<(&'static [Method], &'static str, RouteAction)> {
    let take = |format: Arc<dyn Format>| RouteAction::Take(format);
    match format {
        PathFormat::Auto => vec![(POST, "", take(Arc::new(Plain::Auto)))],
        PathFormat::Json => vec![(POST, "", take(Arc::new(Plain::Json)))],
        PathFormat::Text => vec![(POST, "", take(Arc::new(Plain::Text)))],
        PathFormat::OpenObserve => {
            let bulk: Arc<dyn Format> = Arc::new(openobserve::Bulk);
            let say = |answer| RouteAction::Say(answer, bulk.clone());
            vec![
                (POST, "api/{org}/{stream}/_json", take(Arc::new(openobserve::Logs::Json))),
                (POST, "api/{org}/{stream}/_multi", take(Arc::new(openobserve::Logs::Multi))),
                (POST, "api/{org}/_bulk", take(bulk.clone())),
                (GET, "api/{org}", say(openobserve::banner)),
                (GET, "api/{org}/_license", say(openobserve::license)),
                (GET, "api/{org}/_xpack", say(openobserve::setup)),
                (ANY, "api/{org}/_ilm/policy/{name}", say(openobserve::setup)),
                (ANY, "api/{org}/_index_template/{name}", say(openobserve::setup)),
                (ANY, "api/{org}/_data_stream/{name}", say(openobserve::setup)),
                (ANY, "api/{org}/_ingest/pipeline/{name}", say(openobserve::setup)),
                (POST, "api/{org}/v1/logs", take(Arc::new(OpenObserveOtlp(Signal::Logs)))),
                (POST, "api/{org}/v1/metrics", take(Arc::new(OpenObserveOtlp(Signal::Metrics)))),
                (POST, "api/{org}/v1/traces", take(Arc::new(OpenObserveOtlp(Signal::Traces)))),
                (
                    POST,
                    "api/{org}/prometheus/api/v1/write",
                    take(Arc::new(RemoteWrite::new(RemoteWriteApi::OpenObserve))),
                ),
                (GET, "healthz", RouteAction::Open(openobserve::health)),
            ]
        }
        PathFormat::Otlp => vec![
            (POST, "v1/logs", take(Arc::new(Otlp(Signal::Logs)))),
            (POST, "v1/metrics", take(Arc::new(Otlp(Signal::Metrics)))),
            (POST, "v1/traces", take(Arc::new(Otlp(Signal::Traces)))),
        ],
        PathFormat::RemoteWrite => vec![
            (POST, "api/v1/write", take(Arc::new(RemoteWrite::new(RemoteWriteApi::Prometheus)))),
            (GET, "-/healthy", RouteAction::Open(prometheus_health)),
            (GET, "-/ready", RouteAction::Open(prometheus_health)),
        ],
        PathFormat::Elasticsearch => {
            let bulk: Arc<dyn Format> = Arc::new(elasticsearch::Bulk);
            let say = |answer| RouteAction::Say(answer, bulk.clone());
            let single = |action| take(Arc::new(elasticsearch::Single(action)));
            vec![
                (POST, "_bulk", take(bulk.clone())),
                (POST, "{index}/_bulk", take(bulk.clone())),
                (POST, "{index}/{type}/_bulk", take(bulk.clone())),
                // Not a document that is called `_bulk`.
                (POST, "{index}/_doc/_bulk", take(bulk.clone())),
                (POST_ONLY, "{index}/_doc", single(Action::Index)),
                (POST, "{index}/_doc/{id}", single(Action::Index)),
                (POST, "{index}/_create/{id}", single(Action::Create)),
                (POST_ONLY, "{index}/_update/{id}", single(Action::Update)),
                (GET, "", say(elasticsearch::banner)),
                (GET, "_license", say(elasticsearch::license)),
                (GET, "_xpack", say(elasticsearch::xpack)),
                (GET, "_cluster/health", say(elasticsearch::health)),
                (ANY, "_ilm/policy/{name}", say(elasticsearch::setup)),
                (ANY, "_template/{name}", say(elasticsearch::setup)),
                (ANY, "_index_template/{name}", say(elasticsearch::setup)),
                (ANY, "_component_template/{name}", say(elasticsearch::setup)),
                (ANY, "_data_stream/{name}", say(elasticsearch::setup)),
                (ANY, "_ingest/pipeline/{name}", say(elasticsearch::setup)),
            ]
        }
    }
}

fn segments(path: &str) -> Result<Vec<Segment>, String> {
    let parse = |segment: &str| {
        let Some(name) = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) else {
            if segment.contains(['{', '}', '?', '#', '%']) {
                return Err(format!(
                    "`{segment}` is not a part of a path; a variable takes a whole one, as in `/logs/{{app}}`"
                ));
            }
            return Ok(Segment::Text(segment.to_owned()));
        };
        if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            return Err(format!("`{segment}` is not a variable name; letters, digits and `_` are"));
        }
        Ok(Segment::Variable(name.into()))
    };
    path.split('/').filter(|segment| !segment.is_empty()).map(parse).collect()
}

/// Notes mistakes in `paths`.
pub(super) fn check(paths: &Paths, cx: &mut Reader<'_>) {
    if paths.is_empty() {
        cx.error_at("paths", "`paths` of an http source is empty; it needs one at least");
    }
    let mut seen: Vec<(&Method, Vec<Segment>, String)> = Vec::new();
    for (path, formats) in paths.iter() {
        if !path.starts_with('/') {
            cx.error(path.span, format!("`{}` must begin with `/`", path.value));
            continue;
        }
        let base = match segments(path) {
            Ok(base) => base,
            Err(message) => {
                cx.error(path.span, message);
                continue;
            }
        };
        let mut clash = None;
        for format in formats.iter() {
            for (methods, below, _) in endpoints(*format) {
                let mut whole = base.clone();
                whole.extend(segments(below).unwrap_or_default());
                // What variables are called does not matter.
                let shape: Vec<Segment> = whole
                    .into_iter()
                    .map(|s| if matches!(s, Segment::Variable(_)) { Segment::Variable("".into()) } else { s })
                    .collect();
                let by = format!("`{}` at `{}`", format.word(), path.value);
                for method in methods {
                    match seen.iter().find(|(m, s, _)| *m == method && *s == shape) {
                        Some((_, _, first)) => {
                            clash.get_or_insert_with(|| format!("{first} and {by} take the same requests"));
                        }
                        None => seen.push((method, shape.clone(), by.clone())),
                    }
                }
            }
        }
        if let Some(message) = clash {
            cx.error(path.span, message);
        }
    }
}

impl Routes {
    /// Of paths that were checked.
    pub(super) fn new(paths: &Paths) -> Routes {
        let health = |_: &Head| Answer::text(hyper::StatusCode::OK, "ok");
        let mut routes = vec![Route {
            methods: GET,
            segments: vec![Segment::Text("health".into())],
            does: RouteAction::Open(health),
        }];
        for (path, formats) in paths.iter() {
            let base = segments(path).unwrap_or_default();
            for (methods, below, does) in formats.iter().flat_map(|format| endpoints(*format)) {
                let mut segments = base.clone();
                segments.extend(self::segments(below).unwrap_or_default());
                routes.push(Route { methods, segments, does });
            }
        }
        // A text beats a variable where they first differ.
        routes.sort_by_key(|route| {
            route.segments.iter().map(|s| matches!(s, Segment::Variable(_))).collect::<Vec<bool>>()
        });
        Routes(routes)
    }

    /// Where a request leads.
    pub(super) fn find(&self, method: &Method, path: &str) -> FoundRoute<'_> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        let fits = |route: &&Route| {
            route.segments.len() == parts.len()
                && route.segments.iter().zip(&parts).all(|(segment, part)| match segment {
                    Segment::Text(text) => text == part,
                    Segment::Variable(_) => true,
                })
        };
        let mut methods = Vec::new();
        for route in self.0.iter().filter(fits) {
            if !route.methods.contains(method) {
                methods.extend(route.methods.iter().map(Method::as_str));
                continue;
            }
            let variables = route.segments.iter().zip(&parts).filter_map(|(segment, part)| match segment {
                Segment::Text(_) => None,
                Segment::Variable(name) => Some((name.clone(), Arc::from(decode(part)))),
            });
            return FoundRoute::Route(&route.does, variables.collect());
        }
        methods.sort_unstable();
        methods.dedup();
        if methods.is_empty() { FoundRoute::Nothing } else { FoundRoute::Method(methods) }
    }
}

/// Undoes percent-encoding; what is not UTF-8 then is replaced.
fn decode(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|c| char::from(*c).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                i += 3;
            }
            (c, ..) => {
                out.push(c);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn paths(list: &[(&str, &[PathFormat])]) -> Paths {
        Map(list
            .iter()
            .map(|(path, formats)| (Spanned::new((*path).to_owned(), Span::default()), OneOrMany(formats.to_vec())))
            .collect())
    }

    /// The variables, or why there are none.
    fn find(routes: &Routes, method: Method, path: &str) -> String {
        match routes.find(&method, path) {
            FoundRoute::Nothing => "nothing".into(),
            FoundRoute::Method(methods) => format!("allow {}", methods.join(",")),
            FoundRoute::Route(does, variables) => {
                let what = match does {
                    RouteAction::Take(_) => "take",
                    RouteAction::Say(..) => "say",
                    RouteAction::Open(_) => "open",
                };
                variables.iter().fold(what.to_owned(), |all, (name, value)| format!("{all} {name}={value}"))
            }
        }
    }

    #[test]
    fn clients_find_what_they_know() {
        let routes = Routes::new(&default_paths());
        for (method, path, want) in [
            (Method::POST, "/", "take"),
            (Method::PUT, "/", "take"),
            (Method::GET, "/", "say"),
            (Method::HEAD, "/", "say"),
            (Method::GET, "/health", "open"),
            (Method::GET, "/healthz", "open"),
            (Method::POST, "/api/default/app/_json", "take org=default stream=app"),
            (Method::POST, "/api/d%C3%A9/a%2Fb/_multi", "take org=dé stream=a/b"),
            (Method::POST, "/api/default//_json", "take org=default stream="),
            (Method::POST, "/api/default/_bulk", "take org=default"),
            (Method::GET, "/api/default/", "say org=default"),
            (Method::POST, "/_bulk", "take"),
            (Method::PUT, "/logs/_bulk/", "take index=logs"),
            (Method::GET, "/_bulk", "allow POST,PUT"),
            (Method::POST, "/logs/_doc/_bulk", "take index=logs"),
            (Method::POST, "/logs/event/_bulk", "take index=logs type=event"),
            (Method::POST, "/logs/_doc", "take index=logs"),
            (Method::PUT, "/logs/_doc", "allow POST"),
            (Method::PUT, "/logs/_doc/a%2Fb", "take index=logs id=a/b"),
            (Method::PUT, "/logs/_create/7", "take index=logs id=7"),
            (Method::POST, "/logs/_update/7", "take index=logs id=7"),
            (Method::DELETE, "/", "allow GET,HEAD,POST,PUT"),
            (Method::POST, "/v1/logs", "take"),
            (Method::POST, "/api/o/v1/traces", "take org=o"),
            (Method::POST, "/api/v1/write", "take"),
            (Method::POST, "/nope", "nothing"),
            (Method::POST, "/api/default/app/_search", "nothing"),
        ] {
            assert_eq!(find(&routes, method.clone(), path), want, "{method} {path}");
        }
    }

    #[test]
    fn a_text_beats_a_variable() {
        let routes = Routes::new(&paths(&[
            ("/in/{app}", &[PathFormat::Json]),
            ("/in/raw", &[PathFormat::Text]),
            ("/es", &[PathFormat::Elasticsearch]),
        ]));
        assert_eq!(find(&routes, Method::POST, "/in/raw"), "take");
        assert_eq!(find(&routes, Method::POST, "/in/other"), "take app=other");
        assert_eq!(find(&routes, Method::POST, "/es/_bulk"), "take");
        assert_eq!(find(&routes, Method::POST, "/_bulk"), "nothing");
        assert_eq!(find(&routes, Method::POST, "/in/a%00b"), "take app=a\0b");
    }
}
