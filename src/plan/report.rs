//! What a plan says: as JSON between an agent and whoever asked it, and for programs.

use serde::{Deserialize, Serialize};

/// What another configuration would change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Whether it would change anything.
    pub different: bool,
    /// What it was compared with, in words.
    pub against: String,
    /// Why all of the graph would start anew, where it would.
    pub anew: Option<String>,
    /// Settings of the agent itself that are others.
    pub agent: Vec<Setting>,
    /// New components.
    pub added: Vec<Component>,
    /// Components with other settings.
    pub changed: Vec<Component>,
    /// Components that would be no more.
    pub removed: Vec<Component>,
    /// Ids of those that go on as they are.
    pub kept: Vec<String>,
    /// Who would read others.
    pub inputs: Vec<Inputs>,
    /// What would be left behind.
    pub orphaned: Vec<Orphan>,
    /// What it would do to events.
    pub events: Option<Events>,
    /// Why that is not told, where it is not.
    pub no_events: Option<String>,
}

/// A component that is added, changed or removed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Component {
    /// Its id.
    pub id: String,
    /// `source`, `transform` or `sink`.
    pub kind: String,
    /// Its `type`.
    pub r#type: String,
    /// Its settings that are others.
    pub settings: Vec<Setting>,
    /// What of it stops, begins anew or is read anew.
    pub effects: Vec<String>,
}

/// A setting before and after; secrets as `***`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// Its path below the component, `rates.INFO`.
    pub key: String,
    /// What it was; none where it was not set.
    pub before: Option<String>,
    /// What it would be.
    pub after: Option<String>,
}

/// What a component reads, before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// Its id.
    pub id: String,
    /// Ids, and `id.output`.
    pub before: Vec<String>,
    /// The same.
    pub after: Vec<String>,
}

/// What would be left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orphan {
    /// `disk_buffer`, `queue`, `checkpoint` or `dead_letters`.
    pub what: String,
    /// The component whose it was.
    pub id: String,
    /// Events in it, where they can be counted.
    pub events: Option<u64>,
    /// Files that a checkpoint knows.
    pub files: Option<u64>,
    /// Where it is.
    pub path: String,
    /// What becomes of it, and what can be done.
    pub detail: String,
}

/// What a configuration would do to events that were tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Where they came from, in words.
    pub from: String,
    /// How examples are shown: `redacted`, `full`, `off`.
    pub examples: String,
    /// Frames that were tried, by source.
    pub sources: Vec<Tried>,
    /// What reaches each sink.
    pub sinks: Vec<SinkEffect>,
    /// It took too long: not all frames were tried.
    pub cut_short: bool,
}

/// Frames of a source that were tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tried {
    /// Its id.
    pub id: String,
    /// How many.
    pub frames: u64,
}

/// What would reach a sink.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SinkEffect {
    /// Its id.
    pub id: String,
    /// Events that reach it now.
    pub before: u64,
    /// Events that would.
    pub after: u64,
    /// Those that would not any more, by what takes them.
    pub lost: Vec<Group>,
    /// Those that do not now, by what let them through or made them.
    pub new: Vec<Group>,
    /// Those that would be others.
    pub differ: u64,
    /// In which fields.
    pub fields: Vec<FieldChange>,
    /// Those that would be the same, but written in another way or to another place.
    pub written_otherwise: u64,
    /// Some of both, as they are written now and as they would be.
    pub pairs: Vec<Pair>,
}

/// Events that one rule takes, or lets through.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// How many.
    pub events: u64,
    /// The component.
    pub component: String,
    /// Its type.
    pub r#type: String,
    /// The reason that it counts them under, or what has changed about it.
    pub reason: String,
    /// The setting that does it, as it is written.
    pub rule: Option<String>,
    /// Some of them, as the sink would write them.
    pub examples: Vec<Shown>,
}

/// A field that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldChange {
    /// Its path.
    pub path: String,
    /// `changed`, `added` or `removed`.
    pub how: String,
    /// In how many events.
    pub events: u64,
}

/// An event as a sink would write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// Where to, where events decide that: a path, a stream.
    pub to: Option<String>,
    /// What it would write.
    pub text: String,
}

/// An event before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pair {
    /// As it is written now.
    pub before: Shown,
    /// As it would be.
    pub after: Shown,
}
