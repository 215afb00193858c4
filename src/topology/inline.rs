//! A topology without threads, queues or sinks: events in, and what each component made of them. For `try` and `test`.

use super::StartError;
use super::build::Surroundings;
use super::recent::Frame;
use super::steps::take_rejects;
use crate::ack::Ack;
use crate::component::common::Attach;
use crate::component::plan::{Preview, SinkPlan, SourcePlan};
use crate::component::trial::alone;
use crate::component::{Chance, Delta, Emitter, Note, Notes, Rule, Transform, attach};
use crate::condition::{Condition, Faults};
use crate::decoding::{DecodeStats, Decoder, OnDecodeError};
use crate::event::{Batch, FieldPath, Origin, Slab, Sym};
use crate::event::{Chunk, Frames};
use crate::framing::{Framer, Framing, Spans, container};
use crate::pipeline::{AnyPlan, Config, Edge};
use crate::telemetry::{ComponentKind, Counters};
use std::collections::HashMap;
use std::sync::Arc;

/// What one component made of what it was given.
pub struct Stage {
    /// Its id.
    pub id: String,
    /// Its `type`.
    pub type_name: &'static str,
    /// What it is.
    pub kind: ComponentKind,
    /// What came in.
    pub came: Vec<Batch>,
    /// What went out by each output that carried something; the default output has the empty name. A sink has what
    /// reached it.
    pub out: Vec<StageOutput>,
    /// Dropped events by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Fields that its conditions missed, where [`absent::ask`](crate::condition::absent::ask) was called.
    pub absent: Vec<String>,
    /// Why it did so, where that was [asked for](Inline::telling).
    pub notes: Vec<Note>,
    /// It has put out rejected events, which nobody reads: they end as dropped, `rejected_unread`.
    pub unread: bool,
}

/// Events that left by one output.
pub struct StageOutput {
    /// Its name; empty for the default one.
    pub name: String,
    /// The events.
    pub batches: Vec<Batch>,
}

enum Part {
    Source {
        plan: Box<dyn SourcePlan>,
        /// Of frames in UTF-8.
        decoder: Decoder,
        /// Of frames as the source has them.
        raw: Decoder,
        framing: Option<Framing>,
        attach: Vec<(FieldPath, Sym)>,
        when: Option<Condition>,
    },
    Transform {
        transform: Box<dyn Transform>,
        outputs: Vec<String>,
    },
    Sink {
        plan: Box<dyn SinkPlan>,
        when: Option<Condition>,
    },
}

/// What a source makes of a frame.
pub struct Entered {
    /// Its events.
    pub events: Batch,
    /// What goes out by `rejected`, in envelopes.
    pub rejected: Option<Batch>,
    /// Events dropped by reason.
    pub dropped: Vec<(&'static str, u64)>,
}

struct Node {
    id: String,
    type_name: &'static str,
    kind: ComponentKind,
    inputs: Vec<Edge>,
    part: Part,
}

/// The components of a configuration, sinks not built.
pub struct Inline {
    nodes: Vec<Node>,
    timezone: jiff::tz::TimeZone,
    /// What is told besides what becomes of events.
    tells: Tells,
    /// Of sources, since the last run: why they did what they did, and what they dropped.
    told: HashMap<String, (Notes, Vec<(&'static str, u64)>)>,
    host: Arc<str>,
}

/// What is told of a run besides what becomes of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Nothing.
    Nothing,
    /// Of sources too what they drop.
    Drops,
    /// That, and of each component why it does what it does.
    Reasons,
}

impl Inline {
    /// Builds decoders and transforms; reads the files that transforms name, touches nothing else.
    ///
    /// Errors: all that went wrong.
    pub fn new(config: Config, chance: Chance) -> Result<Inline, Vec<StartError>> {
        let mut errors = Vec::new();
        let mut nodes = Vec::new();
        let surroundings = Surroundings { once: true, chance, ..Surroundings::of(&config) };
        let host = surroundings.host.clone();
        for component in config.components {
            let id = component.id.value;
            let cx = surroundings.context(Counters::new(&id, component.kind, component.type_name));
            let part = match component.plan {
                AnyPlan::Source(plan) => {
                    let common = plan.common().clone();
                    plan.decoder(&cx).and_then(|frames| {
                        let raw = Decoder::new(frames.fork(), common.on_decode_error)
                            .with_charset(plan.charset(), common.invalid_utf8);
                        Ok(Part::Source {
                            // Lines of tests are in UTF-8, whatever the source's are in.
                            decoder: Decoder::new(frames, common.on_decode_error)
                                .with_charset(None, common.invalid_utf8),
                            raw,
                            framing: plan.framing()?,
                            attach: Attach::pairs(&common.attach),
                            when: common.when,
                            plan,
                        })
                    })
                }
                AnyPlan::Transform(plan) => {
                    let outputs = plan.outputs();
                    plan.build(&cx).map(|transform| Part::Transform { transform, outputs })
                }
                AnyPlan::Sink(plan) => Ok(Part::Sink { when: plan.common().when.clone(), plan }),
            };
            match part {
                Ok(part) => {
                    let (type_name, kind, inputs) = (component.type_name, component.kind, component.inputs);
                    nodes.push(Node { id, type_name, kind, inputs, part });
                }
                Err(error) => {
                    errors.push(StartError::of(id, &error));
                }
            }
        }
        let timezone = config.globals.timezone;
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Inline { nodes, timezone, tells: Tells::Nothing, told: HashMap::new(), host })
    }

    /// Tells more from now on.
    #[must_use]
    pub fn telling(self, tells: Tells) -> Inline {
        Inline { tells, ..self }
    }

    /// The name of this host, as sources give it to what they read here.
    pub fn host(&self) -> Arc<str> {
        self.host.clone()
    }

    /// Each component with the settings that decide something in it, in the order of the graph.
    pub fn rules(&self) -> Vec<(&str, ComponentKind, &'static str, Vec<Rule>)> {
        let rules = |node: &Node| match &node.part {
            Part::Source { when, .. } | Part::Sink { when, .. } => {
                when.iter().map(|_| Rule::condition(&["when"])).collect()
            }
            Part::Transform { transform, .. } => transform.rules(),
        };
        self.nodes.iter().map(|node| (node.id.as_str(), node.kind, node.type_name, rules(node))).collect()
    }

    /// The text of a file as the source `id` would read it; `most` bytes at most.
    ///
    /// Errors: it cannot be read, or there is no such source.
    pub fn text_of(&self, id: &str, path: &std::path::Path, most: u64) -> std::io::Result<Vec<u8>> {
        match self.node(id).map(|node| &node.part) {
            Some(Part::Source { plan, .. }) => plan.text_of(path, most),
            _ => Err(std::io::Error::other(format!("there is no source `{id}`"))),
        }
    }

    fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.id == id)
    }

    /// What shows what the sink `id` would write; `None` for one that writes JSON, or nothing.
    pub fn preview(&self, id: &str) -> Option<Box<dyn Preview>> {
        match &self.node(id)?.part {
            Part::Sink { plan, .. } => plan.preview(&self.timezone),
            _ => None,
        }
    }

    /// Whether the sink `id` throws away what it is given.
    pub fn throws_away(&self, id: &str) -> bool {
        matches!(self.node(id).map(|node| &node.part), Some(Part::Sink { plan, .. }) if !plan.exposes())
    }

    /// Another instance of the transform `id`.
    pub fn transform(&self, id: &str) -> Option<Box<dyn Transform>> {
        match &self.node(id)?.part {
            Part::Transform { transform, .. } => Some(transform.fork()),
            _ => None,
        }
    }

    /// Whether the source `id` would read the file at this absolute path; `None` for one that reads no files.
    pub fn reads(&self, id: &str, path: &std::path::Path) -> Option<bool> {
        match &self.node(id)?.part {
            Part::Source { plan, .. } if plan.reads_files() => Some(plan.reads(path).is_some()),
            _ => None,
        }
    }

    /// Ids of the sources, in order.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|n| n.kind == ComponentKind::Source).map(|n| n.id.as_str())
    }

    /// What the component `id` is.
    pub fn kind(&self, id: &str) -> Option<ComponentKind> {
        self.nodes.iter().find(|n| n.id == id).map(|n| n.kind)
    }

    /// The frames of a text as the source `id` cuts it up: lines, or what it joins of them, without line ends; each with the
    /// number of its first line, from 1.
    pub fn frames(&self, id: &str, text: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let part = self.nodes.iter().find(|n| n.id == id).map(|n| &n.part);
        match part {
            Some(Part::Source { framing: Some(Framing::Containers(rule)), .. }) => {
                container::frames_of(rule.clone(), text)
            }
            Some(Part::Source { framing: Some(Framing::Lines(rule)), .. }) => {
                let (mut framer, mut spans) = (Framer::new(rule.clone()), Spans::new());
                let done = framer.frame(text, 0, 0, &mut spans);
                let mut rest = Spans::new();
                framer.finish(&text[done..], 0, 0, &mut rest);
                let behind = rest.iter().map(|(from, to, _)| *from as usize + done..*to as usize + done);
                let (mut number, mut counted) = (1, 0);
                let spans = spans.iter().map(|(from, to, _)| *from as usize..*to as usize).chain(behind);
                let numbered = |frame: std::ops::Range<usize>| {
                    number += memchr::memchr_iter(b'\n', &text[counted..frame.start]).count() as u64;
                    counted = frame.start;
                    (number, text[frame].to_vec())
                };
                spans.map(numbered).collect()
            }
            _ => {
                let bare = |line: &[u8]| {
                    let bare = line.strip_suffix(b"\n").unwrap_or(line);
                    bare.strip_suffix(b"\r").unwrap_or(bare).to_vec()
                };
                let lines = text.split_inclusive(|c| *c == b'\n');
                lines.zip(1..).map(|(line, number)| (number, bare(line))).collect()
            }
        }
    }

    /// Whether the source `id` joins lines.
    pub fn joins_lines(&self, id: &str) -> bool {
        self.nodes.iter().any(|n| n.id == id && matches!(n.part, Part::Source { framing: Some(_), .. }))
    }

    /// A frame as the source `id` decodes it, with what it rejects as `id.rejected`.
    pub fn decode(&mut self, id: &str, line: &str, origin: Arc<Origin>, now: i64) -> Option<(Batch, Option<Batch>)> {
        let frame = Frame::Text(line.as_bytes().to_vec(), 0, true);
        self.take(id, frame, origin, now).map(|entered| (entered.events, entered.rejected))
    }

    /// The same of a frame that a source has read.
    pub fn take(&mut self, id: &str, frame: Frame, origin: Arc<Origin>, now: i64) -> Option<Entered> {
        let tells = self.tells;
        let node = self.nodes.iter_mut().find(|n| n.id == id)?;
        let Part::Source { plan, decoder, raw, attach: attached, when, framing } = &mut node.part else { return None };
        let mut notes = Notes::default();
        if let (Tells::Reasons, Frame::Text(text, ..), Some(_)) = (tells, &frame, &framing) {
            let more = memchr::memchr_iter(b'\n', text).count();
            if more > 0 {
                notes.hit(Rule::at(&["multiline"]), format!("{} lines make one event", more + 1));
            }
        }
        let mut stats = DecodeStats::default();
        let mut batch = match frame {
            Frame::Event(batch) => batch,
            Frame::Text(text, place, is_utf8) => {
                let frames = Frames::Spans(vec![(0, text.len() as u32, place)]);
                let text = Slab::from_vec(text);
                let chunk = Chunk { text, frames, origin, offset: place, received_at: now, ack: Ack::none() };
                if is_utf8 { decoder } else { raw }.decode(chunk, &mut stats)
            }
        };
        let mut dropped = Vec::new();
        if stats.dropped > 0 {
            dropped.push(("decode_error", stats.dropped));
        }
        let rejected = take_rejects(&mut batch, &stats.rejects, Some(id), || now, &mut Vec::new());
        attach(&mut batch, attached);
        if tells == Tells::Reasons {
            tell_source(plan.common().on_decode_error, &batch, &stats, when.as_ref(), &mut notes);
        }
        if let Some(when) = when {
            let filtered = batch.retain(|e| when.holds(e, &mut Faults::default()));
            if filtered > 0 {
                dropped.push(("filtered", filtered as u64));
            }
        }
        if tells != Tells::Nothing {
            let told = self.told.entry(id.to_owned()).or_default();
            told.0.0.extend(notes.0);
            for (reason, n) in &dropped {
                match told.1.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, sum)) => *sum += n,
                    None => told.1.push((*reason, *n)),
                }
            }
        }
        Some(Entered { events: batch, rejected, dropped })
    }

    /// Ids of the components whose rejected events somebody reads.
    fn rejected_read(&self) -> Vec<String> {
        let edges = self.nodes.iter().flat_map(|node| &node.inputs);
        edges.filter(|edge| edge.output.as_deref() == Some("rejected")).map(|edge| edge.from.clone()).collect()
    }

    /// Lets batches enter at components and follows them to the sinks. Sources take what [`decode`](Inline::decode)
    /// gave, by `id` or `id.rejected`. `finish` makes transforms emit what they hold.
    ///
    /// Shape: one stage for each component that something came to, in the order of the graph.
    pub fn run(&mut self, enter: Vec<(String, Batch)>, now: i64, finish: bool) -> Vec<Stage> {
        let mut stages = Vec::new();
        let mut flowing: HashMap<(String, String), Vec<Batch>> = HashMap::new();
        let mut direct: HashMap<String, Vec<Batch>> = HashMap::new();
        for (at, batch) in enter {
            direct.entry(at).or_default().push(batch);
        }
        let (mut delta, mut json) = (Delta::default(), Vec::new());
        let tells = self.tells == Tells::Reasons;
        let rejected_read = self.rejected_read();
        for node in &mut self.nodes {
            let (mut notes, source_dropped) = self.told.remove(&node.id).unwrap_or_default();
            delta.dropped.extend(source_dropped);
            let mut came: Vec<Batch> = Vec::new();
            for edge in &node.inputs {
                let key = (edge.from.clone(), edge.output.clone().unwrap_or_default());
                came.extend(flowing.get(&key).into_iter().flatten().map(Batch::fork));
            }
            came.extend(direct.remove(&node.id).unwrap_or_default());
            came.retain(|b| !b.is_empty());
            let mut out: Vec<StageOutput> = Vec::new();
            let mut put = |name: &str, batch: Batch| {
                if batch.is_empty() {
                    return;
                }
                flowing.entry((node.id.clone(), name.to_owned())).or_default().push(batch.fork());
                match out.iter_mut().find(|o| o.name == name) {
                    Some(o) => o.batches.push(batch),
                    None => out.push(StageOutput { name: name.to_owned(), batches: vec![batch] }),
                }
            };
            let made = match &mut node.part {
                Part::Source { .. } => {
                    let rejected = direct.remove(&format!("{}.rejected", node.id)).unwrap_or_default();
                    let events: Vec<_> = came.iter().map(|batch| (String::new(), batch.fork())).collect();
                    came.extend(rejected.iter().map(Batch::fork));
                    events.into_iter().chain(rejected.into_iter().map(|batch| ("rejected".to_owned(), batch))).collect()
                }
                Part::Sink { when, plan } => {
                    let told = tells.then_some(&mut notes);
                    through_sink(&**plan, when.as_mut(), &came, told, &mut delta)
                }
                Part::Transform { transform, outputs } => {
                    let mut work: Vec<Option<Batch>> = match tells {
                        // One after the other, so that each is told as it is when its turn comes.
                        true => came.iter().flat_map(Batch::iter).map(|event| Some(alone(event))).collect(),
                        false => came.iter().map(|batch| Some(batch.fork())).collect(),
                    };
                    work.extend(finish.then_some(None));
                    let mut made = Vec::new();
                    for batch in work {
                        if let (Some(batch), true) = (&batch, tells) {
                            batch.iter().for_each(|event| transform.explain(event, &mut notes));
                        }
                        let mut emitter = Emitter::new(&node.id, true, &mut delta, &mut json);
                        emitter.rejected_at = Some(now);
                        through_transform(&mut **transform, outputs, batch, now, &mut emitter, &mut made);
                    }
                    made
                }
            };
            made.into_iter().for_each(|(name, batch)| put(&name, batch));
            let dropped = std::mem::take(&mut delta.dropped);
            delta = Delta::default();
            if !came.is_empty() || !out.is_empty() || !dropped.is_empty() {
                let unread = out.iter().any(|o| o.name == "rejected") && !rejected_read.contains(&node.id);
                if unread && tells {
                    notes.say(format!(
                        "nobody reads `{}.rejected`: what goes there ends as dropped (rejected_unread)",
                        node.id
                    ));
                }
                let notes = notes.0;
                let (id, type_name, kind) = (node.id.clone(), node.type_name, node.kind);
                let absent = crate::condition::absent::take();
                stages.push(Stage { id, type_name, kind, came, out, dropped, absent, notes, unread });
            }
        }
        stages
    }
}

/// What a sink takes of what came.
fn through_sink(
    plan: &dyn SinkPlan,
    mut when: Option<&mut Condition>,
    came: &[Batch],
    mut told: Option<&mut Notes>,
    delta: &mut Delta,
) -> Vec<(String, Batch)> {
    let (mut filtered, mut stale, mut taken) = (0, 0, Vec::new());
    for batch in came {
        let mut batch = batch.fork();
        if batch.may_have_stale() && !plan.takes_stale() {
            stale += batch.retain(|e| !e.is_stale()) as u64;
        }
        if let Some(when) = &mut when {
            if let Some(notes) = &mut told {
                tell_when(&batch, when, notes);
            }
            filtered += batch.retain(|e| when.holds(e, &mut Faults::default())) as u64;
        }
        taken.push((String::new(), batch));
    }
    if let (true, Some(notes)) = (stale > 0, told) {
        notes.say("the end of a series, which this sink does not know: dropped (stale)");
    }
    let dropped = [("filtered", filtered), ("stale", stale)];
    delta.dropped.extend(dropped.into_iter().filter(|(_, n)| *n > 0));
    taken
}

/// What a transform makes of a batch, or at the end of what it holds, by the names of its outputs.
fn through_transform(
    transform: &mut dyn Transform,
    outputs: &[String],
    batch: Option<Batch>,
    now: i64,
    emitter: &mut Emitter<'_>,
    made: &mut Vec<(String, Batch)>,
) {
    match batch {
        Some(mut batch) => {
            transform.apply(&mut batch, emitter);
            made.push((String::new(), batch));
        }
        None => transform.finish(now, emitter),
    }
    made.extend(emitter.rejects.take().map(|batch| ("rejected".to_owned(), batch)));
    let others = std::mem::take(&mut emitter.outputs);
    made.extend(others.into_iter().map(|(n, batch)| (name_of(outputs, n).to_owned(), batch)));
}

/// Tells what a condition says of each event of a batch.
fn tell_when(batch: &Batch, when: &Condition, notes: &mut Notes) {
    for event in batch.iter() {
        notes.condition(Rule::condition(&["when"]), when, event, ("taken", "dropped (filtered)"));
    }
}

/// Tells what a source makes of a frame.
fn tell_source(
    on_error: OnDecodeError,
    batch: &Batch,
    stats: &DecodeStats,
    when: Option<&Condition>,
    notes: &mut Notes,
) {
    let reason = stats.rejects.first().map(|(_, why)| format!(" ({why})")).unwrap_or_default();
    match on_error {
        _ if stats.errors == 0 => {
            let fields: usize = batch.iter().map(|event| event.len()).sum();
            let events = if batch.len() == 1 { String::new() } else { format!("{} events, ", batch.len()) };
            let word = if fields == 1 { "field" } else { "fields" };
            notes.hit(Rule::at(&["decode"]), format!("decoded: {events}{fields} {word}"));
        }
        OnDecodeError::Keep => {
            notes.hit(Rule::at(&["on_decode_error"]), "not of the format: goes on as text, marked with `decode_error`");
        }
        OnDecodeError::Reject => {
            notes
                .hit(Rule::at(&["on_decode_error"]), format!("not of the format{reason}: goes to `rejected` (decode)"));
        }
        OnDecodeError::Drop => {
            notes.hit(Rule::at(&["on_decode_error"]), "not of the format: dropped (decode_error)");
        }
    }
    if stats.invalid_utf8 > 0 {
        notes.say("holds bytes that are not UTF-8 (invalid_utf8)");
    }
    if let Some(when) = when {
        tell_when(batch, when, notes);
    }
}

/// The name of output `n`; 0 is the default one.
fn name_of(outputs: &[String], n: usize) -> &str {
    n.checked_sub(1).and_then(|n| outputs.get(n)).map_or("", String::as_str)
}
