//! Events to series.

use super::exemplar;
use super::names::{self, Kind, NameOf, Part};
use super::registry::{Change, FamilyId, FamilyOptions, Leave, Refused, Registry, Taken};
use crate::event::{Batch, EventKind, EventRef, FieldPath, Sym, Value, json};
use crate::sync::Locked;
use crate::template::Template;
use crate::time::TimestampReader;
use std::sync::{Mutex, MutexGuard};

/// A metric that log events feed.
pub(super) struct Metric {
    family: FamilyId,
    kind: Kind,
    value: Option<FieldPath>,
    /// For each label `name="`, with a comma in front of all but the first, and its value.
    labels: Vec<(Vec<u8>, Template)>,
}

/// As [`Metric`], before its family is known.
#[derive(Clone, Debug)]
pub(super) struct MetricOptions {
    pub(super) family: FamilyOptions,
    pub(super) value: Option<FieldPath>,
    pub(super) labels: Vec<(String, Template)>,
}

/// What became of a batch, besides what was counted.
#[derive(Default)]
pub(super) struct Outcome {
    /// Metric events that cannot be shown, with the reason.
    pub(super) refused: Vec<(usize, String)>,
    /// Metric events that found no room.
    pub(super) dropped: u64,
    /// Samples that found no room.
    pub(super) full: u64,
    /// Samples without a usable value.
    pub(super) no_value: u64,
}

/// Feeds the registry.
pub(super) struct Collector {
    metrics: Vec<Metric>,
    /// Buckets, quantiles and window of families that come with events.
    defaults: FamilyOptions,
    raw: Vec<u8>,
    labels: Vec<u8>,
    name: Vec<u8>,
    /// Labels of a metric event, to be sorted: name and whole, as spans of `raw`.
    parts: Vec<(u32, u32, u32)>,
    kind_field: Sym,
    temporality: Sym,
    exemplars: Sym,
    /// The field that says when a state began, in both spellings; and what reads it.
    starts: [Sym; 2],
    times: TimestampReader,
}

impl Collector {
    /// Adds the families of `metrics` to the registry.
    pub(super) fn new(
        metrics: Vec<MetricOptions>,
        defaults: FamilyOptions,
        registry: &mut Registry,
    ) -> Result<Self, Taken> {
        let mut compiled = Vec::new();
        for metric in metrics {
            let kind = metric.family.kind;
            let family = registry.add(metric.family)?;
            let prefix = |n: usize, name: &str| format!("{}{name}=\"", if n > 0 { "," } else { "" }).into_bytes();
            let labels = metric.labels.into_iter().enumerate();
            let labels = labels.map(|(n, (name, value))| (prefix(n, &name), value)).collect();
            compiled.push(Metric { family, kind, value: metric.value, labels });
        }
        Ok(Collector {
            metrics: compiled,
            defaults,
            raw: Vec::new(),
            labels: Vec::new(),
            name: Vec::new(),
            parts: Vec::new(),
            kind_field: Sym::from_config("kind"),
            temporality: Sym::from_config("temporality"),
            exemplars: Sym::from_config("exemplars"),
            starts: [Sym::from_config("startTimestamp"), Sym::from_config("start_timestamp")],
            times: TimestampReader::default(),
        })
    }

    /// Takes a batch in one step: a page shows all of it or nothing. `now` is the monotonic clock.
    pub(super) fn batch(&mut self, batch: &Batch, registry: &Mutex<Registry>, now: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let mut registry: MutexGuard<'_, Registry> = registry.locked();
        registry.unseen.0 += batch.len() as u64;
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            let event = batch.event(row);
            if event.kind() == EventKind::Metric {
                match self.metric_event(event, &mut registry, now) {
                    Ok(()) => {}
                    Err(Failure::Full) => outcome.dropped += 1,
                    Err(Failure::Refused(why)) => outcome.refused.push((row, why)),
                }
            } else {
                self.log_event(event, &mut registry, now, &mut outcome);
            }
        }
        outcome
    }

    fn log_event(&mut self, event: EventRef<'_>, registry: &mut Registry, now: u64, outcome: &mut Outcome) {
        if self.metrics.is_empty() {
            return;
        }
        let share = event.field(Sym::SAMPLE_RATE).and_then(|v| number(v)).filter(|r| *r > 0.0 && *r < 1.0);
        let weight = share.map_or(1.0, |share| 1.0 / share);
        for metric in &self.metrics {
            let value = match &metric.value {
                None => Some(1.0),
                Some(path) => event.get(path).and_then(number),
            };
            let change = match (metric.kind, value) {
                (Kind::Counter, Some(value)) if value >= 0.0 => Change::Add(value * weight),
                (Kind::Gauge, Some(value)) => Change::Set(value),
                (Kind::Histogram | Kind::Summary, Some(value)) => Change::Observe { value, weight },
                _ => {
                    outcome.no_value += 1;
                    continue;
                }
            };
            self.labels.clear();
            for (prefix, template) in &metric.labels {
                self.labels.extend_from_slice(prefix);
                self.raw.clear();
                template.render_or_empty(event, &mut self.raw);
                names::push_label_value(&self.raw, &mut self.labels);
                self.labels.push(b'"');
            }
            if let Err(Refused::Full) = registry.change(metric.family, &self.labels, change, now) {
                outcome.full += 1;
            }
        }
    }

    /// A metric event in the shape that `normalize` gives.
    fn metric_event(&mut self, event: EventRef<'_>, registry: &mut Registry, now: u64) -> Result<(), Failure> {
        let refuse = |why: &str| Err(Failure::Refused(why.to_owned()));
        let Some(Value::Str(name)) = event.field(Sym::NAME) else { return refuse("the metric has no name") };
        self.raw.clear();
        name.append_text(&mut self.raw);
        if self.raw.is_empty() {
            return refuse("the metric has no name");
        }
        self.name.clear();
        names::push_name(&self.raw, NameOf::Metric, &mut self.name);
        let Some(value) = event.field(Sym::VALUE).and_then(number) else {
            if event.is_stale() {
                self.end_series(event, registry);
                return Ok(());
            }
            return refuse("the metric has no numeric value");
        };
        let kind = self.kind_of(event);
        let change = match kind {
            Kind::Counter if value < 0.0 => return refuse("a counter cannot be below zero"),
            Kind::Counter | Kind::Gauge | Kind::Unknown if self.is_delta(event) => Change::Add(value),
            Kind::Counter | Kind::Gauge | Kind::Unknown => Change::Set(value),
            Kind::Histogram | Kind::Summary => Change::Observe { value, weight: 1.0 },
        };
        self.event_labels(event, kind);
        if kind == Kind::Unknown && self.name.ends_with(b"_bucket") && !has_bound(&self.labels) {
            return refuse("a bucket has no bound (the label `le`)");
        }
        let family = match registry.family(&self.name) {
            Some(family) => family,
            None => self.new_family(event, kind, registry)?,
        };
        let has = registry.families[family].options.kind;
        if has != kind {
            let why = format!("the metric is a {} already, not a {}", has.text_name(), kind.text_name());
            return Err(Failure::Refused(why));
        }
        registry.change(family, &self.labels, change, now).map_err(|Refused::Full| Failure::Full)?;
        if kind == Kind::Unknown {
            let leave = match event.field(self.temporality).and_then(|v| v.as_str()) {
                Some(word) if word.is(b"cumulative") => Leave::AtOnce,
                Some(_) => Leave::Never,
                None => Leave::AfterTwo,
            };
            registry.stamp(family, event.time().unwrap_or(0), leave);
        }
        if registry.describes
            && matches!((kind, change), (Kind::Counter | Kind::Unknown, Change::Set(_)))
            && let Some(ms) = self.start_of(event)
        {
            registry.began(family, ms);
        }
        if matches!(kind, Kind::Counter | Kind::Unknown)
            && let Some(Value::Array(list)) = event.field(self.exemplars)
        {
            registry.add_exemplars(family, exemplar::read(list));
        }
        Ok(())
    }

    /// When a state that is somebody else's began at zero, in milliseconds since 1970 UTC, where the event says it.
    fn start_of(&self, event: EventRef<'_>) -> Option<i64> {
        let value = self.starts.iter().find_map(|key| event.field(*key))?;
        let ns = match value {
            Value::Timestamp(ns) => ns,
            Value::Str(text) => self.times.read(text.bytes, event.batch().received_at)?.ns,
            Value::Number(text) => self.times.read(text, event.batch().received_at)?.ns,
            _ => return None,
        };
        Some(ns / 1_000_000)
    }

    /// Takes the series off whose end the event is; nothing where it is not there.
    #[cold]
    fn end_series(&mut self, event: EventRef<'_>, registry: &mut Registry) {
        let kind = self.kind_of(event);
        self.event_labels(event, kind);
        if kind != Kind::Histogram {
            let _was_there = registry.family(&self.name).is_some_and(|family| registry.end(family, &self.labels));
            return;
        }
        // A whole histogram of somebody else's, which is shown in its parts.
        for suffix in ["_bucket", "_sum", "_count"] {
            self.name.extend_from_slice(suffix.as_bytes());
            match registry.family(&self.name) {
                Some(family) if suffix == "_bucket" => registry.end_parts(family, &self.labels, "le"),
                Some(family) => _ = registry.end(family, &self.labels),
                None => {}
            }
            self.name.truncate(self.name.len() - suffix.len());
        }
    }

    fn kind_of(&self, event: EventRef<'_>) -> Kind {
        let is = |kind: &[u8]| event.field(Sym::TYPE).and_then(|v| v.as_str()).is_some_and(|s| s.is(kind));
        let kind = match () {
            () if is(b"counter") => Kind::Counter,
            () if is(b"histogram") => Kind::Histogram,
            () if is(b"summary") => Kind::Summary,
            () => return Kind::Gauge,
        };
        // A part of somebody else's histogram or summary is shown as it is.
        let part = match kind {
            Kind::Histogram => {
                [&b"_bucket"[..], b"_sum", b"_count", b"_created"].iter().any(|s| self.name.ends_with(s))
            }
            Kind::Summary => {
                let labels = event.field(Sym::LABELS);
                let quantile =
                    |raw| json::Children::new(raw).any(|c| json::key_is(&raw[c.key.0..c.key.1], b"quantile"));
                [&b"_sum"[..], b"_count", b"_created"].iter().any(|s| self.name.ends_with(s))
                    || matches!(labels, Some(Value::Object(raw)) if quantile(raw))
            }
            _ => false,
        };
        if part { Kind::Unknown } else { kind }
    }

    /// Whether the event says that its value is a step, not a state.
    fn is_delta(&self, event: EventRef<'_>) -> bool {
        let says = |key, word: &[u8]| event.field(key).and_then(|v| v.as_str()).is_some_and(|s| s.is(word));
        says(self.temporality, b"delta") || says(self.kind_field, b"incremental")
    }

    /// Renders the event's labels, sorted by name; of two with one name the first stays.
    fn event_labels(&mut self, event: EventRef<'_>, kind: Kind) {
        self.labels.clear();
        let Some(Value::Object(object)) = event.field(Sym::LABELS) else { return };
        self.raw.clear();
        self.parts.clear();
        for child in json::Children::new(object) {
            let start = self.raw.len();
            names::push_name(&object[child.key.0..child.key.1], NameOf::Label, &mut self.raw);
            let reserved = match kind {
                Kind::Histogram => &self.raw[start..] == b"le",
                Kind::Summary => &self.raw[start..] == b"quantile",
                _ => false,
            };
            if reserved {
                self.raw.push(b'_');
            }
            let name_end = self.raw.len();
            self.raw.extend_from_slice(b"=\"");
            // The plain text is made behind the label and moved over it escaped.
            let plain = self.raw.len();
            match json::value_of(&object[child.value.0..child.value.1]) {
                Value::Null => {}
                value => value.append_text(&mut self.raw),
            }
            if self.raw.len() == plain {
                // An empty label is as good as none: with it, one series would be two.
                self.raw.truncate(start);
                continue;
            }
            self.labels.clear();
            names::push_label_value(&self.raw[plain..], &mut self.labels);
            self.raw.truncate(plain);
            self.raw.extend_from_slice(&self.labels);
            self.raw.push(b'"');
            self.parts.push((start as u32, name_end as u32, self.raw.len() as u32));
        }
        self.labels.clear();
        let raw = &self.raw;
        let name = |p: &(u32, u32, u32)| &raw[p.0 as usize..p.1 as usize];
        // Unstable: a stable sort allocates. The place breaks ties, so the first stays first.
        self.parts.sort_unstable_by(|a, b| name(a).cmp(name(b)).then(a.0.cmp(&b.0)));
        self.parts.dedup_by(|b, a| name(a) == name(b));
        for part in &self.parts {
            if !self.labels.is_empty() {
                self.labels.push(b',');
            }
            self.labels.extend_from_slice(&raw[part.0 as usize..part.2 as usize]);
        }
    }

    #[cold]
    fn new_family(&self, event: EventRef<'_>, kind: Kind, registry: &mut Registry) -> Result<FamilyId, Failure> {
        if !registry.has_room_for_family() {
            return Err(Failure::Full);
        }
        let text = |key| {
            let mut out = Vec::new();
            if let Some(Value::Str(s)) = event.field(key) {
                s.append_text(&mut out);
            }
            String::from_utf8_lossy(&out).chars().filter(|c| *c != '\0').take(1024).collect::<String>()
        };
        let unit = text(Sym::UNIT);
        let name = String::from_utf8_lossy(&self.name).into_owned();
        let part = (kind == Kind::Unknown).then(|| self.part_of(event, &name)).flatten();
        let options = FamilyOptions {
            name,
            kind,
            part,
            help: text(Sym::DESCRIPTION),
            unit: if names::is_label_name(&unit) { unit } else { String::new() },
            ..self.defaults.clone()
        };
        let alone = options.part.is_some().then(|| FamilyOptions { part: None, ..options.clone() });
        // Where another metric has the name of the whole, the part stands for itself.
        let added = registry.add(options).or_else(|taken| alone.map_or(Err(taken), |alone| registry.add(alone)));
        added.map_err(|Taken(other)| {
            Failure::Refused(format!("the metric's name goes with `{other}`, which is another metric"))
        })
    }

    /// What the event is of somebody else's histogram or summary.
    fn part_of(&self, event: EventRef<'_>, name: &str) -> Option<Part> {
        let is_summary = event.field(Sym::TYPE).and_then(|v| v.as_str()).is_some_and(|s| s.is(b"summary"));
        Part::of(name, if is_summary { Kind::Summary } else { Kind::Histogram })
    }
}

/// Whether there is a label `le` among labels as they stand in the exposition; a quote within a value has a backslash before it.
fn has_bound(labels: &[u8]) -> bool {
    labels.starts_with(b"le=\"") || memchr::memmem::find(labels, b",le=\"").is_some()
}

/// Why a metric event is not shown.
enum Failure {
    Full,
    Refused(String),
}

/// A finite number, or text that is one.
fn number(value: Value<'_>) -> Option<f64> {
    let x = match value {
        Value::Str(s) => std::str::from_utf8(s.bytes).ok()?.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    x.is_finite().then_some(x)
}
