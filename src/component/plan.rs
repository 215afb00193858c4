//! What a component's settings can do: be checked, be built. The registries in `sources`, `transforms` and `sinks` are
//! plain tables of these.

use crate::component::common::SinkCommon;
use crate::component::common::SourceCommon;
use crate::component::probe::ProbeError;
use crate::component::{BoxFuture, BuildContext, SinkRun, SourceRun, Transform};
use crate::decoding::{Charset, FrameDecoder};
use crate::doctor::{Finding, Host};
use crate::error::BuildError;
use crate::event::EventRef;
use crate::settings::{FieldDoc, Node, Reader, SchemaBuilder, Settings, Spanned, read_tagged, tagged_schema};
use std::path::PathBuf;
use std::sync::Arc;

/// What one source would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedConnections {
    /// Connections.
    pub connections: u32,
    /// The user has written this number.
    pub is_explicit: bool,
    /// Bytes that one may hold before anything is known of its client.
    pub bytes_each: usize,
}

/// Settings of a source, read and free of mistakes.
pub trait SourcePlan: Send {
    /// The settings that all sources have.
    fn common(&self) -> &SourceCommon;
    /// Notes mistakes between several keys. Touches nothing outside.
    fn check(&self, _cx: &mut Reader<'_>) {}
    /// What decodes its frames.
    fn decoder(&self, cx: &BuildContext) -> Result<Box<dyn FrameDecoder>, BuildError> {
        self.common().decode.build(&cx.timezone)
    }
    /// What its frames are in, where it does not put them into UTF-8 itself.
    fn charset(&self) -> Option<Charset> {
        None
    }
    /// Whether the agent's `timezone` changes what it makes of frames.
    fn reads_times(&self) -> bool {
        self.common().decode.reads_times()
    }
    /// How lines are joined to frames, where they are.
    fn framing(&self) -> Result<Option<crate::framing::Framing>, BuildError> {
        Ok(None)
    }
    /// Addresses it listens on, as written.
    fn listens(&self) -> Vec<Spanned<String>> {
        Vec::new()
    }
    /// Connections that it would take at once, and what each may hold. It is told how many it may
    /// ([`BuildContext::connections`]).
    fn connections(&self) -> Option<WantedConnections> {
        None
    }
    /// The setting by which it would read the file at this absolute path, if there is one.
    fn reads(&self, _path: &std::path::Path) -> Option<crate::settings::Span> {
        None
    }
    /// Whether one with changed settings may begin while the one before ends: it keeps nothing that both need, or what both
    /// need is [handed on](crate::net::sockets).
    fn overlaps(&self) -> bool {
        false
    }
    /// Whether it reads files: it is told which ones the agent itself writes.
    fn reads_files(&self) -> bool {
        false
    }
    /// Files that it would read as things are now. Changes nothing.
    fn files_now(&self) -> Vec<PathBuf> {
        Vec::new()
    }
    /// The text of a file as it would read it: decompressed, in UTF-8 or its `charset`; `most` bytes of it at most.
    ///
    /// Errors: it cannot be read, or is damaged.
    fn text_of(&self, path: &std::path::Path, most: u64) -> std::io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut text = Vec::new();
        std::fs::File::open(path)?.take(most).read_to_end(&mut text)?;
        Ok(text)
    }
    /// What of it stops for a moment, or begins anew, where its settings change and it goes on under its id.
    fn when_changed(&self) -> Option<&'static str> {
        None
    }
    /// What on this host will lose what it is to read. Changes nothing.
    fn examine(&self, _host: &Host) -> Vec<Finding> {
        Vec::new()
    }
    /// What it would not read as things are now, for `validate --environment`; part of what [`examine`](Self::examine) says.
    /// Changes nothing.
    fn unread_now(&self) -> Vec<Finding> {
        Vec::new()
    }
    /// Makes the source. May touch the outside world; fails with the path or address and the next step.
    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError>;
}

/// Settings of a transform, read and free of mistakes.
pub trait TransformPlan: Send {
    /// What it reads: ids, `id.output`, globs.
    fn inputs(&self) -> &[Spanned<String>];
    /// Names of its outputs besides the default one, in the order of the numbers given to `Emitter::emit`, from 1.
    /// `rejected` is one of them where it can reject.
    fn outputs(&self) -> Vec<String> {
        Vec::new()
    }
    /// Files that it reads when it is built and not again: with other contents it is another transform.
    fn reads_once(&self) -> Vec<PathBuf> {
        Vec::new()
    }
    /// Whether the agent's `timezone` changes what it does.
    fn reads_times(&self) -> bool {
        false
    }
    /// What it gives up where its settings change.
    fn when_changed(&self) -> Option<&'static str> {
        None
    }
    /// Whether it redacts: `validate` warns of sinks that are reachable around it.
    fn redacts(&self) -> bool {
        false
    }
    /// Whether it passes events on by its default output at all (`route` does not).
    fn has_default_output(&self) -> bool {
        true
    }
    /// Notes mistakes between several keys. Touches nothing outside.
    fn check(&self, _cx: &mut Reader<'_>) {}
    /// Makes the transform. May read files that it names.
    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError>;
}

/// Settings of a sink, read and free of mistakes.
pub trait SinkPlan: Send {
    /// The settings that all sinks have.
    fn common(&self) -> &SinkCommon;
    /// Notes mistakes between several keys. Touches nothing outside.
    fn check(&self, _cx: &mut Reader<'_>) {}
    /// Addresses it listens on, as written.
    fn listens(&self) -> Vec<Spanned<String>> {
        Vec::new()
    }
    /// Folders and files it writes: no source may tail them. Without templates: the literal folder above them.
    fn writes(&self) -> Vec<PathBuf> {
        Vec::new()
    }
    /// A file as it may write them, with something in place of what comes from events.
    fn writes_like(&self) -> Option<PathBuf> {
        None
    }
    /// Whether an event leaves the machine or the agent's memory through it in a readable form (`blackhole` does not).
    fn exposes(&self) -> bool {
        true
    }
    /// Whether it knows what to do with ends of series ([`EventRef::is_stale`](crate::event::EventRef::is_stale)), which
    /// other sinks are not given: they are dropped in front of them and counted, `stale`.
    fn takes_stale(&self) -> bool {
        false
    }
    /// Whether it keeps durably how far the files of sources have come in what it was given, and says so at its start
    /// ([`Input::report`](crate::component::Input::report)).
    fn keeps_places(&self) -> bool {
        false
    }
    /// Bytes that it would hold beside its queue, in bodies of requests, with enough memory. It is told how many it may
    /// ([`BuildContext::working_bytes`]).
    fn working_bytes(&self) -> usize {
        0
    }
    /// Whether it sends requests over the network, which may be looked at.
    fn sends_requests(&self) -> bool {
        false
    }
    /// Whether the agent's `timezone` changes what it does.
    fn reads_times(&self) -> bool {
        false
    }
    /// Shows what it would write of an event; `None` for one that writes JSON, or nothing. Touches nothing outside. `zone`: of
    /// times that name none.
    fn preview(&self, _zone: &jiff::tz::TimeZone) -> Option<Box<dyn Preview>> {
        None
    }
    /// What of it stops for a moment, or begins anew, where its settings change and it goes on under its id.
    fn when_changed(&self) -> Option<&'static str> {
        None
    }
    /// Asks the far side whether it is there and takes the credentials; `None` where there is nobody to ask. Polled on a runtime with sockets and timers.
    fn probe(&self) -> Option<BoxFuture<Result<(), ProbeError>>> {
        None
    }
    /// What will lose or surprise behind it. Changes nothing.
    fn examine(&self, _host: &Host) -> Vec<Finding> {
        Vec::new()
    }
    /// Asks the far side for its clock, in nanoseconds since 1970 UTC; `None` where there is nobody to ask, or an answer that
    /// tells no time. Polled on a runtime with sockets and timers.
    fn server_clock(&self) -> Option<BoxFuture<Result<Option<i64>, ProbeError>>> {
        None
    }
    /// Makes the sink. May touch the outside world.
    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SinkRun, BuildError>;
}

/// Shows what a sink would write of an event; writes nothing.
pub trait Preview: Send {
    /// Appends it to `out`, and gives where it would go (a path, a stream, an address) where events decide that.
    ///
    /// Errors: why the sink would not take it, in words.
    fn show(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<Option<String>, String>;

    /// The labels of the streams or series that it would go to, one list for each; none where the sink has no such thing.
    fn series(&mut self, _event: EventRef<'_>) -> Vec<Vec<(String, String)>> {
        Vec::new()
    }
}

/// One `type` of component of kind `P`.
pub struct ComponentType<P: ?Sized> {
    /// The word behind `type:`.
    pub name: &'static str,
    /// What it does, from its doc comment.
    pub about: fn() -> String,
    /// Reads its settings; mistakes are noted.
    pub read: Read<P>,
    /// Its JSON schema, with its `type`.
    pub schema: fn(&mut SchemaBuilder, &'static str) -> (String, serde_json::Value),
    /// Its keys, for the reference.
    pub fields: fn() -> Vec<FieldDoc>,
}

/// Reads the settings of a component.
pub enum Read<P: ?Sized> {
    /// Of a type of this crate.
    BuiltIn(fn(&Node, &mut Reader<'_>) -> Option<Box<P>>),
    /// Of a type of the program that embeds it.
    Own(Arc<dyn Fn(&Node, &mut Reader<'_>) -> Option<Box<P>> + Send + Sync>),
}

impl<P: ?Sized> Clone for Read<P> {
    fn clone(&self) -> Self {
        match self {
            Read::BuiltIn(read) => Read::BuiltIn(*read),
            Read::Own(read) => Read::Own(read.clone()),
        }
    }
}

impl<P: ?Sized> Clone for ComponentType<P> {
    fn clone(&self) -> Self {
        ComponentType { read: self.read.clone(), ..*self }
    }
}

impl<P: ?Sized> ComponentType<P> {
    /// Reads its settings; mistakes are noted.
    pub fn read(&self, node: &Node, cx: &mut Reader<'_>) -> Option<Box<P>> {
        match &self.read {
            Read::BuiltIn(read) => read(node, cx),
            Read::Own(read) => read(node, cx),
        }
    }
}

/// A type of source.
pub type SourceType = ComponentType<dyn SourcePlan>;
/// A type of transform.
pub type TransformType = ComponentType<dyn TransformPlan>;
/// A type of sink.
pub type SinkType = ComponentType<dyn SinkPlan>;

fn schema<C: Settings>(g: &mut SchemaBuilder, name: &'static str) -> (String, serde_json::Value) {
    tagged_schema::<C>(g, name, &[&C::about()])
}

macro_rules! of {
    ($(#[$doc:meta])* $type:ident, $plan:ident, $read:ident) => {
        impl $type {
            $(#[$doc])*
            pub const fn of<C: Settings + $plan>(name: &'static str) -> Self {
                fn $read<C: Settings + $plan>(node: &Node, cx: &mut Reader<'_>) -> Option<Box<dyn $plan>> {
                    let settings = read_tagged::<C>(node, cx)?;
                    cx.checking(node, |cx| settings.check(cx));
                    Some(Box::new(settings))
                }
                ComponentType {
                    name,
                    about: C::about,
                    read: Read::BuiltIn($read::<C>),
                    schema: schema::<C>,
                    fields: C::fields,
                }
            }
        }
    };
}

of! {
    /// The source type `name` with the settings `C`.
    SourceType, SourcePlan, read_source
}
of! {
    /// The transform type `name` with the settings `C`.
    TransformType, TransformPlan, read_transform
}
of! {
    /// The sink type `name` with the settings `C`.
    SinkType, SinkPlan, read_sink
}
