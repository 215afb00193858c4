//! What two configurations make of the same frames: each frame goes through both graphs alone, and what reaches each sink is compared.
//!
//! - Nothing is left to chance or to the clock: an event has the same fate in every `sample`, and the time when it was read.
//! - What is missing at a sink is laid to the first component above it that took more of the frame than the other graph did.
//! - Examples are shown as `api.tap` of the configuration that runs allows. `redacted`: where no `redact` has been over an event,
//!   `detect: [secrets]` is. What the new configuration makes of it passes the running one's `redact`s as well, but for those
//!   that are kept on every way to the sink: so nobody sees by a plan what he would not see by a tap.

use super::report::{Events, FieldChange, Group, Pair, Shown, SinkEffect, Tried};
use super::settings::Written;
use crate::component::Transform;
use crate::component::plan::Preview;
use crate::event::{Batch, EventRef, Origin};
use crate::pipeline::{Edge, Tap};
use crate::settings::mask_known;
use crate::telemetry::ComponentKind;
use crate::telemetry::panics::caught;
use crate::topology::recent::{Frame, Taken};
use crate::topology::{Inline, Stage, apply_alone};
use crate::transforms::redact::{Action, DetectKind, Redact, RedactOptions, Rules};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Examples of each kind.
const EXAMPLES: usize = 3;
/// Longest text of an example.
const MAX_EXAMPLE: usize = 4096;
/// Rules, and fields, that are told of a sink.
const MAX_GROUPS: usize = 50;
/// How long events are tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// A component, as far as the way of events through it matters.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) kind: ComponentKind,
    pub(super) type_name: &'static str,
    pub(super) inputs: Vec<Edge>,
    pub(super) redacts: bool,
}

/// One of the two configurations.
pub(super) struct Side<'a> {
    pub(super) inline: Inline,
    pub(super) nodes: Vec<Node>,
    pub(super) written: Written<'a>,
    previews: HashMap<String, Option<Box<dyn Preview>>>,
    above: HashMap<String, HashSet<String>>,
}

/// What one frame came to.
#[derive(Default)]
struct Run {
    /// Sources that took it.
    entered: Vec<String>,
    /// What they dropped of it.
    dropped: Vec<(String, &'static str, u64)>,
    stages: Vec<Stage>,
    /// A component panicked: its words.
    panicked: Option<String>,
}

impl<'a> Side<'a> {
    pub(super) fn new(inline: Inline, nodes: Vec<Node>, written: Written<'a>) -> Side<'a> {
        let mut side = Side { inline, nodes, written, previews: HashMap::new(), above: HashMap::new() };
        let sinks: Vec<String> = side.sinks().map(str::to_owned).collect();
        side.above = sinks.iter().map(|sink| (sink.clone(), side.above(sink))).collect();
        side
    }

    fn sinks(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|n| n.kind == ComponentKind::Sink).map(|n| n.id.as_str())
    }

    fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.id == id)
    }

    /// The sink and all that events pass on their way to it.
    fn above(&self, sink: &str) -> HashSet<String> {
        let (mut found, mut open) = (HashSet::new(), vec![sink.to_owned()]);
        while let Some(id) = open.pop() {
            let inputs = self.node(&id).into_iter().flat_map(|n| &n.inputs);
            open.extend(inputs.map(|edge| edge.from.clone()));
            found.insert(id);
        }
        found
    }

    /// Whether events of a source come to a component by a way on which nothing `stops` them. What a component puts out by
    /// name goes around it.
    fn reaches(&self, source: &str, to: &str, stops: impl Fn(&Node) -> bool) -> bool {
        let mut found: HashSet<&str> = HashSet::from([source]);
        // Each node stands behind those that it reads.
        for node in &self.nodes {
            let passes = |edge: &Edge| {
                let from = self.node(&edge.from);
                found.contains(edge.from.as_str()) && !from.is_some_and(|f| edge.output.is_none() && stops(f))
            };
            if node.inputs.iter().any(passes) {
                found.insert(&node.id);
            }
        }
        found.contains(to)
    }

    fn is_source(&self, id: &str) -> bool {
        self.node(id).is_some_and(|n| n.kind == ComponentKind::Source)
    }

    /// The sources that read the file at this absolute path.
    fn readers(&self, path: &Path) -> Vec<String> {
        let sources = self.nodes.iter().filter(|n| n.kind == ComponentKind::Source);
        sources.filter(|n| self.inline.reads(&n.id, path) == Some(true)).map(|n| n.id.clone()).collect()
    }

    /// The only source, where it is.
    fn only(&self) -> Option<String> {
        let mut all = self.nodes.iter().filter(|n| n.kind == ComponentKind::Source).map(|n| n.id.clone());
        all.next().filter(|_| all.next().is_none())
    }

    /// One frame on its way.
    fn run(&mut self, frames: Frames, taken: &Taken, ids: u128) -> Run {
        let mut run = Run::default();
        let mut enter = Vec::new();
        for (id, frame) in frames {
            let origin = match *taken.origin.source == *id {
                true => taken.origin.clone(),
                false => Arc::new(Origin { source: id.as_str().into(), ..(*taken.origin).clone() }),
            };
            let entered = match caught(|| self.inline.take(&id, frame, origin, taken.received_at)) {
                Ok(Some(entered)) => entered,
                Ok(None) => continue,
                Err(words) => {
                    run.panicked = Some(words);
                    continue;
                }
            };
            let (mut events, rejected) = (entered.events, entered.rejected);
            events.ids = ids;
            run.dropped.extend(entered.dropped.iter().map(|(reason, n)| (id.clone(), *reason, *n)));
            enter.extend(rejected.map(|batch| (format!("{id}.rejected"), batch)));
            enter.push((id.clone(), events));
            run.entered.push(id);
        }
        self.pass(enter, taken.received_at, false, run)
    }

    fn pass(&mut self, enter: Vec<(String, Batch)>, now: i64, finish: bool, mut run: Run) -> Run {
        match caught(|| self.inline.run(enter, now, finish)) {
            Ok(stages) => run.stages = stages,
            Err(words) => run.panicked = Some(words),
        }
        run
    }

    /// The setting by which a component takes events for this reason.
    fn rule(&self, id: &str, reason: &str) -> Option<String> {
        let keys: &[&str] = match reason {
            "filtered" => &["when"],
            "sampled" => &["rate", "rates", "rules"],
            "rate_limited" => &["limit"],
            "folded" => &["dedupe"],
            "goes elsewhere" => &["outputs"],
            "not read" => &["include", "exclude"],
            "decode_error" => &["decode"],
            "other inputs" => &["inputs"],
            "joined otherwise" => &["multiline"],
            _ => &[],
        };
        let node = self.node(id)?;
        let component = self.written.get(node.kind.section())?.get(id)?;
        let texts: Vec<String> =
            keys.iter().filter_map(|key| Some(format!("{key}: {}", component.get(key)?.text()))).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

/// The sources of both graphs that lines of a file are given to: the one that is named, those that read it, or the only one.
pub(super) fn given(before: &Side<'_>, after: &Side<'_>, id: &str, file: &Path) -> (Vec<String>, Vec<String>) {
    if !id.is_empty() {
        let named = |side: &Side<'_>| side.is_source(id).then(|| id.to_owned()).into_iter().collect();
        return (named(before), named(after));
    }
    match (before.readers(file), after.readers(file)) {
        (old, new) if old.is_empty() && new.is_empty() => {
            (before.only().into_iter().collect(), after.only().into_iter().collect())
        }
        readers => readers,
    }
}

/// The live events at a sink.
fn at<'r>(run: &'r Run, sink: &str) -> Vec<EventRef<'r>> {
    let stage = run.stages.iter().find(|s| s.id == sink);
    stage.into_iter().flat_map(|s| &s.out).flat_map(|o| &o.batches).flat_map(Batch::iter).collect()
}

fn json(event: EventRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    event.write_json(&mut out);
    out
}

/// Frames, each with the source that takes it.
type Frames = Vec<(String, Frame)>;

/// Which of the two graphs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    Before,
    After,
}

/// Both graphs, and what was found so far.
pub(super) struct Trial<'a> {
    before: Side<'a>,
    after: Side<'a>,
    /// Ids of components that are the same in both.
    kept: BTreeSet<String>,
    tap: Tap,
    /// Whether any source of each graph takes what is being tried.
    takes: (bool, bool),
    masks: HashMap<(Which, String, String), Vec<Box<dyn Transform>>>,
    sinks: BTreeMap<String, SinkEffect>,
    fields: HashMap<String, BTreeMap<(String, &'static str), u64>>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(before: Side<'a>, after: Side<'a>, kept: BTreeSet<String>, tap: Tap) -> Trial<'a> {
        let ids = before.sinks().chain(after.sinks()).map(str::to_owned);
        let sinks = ids.map(|id| (id.clone(), SinkEffect { id, ..SinkEffect::default() })).collect();
        let (masks, fields) = (HashMap::new(), HashMap::new());
        Trial { before, after, kept, tap, takes: (true, true), masks, sinks, fields }
    }

    /// Tries frames, by source; `as_lines` where they are lines that no source has joined yet.
    pub(super) fn run(mut self, recent: Vec<(String, Vec<Taken>)>, from: String, as_lines: bool) -> Events {
        let mut events = Events { from, examples: self.tap.word().to_owned(), ..Events::default() };
        let until = Instant::now() + PATIENCE;
        let mut last = 0;
        'all: for (id, all) in recent {
            let mut tried = 0;
            for (n, taken) in all.iter().enumerate() {
                last = last.max(taken.received_at);
                let (old, new) = self.takers(&id, taken, as_lines);
                self.takes = (!old.is_empty(), !new.is_empty());
                for (key, (old, new)) in self.frames(&id, taken, as_lines) {
                    if Instant::now() >= until {
                        events.cut_short = true;
                        events.sources.push(Tried { id, frames: tried });
                        break 'all;
                    }
                    let ids = xxhash_rust::xxh3::xxh3_128(format!("{id} {n} {key}").as_bytes());
                    let was_read = !old.is_empty();
                    let (old, new) = (self.before.run(old, taken, ids), self.after.run(new, taken, ids));
                    tried += u64::from(was_read || !new.entered.is_empty());
                    self.compare(&id, &old, &new);
                }
            }
            events.sources.push(Tried { id, frames: tried });
        }
        let old = self.before.pass(Vec::new(), last, true, Run::default());
        let new = self.after.pass(Vec::new(), last, true, Run::default());
        self.compare("", &old, &new);
        self.finish(events)
    }

    fn finish(self, mut events: Events) -> Events {
        // In the order of the graphs.
        let mut ids: Vec<String> = self.before.sinks().map(str::to_owned).collect();
        ids.extend(
            self.after.sinks().filter(|id| !ids.iter().any(|known| known == id)).map(str::to_owned).collect::<Vec<_>>(),
        );
        let (mut sinks, mut fields) = (self.sinks, self.fields);
        for id in ids {
            let Some(mut sink) = sinks.remove(&id) else { continue };
            let changes = fields.remove(&id).unwrap_or_default().into_iter();
            let changes = changes.map(|((path, how), events)| FieldChange { path, how: how.into(), events });
            sink.fields = changes.collect();
            sink.fields.sort_by_key(|change| std::cmp::Reverse(change.events));
            sink.fields.truncate(MAX_GROUPS);
            for groups in [&mut sink.lost, &mut sink.new] {
                groups.sort_by_key(|group| std::cmp::Reverse(group.events));
            }
            events.sinks.push(sink);
        }
        events
    }

    /// The sources of each graph that take what source `id` has read, or lines that are to be given to it.
    fn takers(&self, id: &str, taken: &Taken, as_lines: bool) -> (Vec<String>, Vec<String>) {
        let path = taken.origin.file.as_ref().and_then(|file| std::path::absolute(&**file).ok());
        if as_lines {
            let path = path.unwrap_or_default();
            return given(&self.before, &self.after, id, &path);
        }
        let old = self.before.is_source(id).then(|| id.to_owned()).into_iter().collect();
        if self.kept.contains(id) {
            return (old, vec![id.to_owned()]);
        }
        let Some(path) = path else {
            return (old, self.after.is_source(id).then(|| id.to_owned()).into_iter().collect());
        };
        let (was, is) = (self.before.readers(&path), self.after.readers(&path));
        // A file that was rotated may have a name by now that none of them reads.
        let reads_on = is.iter().any(|r| r == id) || !was.iter().any(|r| r == id);
        let reads_on = reads_on && self.after.is_source(id)
            || self.after.inline.reads(id, &path).is_none() && self.after.is_source(id);
        let others = is.iter().filter(|r| *r != id && !was.contains(r)).cloned();
        let new = reads_on.then(|| id.to_owned()).into_iter().chain(others).collect();
        (old, new)
    }

    /// What each graph makes a frame of, by the number of its first line.
    fn frames(&self, id: &str, taken: &Taken, as_lines: bool) -> BTreeMap<u64, (Frames, Frames)> {
        let (old, new) = self.takers(id, taken, as_lines);
        let is_same = old == new && new.iter().all(|id| self.kept.contains(id));
        let joins = |side: &Side<'_>, ids: &[String]| ids.iter().any(|id| side.inline.joins_lines(id));
        let again = (as_lines || !is_same) && (joins(&self.before, &old) || joins(&self.after, &new));
        let lines = taken.lines().filter(|_| again);
        let mut all: BTreeMap<u64, (Frames, Frames)> = BTreeMap::new();
        for (side, ids, is_old) in [(&self.before, old, true), (&self.after, new, false)] {
            for id in ids {
                let frames = match &lines {
                    // What ran joins lines as it did; frames are told apart by their first lines.
                    Some(lines) => {
                        let of = |(line, text): (u64, Vec<u8>)| (line, Frame::Text(text, line, taken.is_utf8()));
                        side.inline.frames(&id, lines).into_iter().map(of).collect()
                    }
                    None => taken.frames(),
                };
                for (key, frame) in frames {
                    let (old, new) = all.entry(key).or_default();
                    if is_old { old } else { new }.push((id.clone(), frame));
                }
            }
        }
        all
    }

    fn compare(&mut self, source: &str, old: &Run, new: &Run) {
        let ids: Vec<String> = self.sinks.keys().cloned().collect();
        for id in ids {
            let (was, is) = (at(old, &id), at(new, &id));
            if let Some(sink) = self.sinks.get_mut(&id) {
                sink.before += was.len() as u64;
                sink.after += is.len() as u64;
            }
            let mut left: Vec<(EventRef<'_>, Vec<u8>)> = is.into_iter().map(|e| (e, json(e))).collect();
            let mut others = Vec::new();
            for event in was {
                let text = json(event);
                match left.iter().position(|(_, other)| *other == text) {
                    Some(n) => self.same(source, &id, event, left.remove(n).0),
                    None => others.push((event, text)),
                }
            }
            let paired = others.len().min(left.len());
            let lost = others.split_off(paired);
            let added = left.split_off(paired);
            for ((a, before), (b, after)) in others.into_iter().zip(left) {
                self.differ(source, &id, (a, &before), (b, &after));
            }
            for (event, _) in lost {
                let group = self.why(Which::After, &id, new, old);
                self.note(Which::Before, source, &id, event, group);
            }
            for (event, _) in added {
                let group = self.why(Which::Before, &id, old, new);
                self.note(Which::After, source, &id, event, group);
            }
        }
    }

    /// An event that is the same at a sink; which may write it otherwise.
    fn same(&mut self, source: &str, id: &str, old: EventRef<'_>, new: EventRef<'_>) {
        if self.kept.contains(id) {
            return;
        }
        let (was, is) = (self.write(Which::Before, id, old), self.write(Which::After, id, new));
        if was != is {
            let pair = self.pair(source, id, old, new);
            let Some(sink) = self.sinks.get_mut(id) else { return };
            sink.written_otherwise += 1;
            if sink.pairs.len() < EXAMPLES {
                sink.pairs.extend(pair);
            }
        }
    }

    /// An event that is another one at a sink.
    fn differ(&mut self, source: &str, id: &str, old: (EventRef<'_>, &[u8]), new: (EventRef<'_>, &[u8])) {
        let has_room = self.sinks.get(id).is_some_and(|sink| sink.pairs.len() < EXAMPLES);
        let pair = if has_room { self.pair(source, id, old.0, new.0) } else { None };
        let Some(sink) = self.sinks.get_mut(id) else { return };
        sink.differ += 1;
        sink.pairs.extend(pair);
        if self.tap == Tap::Off {
            return;
        }
        let mut found = Vec::new();
        match (serde_json::from_slice::<Value>(old.1), serde_json::from_slice::<Value>(new.1)) {
            (Ok(a), Ok(b)) => walk("", &a, &b, &mut found),
            _ => found.push(("(unreadable)".to_owned(), "changed")),
        }
        if found.is_empty() {
            found.push(("(order or spelling)".to_owned(), "changed"));
        }
        let fields = self.fields.entry(id.to_owned()).or_default();
        for (path, how) in found {
            let path = mask_known(&path);
            if fields.len() < 4 * MAX_GROUPS || fields.contains_key(&(path.clone(), how)) {
                *fields.entry((path, how)).or_default() += 1;
            }
        }
    }

    /// Adds an event that is at a sink on one side only.
    fn note(&mut self, which: Which, source: &str, id: &str, event: EventRef<'_>, mut group: Group) {
        let Some(sink) = self.sinks.get(id) else { return };
        let groups = if which == Which::Before { &sink.lost } else { &sink.new };
        let is_it = |g: &Group| (&g.component, &g.reason, &g.rule) == (&group.component, &group.reason, &group.rule);
        let known = groups.iter().position(is_it);
        if known.is_none() && groups.len() >= MAX_GROUPS {
            return;
        }
        let has_room = known.is_none_or(|n| groups[n].examples.len() < EXAMPLES) && self.tap != Tap::Off;
        let shown = if has_room { Some(self.show(which, source, id, event)) } else { None };
        let Some(sink) = self.sinks.get_mut(id) else { return };
        let groups = if which == Which::Before { &mut sink.lost } else { &mut sink.new };
        match known.and_then(|n| groups.get_mut(n)) {
            Some(known) => {
                known.events += 1;
                known.examples.extend(shown);
            }
            None => {
                group.events = 1;
                group.examples.extend(shown);
                groups.push(group);
            }
        }
    }

    /// What keeps an event from a sink in the graph `which`, whose run is `missing`, where in the other one it came there.
    fn why(&self, which: Which, sink: &str, missing: &Run, other: &Run) -> Group {
        let (side, other_side) = match which {
            Which::Before => (&self.before, &self.after),
            Which::After => (&self.after, &self.before),
        };
        let gone = if which == Which::After { "removed" } else { "added" };
        let group = |id: &str, reason: &str, rule: Option<String>| {
            let node = side.node(id).or_else(|| other_side.node(id));
            let r#type = node.map_or("", |n| n.type_name).to_owned();
            Group { component: id.to_owned(), r#type, reason: reason.to_owned(), rule, ..Group::default() }
        };
        let by = |id: &str, reason: &str| group(id, reason, side.rule(id, reason));
        if let Some(words) = &missing.panicked {
            return group(sink, "panic", Some(words.clone()));
        }
        let Some(above) = side.above.get(sink) else { return group(sink, gone, None) };
        let ways = || above.iter().filter_map(|id| side.node(id));
        let is_rewired = |node: &Node| other_side.node(&node.id).is_some_and(|o| o.inputs != node.inputs);
        if !missing.entered.iter().any(|id| above.contains(id)) {
            if let Some(first) = other.entered.first().filter(|_| missing.entered.is_empty()) {
                let takes = if which == Which::Before { self.takes.0 } else { self.takes.1 };
                return match other.entered.iter().find(|id| side.is_source(id)) {
                    Some(id) if takes => by(id, "joined otherwise"),
                    Some(id) => by(id, "not read"),
                    None => group(first, gone, None),
                };
            }
            // The nearest to the sink whose inputs are others.
            let mut rewired: Vec<&Node> = ways().filter(|node| is_rewired(node)).collect();
            rewired.sort_by_key(|node| (node.id != sink, side.nodes.iter().position(|n| n.id == node.id)));
            let id = rewired.first().map_or(sink, |node| node.id.as_str());
            return by(id, "other inputs");
        }
        for (id, reason, n) in missing.dropped.iter().filter(|(id, ..)| above.contains(id)) {
            let then = other.dropped.iter().filter(|(i, r, _)| i == id && r == reason).map(|(.., n)| n).sum::<u64>();
            if *n > then {
                return by(id, reason);
            }
        }
        let leads = |id: &str, output: &str| {
            let is_it = |edge: &Edge| edge.from == id && edge.output.as_deref().unwrap_or_default() == output;
            ways().any(|node| node.inputs.iter().any(is_it))
        };
        for stage in missing.stages.iter().filter(|stage| above.contains(&stage.id)) {
            let then = other.stages.iter().find(|s| s.id == stage.id);
            for (reason, n) in &stage.dropped {
                let before = then.into_iter().flat_map(|s| &s.dropped).filter(|(r, _)| r == reason).map(|(_, n)| n);
                if *n > before.sum::<u64>() {
                    return by(&stage.id, reason);
                }
            }
            let out = |s: &Stage, name: &str| {
                let of = s.out.iter().filter(|o| o.name == name).flat_map(|o| &o.batches);
                of.map(|b| b.len() as u64).sum::<u64>()
            };
            let rejected = out(stage, "rejected");
            if !leads(&stage.id, "rejected") && rejected > then.map_or(0, |s| out(s, "rejected")) {
                let letter = stage.out.iter().find(|o| o.name == "rejected").and_then(|o| o.batches.first());
                let (reason, rule) = letter.map(|letter| reason_of(letter, self.tap)).unwrap_or_default();
                return group(&stage.id, &reason, rule);
            }
            let passes = stage.out.iter().any(|o| leads(&stage.id, &o.name));
            if stage.kind != ComponentKind::Sink && !stage.came.is_empty() && !passes && stage.dropped.is_empty() {
                let reason = if stage.out.is_empty() { "kept for later" } else { "goes elsewhere" };
                return by(&stage.id, reason);
            }
        }
        let mut rewired: Vec<&Node> = ways().filter(|node| is_rewired(node)).collect();
        rewired.sort_by_key(|node| side.nodes.iter().position(|n| n.id == node.id));
        by(rewired.first().map_or(sink, |node| node.id.as_str()), "other inputs")
    }

    /// What a sink writes of an event, and where.
    fn write(&mut self, which: Which, sink: &str, event: EventRef<'_>) -> Shown {
        let side = match which {
            Which::Before => &mut self.before,
            Which::After => &mut self.after,
        };
        let inline = &side.inline;
        let preview = side.previews.entry(sink.to_owned()).or_insert_with(|| inline.preview(sink));
        let mut text = Vec::new();
        let to = match preview {
            None => {
                event.write_json(&mut text);
                Ok(None)
            }
            Some(preview) => caught(|| preview.show(event, &mut text)).unwrap_or_else(Err),
        };
        match to {
            Ok(to) => Shown { to, text: String::from_utf8_lossy(&text).into_owned() },
            Err(why) => Shown { to: None, text: format!("(not taken: {why})") },
        }
    }

    /// An event as a sink would write it, as far as it may be shown.
    fn show(&mut self, which: Which, source: &str, sink: &str, event: EventRef<'_>) -> Shown {
        let mut masks = if self.tap == Tap::Redacted { self.masks(which, source, sink) } else { Vec::new() };
        let mut shown = if masks.is_empty() {
            self.write(which, sink, event)
        } else {
            let mut alone = event.batch().snapshot();
            for row in 0..alone.rows() {
                if row != event.row() {
                    alone.drop_row(row);
                }
            }
            masks.iter_mut().for_each(|mask| apply_alone(&mut **mask, &mut alone));
            match alone.is_empty() {
                true => Shown::default(),
                false => self.write(which, sink, alone.event(event.row())),
            }
        };
        self.masks.insert((which, source.to_owned(), sink.to_owned()), masks);
        shown.text = mask_known(&shown.text);
        shown.to = shown.to.map(|to| mask_known(&to));
        if let Some((at, _)) = shown.text.char_indices().nth(MAX_EXAMPLE) {
            shown.text.truncate(at);
            shown.text.push('…');
        }
        shown
    }

    fn pair(&mut self, source: &str, id: &str, old: EventRef<'_>, new: EventRef<'_>) -> Option<Pair> {
        (self.tap != Tap::Off).then(|| Pair {
            before: self.show(Which::Before, source, id, old),
            after: self.show(Which::After, source, id, new),
        })
    }

    /// What goes over an event before it is shown.
    fn masks(&mut self, which: Which, source: &str, sink: &str) -> Vec<Box<dyn Transform>> {
        if let Some(masks) = self.masks.remove(&(which, source.to_owned(), sink.to_owned())) {
            return masks;
        }
        // Another source may give the same events in the new graph, and of what transforms had kept it is not known whose it is.
        let sources = |which: Which| -> Vec<String> {
            let side = if which == Which::Before { &self.before } else { &self.after };
            let all = side.nodes.iter().filter(|n| n.kind == ComponentKind::Source).map(|n| n.id.clone());
            match which == Which::Before && side.is_source(source) {
                true => vec![source.to_owned()],
                false => all.collect(),
            }
        };
        let (old, new) = (sources(Which::Before), sources(Which::After));
        let was_bare = old.iter().any(|s| self.before.reaches(s, sink, |n| n.redacts));
        let is_bare = new.iter().any(|s| self.after.reaches(s, sink, |n| n.redacts));
        let mut masks: Vec<Box<dyn Transform>> = Vec::new();
        if which == Which::After && !was_bare {
            for node in self.before.nodes.iter().filter(|n| n.redacts) {
                let has_been_over = self.kept.contains(&node.id)
                    && !new.iter().any(|s| self.after.reaches(s, sink, |n| n.id == node.id));
                let is_fed = old.iter().any(|s| self.before.reaches(s, &node.id, |_| false));
                if is_fed && !has_been_over {
                    masks.extend(self.before.inline.transform(&node.id));
                }
            }
        }
        let needs_secrets = if which == Which::Before { was_bare } else { is_bare };
        if needs_secrets {
            masks.extend(secrets());
        }
        masks
    }
}

/// What `redact` with `detect: [secrets]` is.
fn secrets() -> Option<Box<dyn Transform>> {
    let rules = Rules::new(&[DetectKind::Secrets], &[], Action::Mask).ok()?;
    Some(Box::new(Redact::new(RedactOptions::new(rules)).ok()?))
}

/// Why a letter was rejected: its reason, and the detail where it may be shown.
fn reason_of(letter: &Batch, tap: Tap) -> (String, Option<String>) {
    let mut alone = letter.snapshot();
    if let Some(mut secrets) = secrets() {
        apply_alone(&mut *secrets, &mut alone);
    }
    let head: Value = alone.iter().next().and_then(|e| serde_json::from_slice(&json(e)).ok()).unwrap_or_default();
    let text = |key: &str| head["tidegate"][key].as_str().map(mask_known);
    (text("reason").unwrap_or_default(), text("detail").filter(|_| tap != Tap::Off))
}

/// Paths at which two values differ.
fn walk(path: &str, a: &Value, b: &Value, found: &mut Vec<(String, &'static str)>) {
    if a == b || found.len() > MAX_GROUPS {
        return;
    }
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return found.push((path.to_owned(), "changed"));
    };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in a {
        match b.get(key) {
            Some(other) => walk(&below(key), value, other, found),
            None => found.push((below(key), "removed")),
        }
    }
    let added = b.keys().filter(|key| !a.contains_key(*key)).map(|key| (below(key), "added"));
    found.extend(added);
}
