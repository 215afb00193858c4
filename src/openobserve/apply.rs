//! Doing what a plan says: one resource after the other, in the order of dependence; one that fails does not stop the others.
//!
//! Each step is noted in `data_dir` before what is made can be there, and after; ended anywhere, the next run takes up from what the
//! server has.

use super::client::{ApiError, Call, Client};
use super::config::FolderType;
use super::observe::{World, body, observe, partition_key, text};
use super::plan::{Action, Change, Plan};
use super::resource::{Kind, Observed};
use super::state::{Known, State};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::fmt;

/// Why a resource is not as it should be.
#[derive(Debug)]
pub enum ApplyError {
    /// The server.
    Api(ApiError),
    /// The file of what was made.
    State(String),
    /// Something that it needs is not there.
    Missing(String),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::Api(error) => error.fmt(f),
            ApplyError::State(words) | ApplyError::Missing(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<ApiError> for ApplyError {
    fn from(error: ApiError) -> Self {
        ApplyError::Api(error)
    }
}

/// Does what the plan says; `tell` hears of each change that was done or not.
///
/// Errors: the file of what was made cannot be written; everything ends.
pub async fn apply(
    client: &Client,
    plan: &Plan,
    world: World,
    state: &mut State,
    tell: &mut dyn FnMut(&Change, &Result<(), ApplyError>),
) -> Result<(), String> {
    let mut world = world;
    let mut any = false;
    for change in &plan.changes {
        match change.action {
            Action::Wait(_) | Action::Keep(_) => continue,
            Action::Forget => {
                state.set(&change.key, None)?;
                continue;
            }
            Action::Nothing => {
                settle(change, state)?;
                continue;
            }
            _ => {}
        }
        let result = one(client, change, &mut world, state).await;
        any |= result.is_ok();
        tell(change, &result);
        if let Err(ApplyError::State(words)) = result {
            return Err(words);
        }
    }
    if any { state.applied() } else { Ok(()) }
}

/// Notes what is as it should be, where that is not known yet.
fn settle(change: &Change, state: &mut State) -> Result<(), String> {
    let Some(observed) = &change.observed else { return Ok(()) };
    let mut known = Known { id: observed.id.clone(), made: change.ours, ..Known::default() };
    known.note(&change.desired);
    if state.known(&change.key) == Some(&known) { Ok(()) } else { state.set(&change.key, Some(known)) }
}

async fn one(client: &Client, change: &Change, world: &mut World, state: &mut State) -> Result<(), ApplyError> {
    let key = &change.key;
    let id = match (&change.action, &change.observed) {
        (Action::Delete, Some(observed)) => {
            delete(client, change, observed).await?;
            return state.set(key, None).map_err(ApplyError::State);
        }
        (_, None) => {
            let before = state.known(key).cloned();
            let intent = Known { pending: true, ..Known::default() };
            state.set(key, Some(intent)).map_err(ApplyError::State)?;
            match create(client, change, world).await {
                Ok(id) => id,
                Err(error) => {
                    // One that was lost on the way may be there.
                    let unknown = matches!(&error, ApplyError::Api(e) if e.status.is_none_or(|status| status >= 500));
                    if !unknown {
                        state.set(key, before).map_err(ApplyError::State)?;
                    }
                    return Err(error);
                }
            }
        }
        (_, Some(observed)) => {
            update(client, change, observed, world).await?;
            observed.id.clone()
        }
    };
    let mut known = Known { id, made: change.ours, ..Known::default() };
    known.note(&change.desired);
    state.set(key, Some(known)).map_err(ApplyError::State)?;
    if key.kind == Kind::Folder {
        // Dashboards and alerts ask for its id.
        *world = observe(client, &[Kind::Folder]).await?;
    }
    Ok(())
}

/// The fields of a template, destination, function or pipeline as the server takes them; what it had and is not named stays.
fn plain(change: &Change, observed: Option<&Observed>, old: bool) -> Value {
    let mut out = observed.and_then(|o| o.raw.as_object().cloned()).unwrap_or_default();
    out.insert("name".into(), json!(change.key.name));
    for (key, value) in change.desired.as_object().into_iter().flatten() {
        out.insert(key.clone(), value.clone());
    }
    match change.key.kind {
        Kind::Function => drop(out.entry("trans_type").or_insert(json!(0))),
        Kind::Template | Kind::Destination if old => {
            out.shift_remove("type");
            if change.key.kind == Kind::Template {
                out.shift_remove("title");
                out.entry("isDefault").or_insert(json!(false));
            }
        }
        _ => {}
    }
    Value::Object(out)
}

/// Where things of a kind are, below the organization.
fn place(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Function => &["functions"],
        Kind::Pipeline => &["pipelines"],
        Kind::Template => &["alerts", "templates"],
        Kind::Destination => &["alerts", "destinations"],
        Kind::Dashboard => &["dashboards"],
        Kind::Stream | Kind::Folder | Kind::Alert => &[],
    }
}

/// Makes it; its id.
async fn create(client: &Client, change: &Change, world: &World) -> Result<String, ApplyError> {
    let (name, fields) = (change.key.name.as_str(), &change.desired);
    let old = !client.version().has_alerts_v2();
    match change.key.kind {
        Kind::Stream => {
            let kind = text(fields, "type");
            let body = json!({"fields": [], "settings": {}});
            let parts = ["streams", name];
            let call = Call { query: &[("type", &kind)], ..Call::v1(Method::POST, &parts, Some(&body)) };
            client.change(call).await?;
            settings(client, change, &Observed::default()).await?;
            Ok(name.to_owned())
        }
        Kind::Folder => {
            let body = json!({"name": name, "description": fields["description"]});
            let answer = folder_call(client, Method::POST, fields, None, Some(&body)).await?;
            Ok(text(&answer, "folderId"))
        }
        Kind::Alert if old => {
            alert_v1(client, Method::POST, change, None).await?;
            Ok(name.to_owned())
        }
        Kind::Alert => {
            let folder = folder_of(world, FolderType::Alerts, fields)?;
            let body = alert_body(change, None);
            let call =
                Call { v2: true, query: &[("folder", &folder)], ..Call::v1(Method::POST, &["alerts"], Some(&body)) };
            Ok(text(&client.change(call).await?, "id"))
        }
        Kind::Dashboard => {
            let folder = folder_of(world, FolderType::Dashboards, fields)?;
            let body_ = dashboard_body(change, None);
            let call = Call { query: &[("folder", &folder)], ..Call::v1(Method::POST, &["dashboards"], Some(&body_)) };
            let answer = client.change(call).await?;
            Ok(body(&answer).map(|body| text(body, "dashboardId")).unwrap_or_default())
        }
        kind @ (Kind::Function | Kind::Pipeline | Kind::Template | Kind::Destination) => {
            let body = plain(change, None, old);
            let answer = client.change(Call::v1(Method::POST, place(kind), Some(&body))).await?;
            let id = if kind == Kind::Pipeline { text(&answer, "id") } else { name.to_owned() };
            Ok(id)
        }
    }
}

/// Changes it.
async fn update(client: &Client, change: &Change, observed: &Observed, world: &World) -> Result<(), ApplyError> {
    let fields = &change.desired;
    let old = !client.version().has_alerts_v2();
    let differs = |path: &str| change.fields.iter().any(|f| f.difference.path == path);
    match change.key.kind {
        Kind::Stream => settings(client, change, observed).await?,
        Kind::Folder => {
            let description = fields.get("description").unwrap_or(&observed.fields["description"]);
            let body = json!({"folderId": observed.id, "name": observed.name, "description": description});
            folder_call(client, Method::PUT, fields, Some(&observed.id), Some(&body)).await?;
        }
        Kind::Alert if old => {
            let stream = text(&observed.raw, "stream_name");
            if text(fields, "stream") != stream {
                alert_v1(client, Method::DELETE, change, Some(observed)).await?;
            }
            alert_v1(client, Method::PUT, change, None).await?;
        }
        Kind::Alert => {
            if differs("folder") {
                let folder = folder_of(world, FolderType::Alerts, fields)?;
                let body = json!({"alert_ids": [observed.id], "dst_folder_id": folder});
                let call = Call { v2: true, ..Call::v1(Method::PATCH, &["alerts", "move"], Some(&body)) };
                client.change(call).await?;
            }
            if change.fields.iter().any(|f| f.difference.path != "folder") {
                let body = alert_body(change, Some(observed));
                let parts = ["alerts", &observed.id];
                client.change(Call { v2: true, ..Call::v1(Method::PUT, &parts, Some(&body)) }).await?;
            }
        }
        Kind::Dashboard => {
            let folder = folder_of(world, FolderType::Dashboards, fields)?;
            if differs("folder") {
                let body = json!({"from": observed.folder, "to": folder});
                let parts = ["folders", "dashboards", &observed.id];
                client.change(Call::v1(Method::PUT, &parts, Some(&body))).await?;
            }
            if change.fields.iter().any(|f| f.difference.path != "folder") {
                let body = dashboard_body(change, Some(observed));
                let mut query = vec![("folder", folder.as_str())];
                if client.version().has_hash() {
                    query.push(("hash", &observed.hash));
                }
                let parts = ["dashboards", &observed.id];
                client.change(Call { query: &query, ..Call::v1(Method::PUT, &parts, Some(&body)) }).await?;
            }
        }
        kind @ (Kind::Function | Kind::Pipeline | Kind::Template | Kind::Destination) => {
            let body = plain(change, Some(observed), old);
            let mut parts = place(kind).to_vec();
            if kind != Kind::Pipeline {
                parts.push(&observed.id);
            }
            client.change(Call::v1(Method::PUT, &parts, Some(&body))).await?;
        }
    }
    Ok(())
}

/// Removes it; one that is gone is gone.
async fn delete(client: &Client, change: &Change, observed: &Observed) -> Result<(), ApplyError> {
    let id = observed.id.as_str();
    let result = match change.key.kind {
        Kind::Stream => {
            let kind = text(&observed.fields, "type");
            let parts = ["streams", id];
            client.change(Call { query: &[("type", &kind)], ..Call::v1(Method::DELETE, &parts, None) }).await
        }
        Kind::Folder => folder_call(client, Method::DELETE, &observed.fields, Some(id), None).await,
        Kind::Alert if !client.version().has_alerts_v2() => {
            return alert_v1(client, Method::DELETE, change, Some(observed)).await;
        }
        Kind::Alert => client.change(Call { v2: true, ..Call::v1(Method::DELETE, &["alerts", id], None) }).await,
        kind => {
            let mut parts = place(kind).to_vec();
            parts.push(id);
            client.change(Call::v1(Method::DELETE, &parts, None)).await
        }
    };
    match result {
        Err(error) if error.status != Some(404) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Sets what differs of a stream's settings.
async fn settings(client: &Client, change: &Change, observed: &Observed) -> Result<(), ApplyError> {
    let fields = &change.desired;
    let version = client.version();
    let names = |value: Option<&Value>| -> Vec<String> {
        let list = value.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let lists = [
        ("full_text", "full_text_search_keys"),
        ("index", "index_fields"),
        ("bloom", "bloom_filter_fields"),
        ("partition", "partition_keys"),
        ("schema_fields", "defined_schema_fields"),
    ];
    let mut body = Map::new();
    if let Some(days) = fields.get("retention_days") {
        body.insert("data_retention".into(), days.clone());
    }
    if version.has_changes_of_settings() {
        if let Some(hours) = fields.get("max_query_range_hours") {
            body.insert("max_query_range".into(), hours.clone());
        }
        for (field, key) in lists {
            let Some(want) = fields.get(field) else { continue };
            let (want, have) = (names(Some(want)), names(observed.fields.get(field)));
            let less = |a: &[String], b: &[String]| -> Vec<Value> {
                let rest = a.iter().filter(|name| !b.contains(name));
                rest.map(|name| if field == "partition" { partition_key(name) } else { json!(name) }).collect()
            };
            let (add, remove) = (less(&want, &have), less(&have, &want));
            if !add.is_empty() || !remove.is_empty() {
                body.insert(key.into(), json!({"add": add, "remove": remove}));
            }
        }
        if body.is_empty() {
            return Ok(());
        }
    } else {
        // All of them are replaced: what is not named goes back as it is.
        let had = observed.raw.get("settings").cloned().unwrap_or_default();
        for (field, key) in lists.into_iter().filter(|(field, _)| !matches!(*field, "index" | "schema_fields")) {
            body.insert(key.into(), json!(names(fields.get(field).or(observed.fields.get(field)))));
        }
        for key in ["data_retention", "partition_time_level"] {
            if let Some(value) = had.get(key) {
                body.entry(key).or_insert(value.clone());
            }
        }
    }
    let kind = text(fields, "type");
    let method = if version.puts_settings() { Method::PUT } else { Method::POST };
    let body = Value::Object(body);
    let parts = ["streams", change.key.name.as_str(), "settings"];
    client.change(Call { query: &[("type", &kind)], ..Call::v1(method, &parts, Some(&body)) }).await?;
    Ok(())
}

async fn folder_call(
    client: &Client,
    method: Method,
    fields: &Value,
    id: Option<&str>,
    body: Option<&Value>,
) -> Result<Value, ApiError> {
    let kind = text(fields, "type");
    let v2 = client.version().has_alerts_v2();
    let mut parts = vec!["folders"];
    parts.extend(v2.then_some(kind.as_str()));
    parts.extend(id);
    client.change(Call { v2, ..Call::v1(method, &parts, body) }).await
}

fn folder_of(world: &World, kind: FolderType, fields: &Value) -> Result<String, ApplyError> {
    let name = text(fields, "folder");
    let id = world.folder_id(kind, &name).map(str::to_owned);
    id.ok_or_else(|| ApplyError::Missing(format!("there is no folder `{name}` of {}", kind.word())))
}

/// An alert as the server takes it; what it had and is not named stays.
fn alert_body(change: &Change, observed: Option<&Observed>) -> Value {
    let mut out = observed.and_then(|o| o.raw.as_object().cloned()).unwrap_or_default();
    let fields = &change.desired;
    let mut trigger = out.get("trigger_condition").and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, field) in [
        ("frequency", "every_minutes"),
        ("period", "for_minutes"),
        ("operator", "operator"),
        ("threshold", "threshold"),
        ("silence", "silence_minutes"),
    ] {
        if let Some(value) = fields.get(field) {
            trigger.insert(key.into(), value.clone());
        }
    }
    // A server of the first interface wants a pace and keeps its own.
    match fields.get("every_minutes") {
        Some(_) => drop(trigger.entry("frequency_type").or_insert(json!("minutes"))),
        None => drop(trigger.entry("frequency").or_insert(json!(60))),
    }
    out.insert("name".into(), json!(change.key.name));
    out.insert("trigger_condition".into(), Value::Object(trigger));
    for (key, field) in [
        ("stream_name", "stream"),
        ("stream_type", "stream_type"),
        ("is_real_time", "real_time"),
        ("query_condition", "query"),
        ("destinations", "destinations"),
        ("enabled", "enabled"),
        ("description", "description"),
        ("row_template", "row_template"),
    ] {
        if let Some(value) = fields.get(field) {
            out.insert(key.into(), value.clone());
        }
    }
    Value::Object(out)
}

/// An alert of the first interface: below its stream. `there`: the one that the server has.
async fn alert_v1(
    client: &Client,
    method: Method,
    change: &Change,
    there: Option<&Observed>,
) -> Result<(), ApplyError> {
    let at = |wanted: &str, had: &str| there.map_or_else(|| text(&change.desired, wanted), |o| text(&o.raw, had));
    let (stream, kind) = (at("stream", "stream_name"), at("stream_type", "stream_type"));
    let mut parts = vec![stream.as_str(), "alerts"];
    if method != Method::POST {
        parts.push(&change.key.name);
    }
    let deletes = method == Method::DELETE;
    let body = alert_body(change, change.observed.as_ref());
    let body = Some(&body).filter(|_| !deletes);
    match client.change(Call { query: &[("type", &kind)], ..Call::v1(method, &parts, body) }).await {
        Err(error) if !(deletes && error.status == Some(404)) => Err(error.into()),
        _ => Ok(()),
    }
}

fn dashboard_body(change: &Change, observed: Option<&Observed>) -> Value {
    let mut out = change.desired.get("dashboard").and_then(Value::as_object).cloned().unwrap_or_default();
    out.insert("description".into(), change.desired.get("description").cloned().unwrap_or_default());
    if let Some(observed) = observed {
        for key in ["dashboardId", "owner", "created"] {
            if let Some(value) = observed.raw.get(key) {
                out.insert(key.into(), value.clone());
            }
        }
        if change.desired.get("description").is_none() {
            out.insert("description".into(), json!(observed.description));
        }
    }
    Value::Object(out)
}
