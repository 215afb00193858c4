//! What `apply` would do: by resource and field, drift included.
//!
//! What the configuration names is compared; what it does not name is nobody's business here, but for what `apply` made itself and
//! which is to be removed (`prune`). A resource is ours when `data_dir` says that it was made, or was about to be, or when its
//! description carries our mark. A dashboard is found by its mark or its id, never by its title: one of the same title made by hand is
//! another. The rest is found by name, and one that was there before is changed where the configuration says so, and never removed.

use super::client::{ApiError, Client};
use super::config::ServerConfig;
use super::desired::desired;
use super::observe::{World, observe};
use super::resource::{Desired, Difference, Key, Kind, Observed, differences, is_nothing, mark_of, marked};
use super::state::{Applied, Known, State};
use super::version::Version;
use serde_json::{Value, json};

/// What is to be planned.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only these.
    pub targets: Vec<Key>,
    /// Remove what was made and is named no more.
    pub prune: bool,
    /// Want nothing of what the configuration names.
    pub destroy: bool,
    /// Remove streams too, with their rows.
    pub streams: bool,
}

/// What would become of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is as it should be.
    Nothing,
    /// It is made.
    Create,
    /// Some of its fields are changed.
    Update,
    /// It is removed.
    Delete,
    /// Nothing can be done yet, and why.
    Wait(String),
    /// Nothing can be done by this version, or it is kept; and why.
    Keep(String),
    /// It is gone, and is only forgotten.
    Forget,
}

/// One field.
#[derive(Debug, Clone)]
pub struct FieldChange {
    /// What differs.
    pub difference: Difference,
    /// Its values are never shown.
    pub secret: bool,
    /// The configuration is as it was applied: somebody changed the server.
    pub drift: bool,
}

/// What would become of a resource, with what is needed to do it.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// What.
    pub action: Action,
    /// Its fields.
    pub fields: Vec<FieldChange>,
    /// As it should be, with its mark.
    pub desired: Value,
    /// As it is.
    pub observed: Option<Observed>,
    /// `apply` made it, or will.
    pub ours: bool,
}

/// What would be done.
#[derive(Debug)]
pub struct Plan {
    /// Address and organization.
    pub server: String,
    /// The server's version.
    pub version: Version,
    /// In the order in which it is done.
    pub changes: Vec<Change>,
    /// What this version of the server has no place for; and dashboards that cannot be read.
    pub problems: Vec<String>,
    /// The last `apply`.
    pub applied: Option<Applied>,
}

impl Plan {
    /// The changes that are to be done, or are waited for.
    pub fn open(&self) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(|change| !matches!(change.action, Action::Nothing | Action::Forget | Action::Keep(_)))
    }
}

/// Compares the configuration with the server.
///
/// Errors: the server does not answer a question.
pub async fn plan(
    client: &Client,
    server: &ServerConfig,
    state: &State,
    scope: &Scope,
) -> Result<(Plan, World), ApiError> {
    let version = client.version();
    let (mut wanted, mut problems) = desired(server, version);
    if scope.destroy {
        wanted.clear();
        problems.clear();
    }
    let in_scope = |key: &Key| scope.targets.is_empty() || scope.targets.contains(key);
    wanted.retain(|desired| in_scope(&desired.key));
    let known = state.server();
    let removes = scope.prune || scope.destroy;
    let made: Vec<Key> = known.resources.keys().filter_map(|key| Key::parse(key)).filter(|_| removes).collect();
    let mut kinds: Vec<Kind> =
        wanted.iter().map(|desired| desired.key.kind).chain(made.iter().map(|key| key.kind)).collect();
    if kinds.contains(&Kind::Alert) {
        kinds.push(Kind::Stream);
    }
    let world = observe(client, &kinds).await?;
    let mut changes: Vec<Change> = Vec::new();
    for desired in &wanted {
        for what in &desired.unsupported {
            problems.push(format!("{}: OpenObserve {version} has no {what}", desired.key));
        }
        let change = change(desired, &world, state, version, &changes);
        changes.push(change);
    }
    let mut gone: Vec<Key> = made.into_iter().filter(|key| in_scope(key)).collect();
    gone.retain(|key| !wanted.iter().any(|desired| desired.key == *key));
    gone.sort_by(|a, b| b.cmp(a));
    changes.extend(gone.iter().filter_map(|key| removal(key, &world, state, scope)));
    Ok((Plan { server: client.name(), version, changes, problems, applied: known.applied }, world))
}

/// The resource on the server, if it is there, and whether it is ours.
fn find<'w>(key: &Key, fields: &Value, world: &'w World, known: Option<&Known>) -> (Option<&'w Observed>, bool) {
    let all = world.of(key.kind);
    let id = known.map(|known| known.id.as_str()).filter(|id| !id.is_empty());
    let by_id = all.iter().find(|o| Some(o.id.as_str()) == id);
    let has_mark = |o: &&Observed| mark_of(&o.description) == Some(key.name.as_str());
    let by_mark = all.iter().find(has_mark).filter(|_| key.kind.is_marked());
    let of_type = |o: &&Observed| fields.get("type").is_none_or(|kind| o.fields.get("type") == Some(kind));
    let named = || all.iter().filter(|o| o.name == key.name);
    let found = match key.kind {
        Kind::Dashboard => by_id.or(by_mark),
        Kind::Stream | Kind::Folder => by_mark.filter(of_type).or_else(|| named().find(of_type)),
        Kind::Alert => {
            let in_folder = |o: &&Observed| o.fields.get("folder") == fields.get("folder");
            by_id.or(by_mark).or_else(|| named().find(in_folder)).or_else(|| named().next())
        }
        _ => named().next(),
    };
    let made = known.is_some_and(|known| known.made || known.pending);
    (found, made || found.as_ref().is_some_and(has_mark) && key.kind.is_marked())
}

fn change(desired: &Desired, world: &World, state: &State, version: Version, before: &[Change]) -> Change {
    let key = desired.key.clone();
    let known = state.known(&key);
    let (observed, ours) = find(&key, &desired.fields, world, known);
    let ours = ours || observed.is_none();
    let mut fields = desired.fields.clone();
    if key.kind.is_marked()
        && let Some(map) = fields.as_object_mut()
    {
        let description = map.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        if ours {
            map.insert("description".into(), json!(marked(&description, &key.name)));
        } else if description.is_empty() {
            // Somebody made it and described it; the configuration does not.
            map.shift_remove("description");
        }
    }
    let found = differences(&fields, observed.map_or(&Value::Null, |o| &o.fields));
    let of =
        |path: &str, one: &str| path == one || path.strip_prefix(one).is_some_and(|rest| rest.starts_with(['.', '[']));
    let drift = |d: &Difference| observed.is_some() && known.is_some_and(|known| known.had(&d.path, &d.to));
    let mut list: Vec<FieldChange> = Vec::new();
    for difference in expand(found, observed.is_none()) {
        let secret = desired.secret.iter().any(|one| of(&difference.path, one));
        list.push(FieldChange { secret, drift: drift(&difference), difference });
    }
    let action = match (desired.impossible, observed) {
        (true, _) => Action::Keep("this version has none".into()),
        (_, Some(_)) if list.is_empty() => Action::Nothing,
        (_, None) if key.kind == Kind::Stream && !version.has_new_streams() => {
            Action::Wait("the first event makes it, its settings follow".into())
        }
        _ if waits_for_stream(&key, &fields, world, before) => {
            let stream = fields["stream"].as_str().unwrap_or_default();
            Action::Wait(format!("the stream `{stream}` is not there yet"))
        }
        (_, Some(_)) => Action::Update,
        (_, None) => Action::Create,
    };
    Change { key, action, fields: list, desired: fields, observed: observed.cloned(), ours }
}

/// What is to be made is told field by field.
fn expand(found: Vec<Difference>, new: bool) -> Vec<Difference> {
    if !new {
        return found;
    }
    let mut out = Vec::new();
    for difference in found {
        match &difference.to {
            Value::Object(map) => out.extend(map.iter().filter(|(_, v)| !is_nothing(v)).map(|(key, to)| Difference {
                path: if difference.path.is_empty() { key.clone() } else { format!("{}.{key}", difference.path) },
                from: Value::Null,
                to: to.clone(),
            })),
            _ => out.push(difference),
        }
    }
    out
}

/// Alerts are of streams that are there.
fn waits_for_stream(key: &Key, fields: &Value, world: &World, before: &[Change]) -> bool {
    let Some(stream) = fields.get("stream").and_then(Value::as_str).filter(|_| key.kind == Kind::Alert) else {
        return false;
    };
    let there =
        world.of(Kind::Stream).iter().any(|o| o.name == stream && o.fields.get("type") == fields.get("stream_type"));
    let made = before.iter().any(|c| c.key.kind == Kind::Stream && c.key.name == stream && c.action == Action::Create);
    !there && !made
}

/// What becomes of something that was made and is wanted no more.
fn removal(key: &Key, world: &World, state: &State, scope: &Scope) -> Option<Change> {
    let known = state.known(key)?;
    let all = Value::Null;
    let (observed, _) = find(key, &all, world, Some(known));
    let has_mark = observed.is_some_and(|o| mark_of(&o.description) == Some(key.name.as_str()));
    let action = match observed {
        None => Action::Forget,
        Some(_) if !known.made && !known.pending => Action::Keep("it was there before".into()),
        Some(_) if key.kind.is_marked() && !has_mark => Action::Keep("its mark was taken off: it is somebody's".into()),
        Some(_) if key.kind == Kind::Stream && !scope.streams => {
            Action::Keep("it has rows: `--streams` removes it with them".into())
        }
        Some(_) => Action::Delete,
    };
    Some(Change {
        key: key.clone(),
        action,
        fields: Vec::new(),
        desired: Value::Null,
        observed: observed.cloned(),
        ours: known.made,
    })
}
