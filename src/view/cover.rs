//! What goes over an event before it is shown, where `api.tap` is `redacted`.
//!
//! - Each `redact` that lies behind a point, on any way, goes over what is shown of it, in the order of the graph: so an event is shown as
//!   it would leave the agent at the most.
//! - Where events come to a point past no `redact`, `detect: [secrets]` does so too, if they may leave past none, or what
//!   lies before the `redact` changes events: what is masked there under one name stands here under another.
//! - An event in an envelope (`rejected` outputs, dead letters) is redacted as it was where it was rejected; where that changes it,
//!   the words of the envelope, which may quote it, are not shown.
//! - Bodies of requests, and letters at a dead letter, may have waited in a buffer since before the graph was what it is:
//!   `detect: [secrets]` goes over them always.
//! - For a minute after another graph has taken over, all this holds for both.

use crate::event::{Batch, JsonRows, Origin, Slab, Sym, Value};
use crate::tap::Ways;
use crate::tap::graph::{Cover, Graph, Part, Redactor, Side};
use crate::telemetry::ComponentKind;
use crate::topology::apply_alone;
use crate::transforms::redact::{Action, DetectKind, Redact, RedactOptions, Rules};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Envelopes within envelopes that are opened.
const MAX_DEPTH: usize = 8;
/// What stands in place of what must not be seen.
const HIDDEN: &str = "***";

/// Types of transforms that change no event: what leaves them is what came.
const UNCHANGING: &[&str] = &["filter", "sample", "route", "validate", "redact"];

/// What goes over the events of one point.
#[derive(Debug, Default)]
struct Needs {
    covers: BTreeMap<(usize, u64), Cover>,
    secrets: bool,
}

/// What of one graph lies around its points.
struct Around<'g> {
    graph: &'g Graph,
    /// Events come to its input past no `redact`.
    bare: HashMap<&'g str, bool>,
}

impl<'g> Around<'g> {
    fn new(graph: &'g Graph) -> Around<'g> {
        let mut around = Around { graph, bare: HashMap::new() };
        // Dead letters may lead back in the order: as often as there are parts.
        for _ in 0..=graph.parts.len() {
            let before = around.bare.len();
            let was: usize = around.bare.values().filter(|bare| **bare).count();
            for part in &graph.parts {
                let bare = part.kind == ComponentKind::Source
                    || part.inputs.iter().any(|(from, output)| around.bare_out(from, output))
                    || graph.parts.iter().any(|p| {
                        p.dead_letter.as_ref() == Some(&part.id) && around.bare.get(&*p.id).copied().unwrap_or(false)
                    });
                around.bare.insert(&part.id, bare);
            }
            if around.bare.len() == before && around.bare.values().filter(|bare| **bare).count() == was {
                break;
            }
        }
        around
    }

    fn part(&self, id: &str) -> Option<&'g Part> {
        self.graph.parts.iter().find(|part| *part.id == *id)
    }

    /// Whether events leave by an output past no `redact`.
    fn bare_out(&self, id: &str, output: &str) -> bool {
        let covers = self.part(id).is_some_and(|part| part.cover.is_some());
        self.bare.get(id).copied().unwrap_or(true) && !(covers && output.is_empty())
    }

    /// Who reads an output.
    fn readers(&self, id: &str, output: &str) -> Vec<&'g Part> {
        let reads = |part: &&Part| part.inputs.iter().any(|(from, name)| **from == *id && **name == *output);
        self.graph.parts.iter().filter(reads).collect()
    }

    /// Outputs of a component that somebody reads.
    fn read_outputs(&self, part: &'g Part) -> Vec<&'g str> {
        let all = std::iter::once("").chain(part.outputs.iter().map(|o| &**o));
        all.filter(|output| !self.readers(&part.id, output).is_empty()).collect()
    }

    /// Who takes what leaves a component by any of its outputs, or as a dead letter.
    fn behind(&self, part: &'g Part) -> Vec<&'g Part> {
        let outputs = self.read_outputs(part).into_iter().flat_map(|output| self.readers(&part.id, output));
        outputs.chain(part.dead_letter.as_ref().and_then(|id| self.part(id))).collect()
    }

    /// Adds what lies behind the inputs of these.
    fn add(&self, first: Vec<&'g Part>, bare: bool, needs: &mut Needs) {
        let is_end = first.is_empty();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut open = first.clone();
        while let Some(part) = open.pop() {
            if !seen.insert(&part.id) {
                continue;
            }
            if let Some(cover) = &part.cover {
                let place = self.graph.parts.iter().position(|p| p.id == part.id).unwrap_or_default();
                needs.covers.insert((place, cover.number), cover.clone());
            }
            open.extend(self.behind(part));
        }
        if !bare {
            return;
        }
        // Past no `redact`: what leaves so, or is changed on the way to one.
        let (mut open, mut seen) = (first, HashSet::new());
        needs.secrets |= is_end;
        while let Some(part) = open.pop() {
            if part.cover.is_some() || !seen.insert(&*part.id) {
                continue;
            }
            let behind = self.behind(part);
            needs.secrets |= part.kind == ComponentKind::Sink || behind.is_empty();
            needs.secrets |= !UNCHANGING.contains(&part.type_name);
            open.extend(behind);
        }
    }

    fn needs(&self, id: &str, side: &Side, needs: &mut Needs) {
        let Some(part) = self.part(id) else { return };
        let bare_in = self.bare.get(id).copied().unwrap_or(true);
        // What is in an envelope is what came to whoever rejected it, which the `redact`s behind that would have masked.
        for rejecting in self.rejecting_above(part) {
            self.add(vec![rejecting], self.bare.get(&*rejecting.id).copied().unwrap_or(true), needs);
        }
        match side {
            Side::In => {
                self.add(vec![part], bare_in, needs);
                let takes_letters = self.graph.parts.iter().any(|p| p.dead_letter.as_deref() == Some(id));
                if takes_letters {
                    needs.secrets = true;
                    self.letters(needs);
                }
            }
            Side::Request => {
                self.add(Vec::new(), true, needs);
                let takes_letters = self.graph.parts.iter().any(|p| p.dead_letter.as_deref() == Some(id));
                if takes_letters {
                    self.letters(needs);
                }
            }
            Side::Out(output) => {
                self.add(self.readers(id, output), self.bare_out(id, output), needs);
                if output == "rejected" {
                    self.add(vec![part], bare_in, needs);
                    needs.secrets |= bare_in;
                }
            }
        }
    }

    /// Components whose rejected events come to this one.
    fn rejecting_above(&self, part: &'g Part) -> Vec<&'g Part> {
        let (mut open, mut seen, mut found) = (vec![part], HashSet::new(), Vec::new());
        while let Some(part) = open.pop() {
            if !seen.insert(&*part.id) {
                continue;
            }
            for (from, output) in &part.inputs {
                let Some(from) = self.part(from) else { continue };
                if **output == *"rejected" {
                    found.push(from);
                }
                open.push(from);
            }
        }
        found
    }

    /// Letters come from anywhere: all that redacts goes over them.
    fn letters(&self, needs: &mut Needs) {
        for (place, part) in self.graph.parts.iter().enumerate() {
            if let Some(cover) = &part.cover {
                needs.covers.insert((place, cover.number), cover.clone());
            }
        }
    }
}

/// What goes over the events of each point.
#[derive(Default)]
pub(super) struct Covers {
    version: Option<u64>,
    points: HashMap<Arc<str>, Vec<Redactor>>,
}

impl Covers {
    /// What goes over events of a point that may have come these ways.
    pub(super) fn of(&mut self, point: &Arc<str>, ways: &Ways) -> &mut Vec<Redactor> {
        if self.version != Some(ways.version) {
            self.points.clear();
            self.version = Some(ways.version);
        }
        self.points.entry(point.clone()).or_insert_with(|| made(point, ways))
    }
}

fn made(point: &str, ways: &Ways) -> Vec<Redactor> {
    let mut needs = Needs { secrets: ways.others, ..Needs::default() };
    let mut is_known = false;
    if let Some((id, side)) = Side::of(point) {
        for graph in &ways.graphs {
            is_known |= graph.parts.iter().any(|part| *part.id == *id);
            Around::new(graph).needs(id, &side, &mut needs);
        }
    }
    if ways.others || !is_known {
        needs.secrets = true;
        ways.graphs.iter().for_each(|graph| Around::new(graph).letters(&mut needs));
    }
    let mut numbers = HashSet::new();
    let covers = needs.covers.into_values().filter(|cover| numbers.insert(cover.number));
    let mut all: Vec<Redactor> = covers.map(|cover| (cover.make)()).collect();
    if needs.secrets {
        all.push(secrets());
    }
    all
}

/// What `redact` with `detect: [secrets]` is.
fn secrets() -> Redactor {
    let rules = Rules::new(&[DetectKind::Secrets], &[], Action::Mask).ok();
    let redact = rules.and_then(|rules| Redact::new(RedactOptions::new(rules)).ok());
    match redact {
        Some(mut redact) => Box::new(move |batch| apply_alone(&mut redact, batch)),
        // It cannot be; rather nothing is shown than all.
        None => Box::new(|batch| {
            batch.retain(|_| false);
        }),
    }
}

/// An event of its own with these fields in JSON; one with the text in `message` where it is no object.
pub(super) fn event_of(json: &[u8], origin: &Arc<Origin>, like: &Batch) -> Batch {
    let text = Slab::from_vec(json.to_vec());
    let mut batch = Batch::new(text, origin.clone(), like.received_at, crate::ack::Ack::none());
    batch.ids = like.ids;
    if JsonRows::default().push(&mut batch, 0, json.len(), 0).is_err() {
        let row = batch.push_event(crate::event::EventKind::Log);
        batch.event_mut(row).push(Sym::MESSAGE, Value::from(json));
    }
    let kind = like.iter().next().map(|event| event.kind()).unwrap_or_default();
    batch.event_mut(0).set_kind(kind);
    batch
}

fn json_of(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(event) = batch.iter().next() {
        event.write_json(&mut out);
    }
    out
}

/// What redactors make of one event, the only one of its batch.
pub(super) fn covered(event: Batch, redactors: &mut [Redactor]) -> Batch {
    let mut event = match envelope(&event) {
        Some((head, inner)) => opened(&event, &head, &inner, redactors, MAX_DEPTH),
        None => event,
    };
    redactors.iter_mut().for_each(|redact| redact(&mut event));
    event
}

/// Head and event of an envelope, where it is one.
fn envelope(event: &Batch) -> Option<(Vec<u8>, Vec<u8>)> {
    let event = event.iter().next()?;
    let mut found = (None, None);
    for (key, value) in event.fields() {
        match (key, value) {
            (b"tidegate", Value::Object(raw)) => found.0 = Some(raw.to_vec()),
            (b"event", Value::Object(raw)) => found.1 = Some(raw.to_vec()),
            _ => {}
        }
    }
    Some((found.0?, found.1?))
}

/// An envelope whose event is redacted.
fn opened(outer: &Batch, head: &[u8], inner: &[u8], redactors: &mut [Redactor], depth: usize) -> Batch {
    let before = event_of(inner, &outer.origin, outer);
    let was = json_of(&before);
    let mut event = match envelope(&before) {
        Some(_) if depth == 0 => event_of(b"{}", &outer.origin, outer),
        Some((head, inner)) => opened(&before, &head, &inner, redactors, depth - 1),
        None => before,
    };
    redactors.iter_mut().for_each(|redact| redact(&mut event));
    let is = if event.is_empty() { b"{}".to_vec() } else { json_of(&event) };
    let mut head: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(head).unwrap_or_default();
    if is != was {
        if let Some(detail) = head.get_mut("detail") {
            *detail = HIDDEN.into();
        }
        head.remove("typed");
    }
    let head = serde_json::to_vec(&head).unwrap_or_else(|_| b"{}".to_vec());
    let text = [b"{\"tidegate\":", &*head, b",\"event\":", &*is, b"}"].concat();
    let mut whole = event_of(&text, &outer.origin, outer);
    // What else stands beside the two, which no envelope of ours has.
    if let Some(event) = outer.iter().next() {
        for (key, value) in event.fields().filter(|(key, _)| *key != b"tidegate" && *key != b"event") {
            whole.event_mut(0).push_text(key, value);
        }
    }
    whole
}
