//! Components of the embedding program, put into the registry beside those of this crate. What all components of a kind have in
//! common (`decode`, `when`, `buffer`, `dead_letter`, …) they have too.

use super::event::{Event, EventChange, Events};
use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::Received;
use crate::component::common::SinkCommon;
use crate::component::common::SourceCommon;
use crate::component::plan::{
    ComponentType, Read, SinkPlan, SinkType, SourcePlan, SourceType, TransformPlan, TransformType,
};
use crate::component::{self, BuildContext, Emitter, Input};
use crate::component::{SinkRun, SourceContext, SourceRun};
use crate::error::{BuildError, RunError};
use crate::event::{Batch, Origin, Slab};
use crate::event::{Chunk, Frames};
use crate::pipeline::Registry;
use crate::settings::{Node, NodeKind, Reader, Setting, Settings, Spanned, config};
use crate::sync::Locked;
use crate::telemetry::panics::caught;
use crate::time::clock;
use serde_json::Value as Json;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A source of one's own. It runs on a thread of its own and may block.
pub trait Source: Send {
    /// Puts out lines until it comes to its end or `feed` is [stopping](Feed::is_stopping).
    ///
    /// Errors: in words, why it cannot go on; it is made anew and started again after a while, as after a panic
    /// (`restart` of the configuration).
    fn run(self: Box<Self>, feed: &Feed) -> Result<(), String>;
}

/// What becomes of an event behind a transform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Keep,
    /// It ends here, counted as dropped with the reason `filtered`.
    Drop,
    /// It leaves by the output `rejected`, as it is now, with these words; counted with the reason `invalid`.
    Reject(String),
}

/// A transform of one's own: pure and synchronous, no waiting. Each worker has its own clone. An event that it panics on leaves by
/// `rejected`, reason `panic`, or is dropped and counted where nobody reads that; the others of the batch are given to fresh clones.
pub trait Transform: Send {
    /// Looks at one event, may change it, and says what becomes of it.
    fn apply(&mut self, event: &mut EventChange<'_>) -> Fate;
}

/// A sink of one's own. It runs on a thread of its own and may block; while it does, its buffer fills. One that panics is made anew and
/// started again after a while, with the events that it was given when it did.
pub trait Sink: Send {
    /// Takes events. `Ok` is: they are safe where they belong, and their source may forget them.
    ///
    /// Errors: in words, why they are refused for good. They go to the sink's `dead_letter`, or are counted as dropped, with the
    /// reason `refused`.
    fn take(&mut self, events: Events<'_>) -> Result<(), String>;

    /// Called once behind the last events.
    ///
    /// Errors: in words; the run has failed.
    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Where a source puts its lines.
pub struct Feed {
    context: SourceContext,
    origin: Arc<Origin>,
}

impl Feed {
    /// Puts out lines, each ended by `\n` (the last may lack it), which become events by the source's `decode`. Waits while the
    /// pipeline has enough. `false`: the pipeline is gone, and so are the lines.
    pub fn send(&self, lines: impl Into<Vec<u8>>) -> bool {
        self.put(lines.into(), Ack::none())
    }

    /// As [`send`](Feed::send); `then` is told, once and on any thread, whether the lines have come to their end: `true` where
    /// every sink has them or they were filtered, rejected or refused for good; `false` where they are to be sent again.
    pub fn send_then(&self, lines: impl Into<Vec<u8>>, then: impl FnOnce(bool) + Send + 'static) -> bool {
        self.put(lines.into(), Ack::new(Arc::new(Then(Mutex::new(Some(Box::new(then))))), 0))
    }

    /// Whether the source is to come to its end.
    pub fn is_stopping(&self) -> bool {
        self.context.shutdown.is_cancelled()
    }

    fn put(&self, text: Vec<u8>, ack: Ack) -> bool {
        let frames = Frames::Lines { start: 0, end: text.len() };
        let (text, origin) = (Slab::from_vec(text), self.origin.clone());
        let chunk = Chunk { text, frames, origin, offset: 0, received_at: clock::now_ns(), ack };
        self.context.output.send(chunk).is_ok()
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed(of `{}`)", self.origin.source)
    }
}

struct Then(Mutex<Option<Box<dyn FnOnce(bool) + Send>>>);

impl Settled for Then {
    fn settled(&self, _token: u64, verdict: Verdict) {
        if let Some(then) = self.0.locked().take() {
            then(verdict != Verdict::Failed);
        }
    }
}

/// The types of components there are: those of this crate, and one's own. Their names must differ within a kind.
pub struct Components {
    sources: Vec<SourceType>,
    transforms: Vec<TransformType>,
    sinks: Vec<SinkType>,
}

impl Clone for Components {
    fn clone(&self) -> Self {
        let Components { sources, transforms, sinks } = self;
        Components { sources: sources.clone(), transforms: transforms.clone(), sinks: sinks.clone() }
    }
}

impl Default for Components {
    fn default() -> Self {
        Components::built_in()
    }
}

impl std::fmt::Debug for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.registry().names()).finish()
    }
}

impl Components {
    /// Those of this crate.
    pub fn built_in() -> Self {
        let Registry { sources, transforms, sinks } = crate::registry::built_in();
        Components { sources: sources.to_vec(), transforms: transforms.to_vec(), sinks: sinks.to_vec() }
    }

    /// Adds a type of source. `make` is given the keys of the block that are not those of all sources, as an object, once for each
    /// block, and again whenever a part of the pipeline that has failed is made anew; what it finds wrong is shown at the block.
    #[must_use]
    pub fn source<S: Source + 'static>(
        mut self,
        name: &'static str,
        make: impl Fn(Json) -> Result<S, String> + Send + Sync + 'static,
    ) -> Self {
        let read = move |node: &Node, cx: &mut Reader<'_>| {
            let (common, source) = parts::<SourceCommon, S>(node, cx, &make)?;
            Some(Box::new(Plan { common, own: source }) as Box<dyn SourcePlan>)
        };
        self.sources.push(of_program(name, Read::Own(Arc::new(read))));
        self
    }

    /// Adds a type of transform, in the same way.
    #[must_use]
    pub fn transform<T: Transform + Clone + 'static>(
        mut self,
        name: &'static str,
        make: impl Fn(Json) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let read = move |node: &Node, cx: &mut Reader<'_>| {
            let (common, own) = parts::<TransformCommon, T>(node, cx, &make)?;
            Some(Box::new(Plan { common, own }) as Box<dyn TransformPlan>)
        };
        self.transforms.push(of_program(name, Read::Own(Arc::new(read))));
        self
    }

    /// Adds a type of sink, in the same way.
    #[must_use]
    pub fn sink<S: Sink + 'static>(
        mut self,
        name: &'static str,
        make: impl Fn(Json) -> Result<S, String> + Send + Sync + 'static,
    ) -> Self {
        let read = move |node: &Node, cx: &mut Reader<'_>| {
            let (common, own) = parts::<SinkCommon, S>(node, cx, &make)?;
            Some(Box::new(Plan { common, own }) as Box<dyn SinkPlan>)
        };
        self.sinks.push(of_program(name, Read::Own(Arc::new(read))));
        self
    }

    pub(super) fn registry(&self) -> Registry<'_> {
        Registry { sources: &self.sources, transforms: &self.transforms, sinks: &self.sinks }
    }
}

fn of_program<P: ?Sized>(name: &'static str, read: Read<P>) -> ComponentType<P> {
    ComponentType {
        name,
        about: || "Of the embedding program.".into(),
        read,
        schema: |_, name| (name.into(), serde_json::json!({"properties": {"type": {"const": name}}})),
        fields: Vec::new,
    }
}

config! {
    /// What transforms have in common.
    struct TransformCommon {
        /// What it reads.
        inputs: Vec<Spanned<String>>,
    }
}

/// The common settings of a block, and what `make` makes of its other keys.
fn parts<C: Settings, T>(node: &Node, cx: &mut Reader<'_>, make: &dyn Fn(Json) -> Result<T, String>) -> Option<(C, T)> {
    let mut keys = cx.keys(node, "a mapping")?;
    keys.take("type");
    let common = C::read_keys(&mut keys, cx);
    let own = Node { kind: NodeKind::Map(keys.rest().cloned().collect()), ..node.clone() };
    let settings = Json::read(&own, cx)?;
    match make(settings) {
        Ok(made) => Some((common?, made)),
        Err(why) => {
            cx.error(node.span, format!("{why}{}", cx.place()));
            None
        }
    }
}

struct Plan<C, T> {
    common: C,
    own: T,
}

impl<S: Source + 'static> SourcePlan for Plan<SourceCommon, S> {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        let (source, host) = (cx.id.clone(), Some(cx.host.clone()));
        let origin = Arc::new(Origin { source, host, ..Origin::default() });
        Ok(SourceRun::Thread(Box::new(move |context| {
            Box::new(self.own).run(&Feed { context, origin }).map_err(RunError::failed)
        })))
    }
}

impl<T: Transform + Clone + 'static> TransformPlan for Plan<TransformCommon, T> {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.common.inputs
    }

    fn outputs(&self) -> Vec<String> {
        vec!["rejected".into()]
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<Box<dyn component::Transform>, BuildError> {
        Ok(Box::new(Each(self.own)))
    }
}

/// Gives events to a transform one by one.
struct Each<T>(T);

impl<T: Transform + Clone + 'static> component::Transform for Each<T> {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let mut dropped = 0;
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            match self.0.apply(&mut EventChange(batch.event_mut(row))) {
                Fate::Keep => {}
                Fate::Drop => dropped += u64::from(batch.drop_row(row)),
                Fate::Reject(why) => out.reject(batch, row, "invalid", &why),
            }
        }
        out.dropped("filtered", dropped);
    }

    fn fork(&self) -> Box<dyn component::Transform> {
        Box::new(Each(self.0.clone()))
    }

    fn is_of_program(&self) -> bool {
        true
    }
}

impl<S: Sink + 'static> SinkPlan for Plan<SinkCommon, S> {
    fn common(&self) -> &SinkCommon {
        &self.common
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<SinkRun, BuildError> {
        let mut sink = self.own;
        Ok(SinkRun::Thread(Box::new(move |input| deliver(&mut sink, &input))))
    }
}

/// How long a sink waits for events before it looks again.
const IDLE: Duration = Duration::from_secs(3600);

fn deliver(sink: &mut dyn Sink, input: &Input) -> Result<(), RunError> {
    input.health().working();
    loop {
        let mut batch = match input.recv_timeout(IDLE) {
            Received::Batch(batch) if batch.is_empty() => {
                batch.recycle();
                continue;
            }
            Received::Batch(batch) => batch,
            Received::Timeout => continue,
            Received::Closed => return sink.end().map_err(RunError::failed),
        };
        let taken = match caught(|| input.call().within(|| sink.take(Events(&batch)))) {
            Ok(taken) => taken,
            Err(words) => {
                // Nobody knows what it has of them: all of them are given to it again, when it has begun again.
                input.give_back(batch);
                return Err(RunError::failed(format!("it panicked: {words}")));
            }
        };
        match taken {
            Ok(()) => {
                input.health().working();
                let bytes = batch.live_bytes() as u64;
                input.delivered(batch.ack.take(), batch.len() as u64, bytes, batch.received_at);
            }
            Err(why) => {
                input.health().failing(&why);
                let rows: Vec<usize> = (0..batch.rows()).filter(|row| batch.is_live(*row)).collect();
                // The letters have shares of their own in the verdict.
                input.refuse(&batch, &rows, "refused", &why);
                batch.ack.take().settle(Verdict::Rejected);
            }
        }
        batch.recycle();
    }
}

/// An event's JSON, for [`InMemory`](super::InMemory).
pub(super) fn texts(batch: &Batch) -> Vec<String> {
    batch.iter().map(|event| Event(event).json()).collect()
}
