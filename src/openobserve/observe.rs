//! What the server has: each kind read once, in the fields that it is compared in.

use super::client::{ApiError, Client};
use super::config::{FolderType, StreamType};
use super::desired::vrl;
use super::resource::{Kind, Observed, object, unmarked};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the server has of each kind that was asked for.
#[derive(Debug, Default)]
pub struct World {
    kinds: BTreeMap<Kind, Vec<Observed>>,
}

impl World {
    /// All of one kind.
    pub fn of(&self, kind: Kind) -> &[Observed] {
        self.kinds.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// Id of a folder by its name, or by its id; `default` is always there.
    pub fn folder_id(&self, kind: FolderType, name: &str) -> Option<&str> {
        let of_kind = |o: &&Observed| o.fields["type"] == kind.word();
        let mut folders = self.of(Kind::Folder).iter().filter(of_kind);
        let found = folders.clone().find(|o| o.name == name).or_else(|| folders.find(|o| o.id == name));
        found.map(|o| o.id.as_str()).or((name == "default").then_some("default"))
    }

    /// Name of a folder by its id.
    fn folder_name(&self, kind: FolderType, id: &str) -> String {
        let of_kind = |o: &&Observed| o.fields["type"] == kind.word() && o.id == id;
        match self.of(Kind::Folder).iter().find(of_kind) {
            Some(folder) if id != "default" => folder.name.clone(),
            _ => id.to_owned(),
        }
    }
}

/// Reads these kinds from the server, folders where dashboards or alerts are asked for.
///
/// Errors: the first request that fails.
pub async fn observe(client: &Client, kinds: &[Kind]) -> Result<World, ApiError> {
    let mut world = World::default();
    let version = client.version();
    for kind in Kind::ALL {
        let for_folders = kind == Kind::Folder && (kinds.contains(&Kind::Dashboard) || kinds.contains(&Kind::Alert));
        if !kinds.contains(&kind) && !for_folders {
            continue;
        }
        let found = match kind {
            Kind::Stream => streams(client).await?,
            Kind::Function => list(&client.get(&["functions"], &[]).await?).iter().map(function).collect(),
            Kind::Pipeline if !version.has_pipelines() => Vec::new(),
            Kind::Pipeline => list(&client.get(&["pipelines"], &[]).await?).iter().map(pipeline).collect(),
            Kind::Folder => folders(client).await?,
            Kind::Template => list(&client.get(&["alerts", "templates"], &[]).await?).iter().map(template).collect(),
            Kind::Destination => {
                list(&client.get(&["alerts", "destinations"], &[]).await?).iter().map(destination).collect()
            }
            Kind::Alert => alerts(client, &world).await?,
            Kind::Dashboard => dashboards(client, &world).await?,
        };
        world.kinds.insert(kind, found);
    }
    Ok(world)
}

/// The things of a list, however it is wrapped.
pub fn list(answer: &Value) -> Vec<Value> {
    let wrapped =
        || ["list", "dashboards", "templates", "destinations"].iter().find_map(|key| answer.get(key)?.as_array());
    answer.as_array().or_else(wrapped).cloned().unwrap_or_default()
}

/// A text of a thing; empty where it has none.
pub fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(number @ Value::Number(_)) => number.to_string(),
        _ => String::new(),
    }
}

async fn streams(client: &Client) -> Result<Vec<Observed>, ApiError> {
    let mut out = Vec::new();
    for kind in [StreamType::Logs, StreamType::Metrics, StreamType::Traces] {
        let answer = client.get(&["streams"], &[("type", kind.word())]).await?;
        out.extend(list(&answer).iter().map(|raw| stream(raw, kind)));
    }
    Ok(out)
}

fn stream(raw: &Value, kind: StreamType) -> Observed {
    let settings = raw.get("settings").cloned().unwrap_or_default();
    let names = |key: &str| {
        let mut names: Vec<String> = match settings.get(key) {
            Some(Value::Array(list)) => list.iter().filter_map(partition).collect(),
            // As the old interface gives partition keys: by level.
            Some(Value::Object(levels)) => levels.values().filter_map(partition).collect(),
            _ => Vec::new(),
        };
        names.sort_unstable();
        json!(names)
    };
    let fields = object([
        ("type", Some(json!(kind.word()))),
        ("retention_days", settings.get("data_retention").cloned()),
        ("full_text", Some(names("full_text_search_keys"))),
        ("index", Some(names("index_fields"))),
        ("bloom", Some(names("bloom_filter_fields"))),
        ("partition", Some(names("partition_keys"))),
        ("max_query_range_hours", settings.get("max_query_range").cloned()),
        ("schema_fields", Some(names("defined_schema_fields"))),
    ]);
    let name = text(raw, "name");
    Observed { id: name.clone(), name, fields, raw: raw.clone(), ..Observed::default() }
}

/// A name in a list of settings; a partition key as one text. `None` for one that is not in use any more.
fn partition(value: &Value) -> Option<String> {
    let Value::Object(key) = value else { return value.as_str().map(str::to_owned) };
    if key.get("disabled") == Some(&Value::Bool(true)) {
        return None;
    }
    let field = key.get("field")?.as_str()?;
    Some(match key.get("types") {
        Some(Value::Object(hash)) => format!("{field}:hash:{}", hash.get("hash")?),
        Some(Value::String(way)) if way == "prefix" => format!("{field}:prefix"),
        _ => field.to_owned(),
    })
}

/// A partition key as the server takes it, from its text.
pub fn partition_key(text: &str) -> Value {
    match text.split_once(':') {
        Some((field, "prefix")) => json!({"field": field, "types": "prefix"}),
        Some((field, hash)) if hash.starts_with("hash:") => {
            json!({"field": field, "types": {"hash": hash[5..].parse::<u32>().unwrap_or(1)}})
        }
        _ => json!({"field": text, "types": "value"}),
    }
}

fn function(raw: &Value) -> Observed {
    let name = text(raw, "name");
    let fields = json!({"function": vrl(&text(raw, "function")), "params": text(raw, "params")});
    Observed { id: name.clone(), name, fields, raw: raw.clone(), ..Observed::default() }
}

fn pipeline(raw: &Value) -> Observed {
    let description = text(raw, "description");
    let part = |key: &str| raw.get(key).cloned();
    let fields = object([
        ("description", Some(json!(description))),
        ("source", part("source")),
        ("nodes", part("nodes")),
        ("edges", part("edges")),
    ]);
    Observed {
        id: text(raw, "pipeline_id"),
        name: text(raw, "name"),
        fields,
        description,
        hash: text(raw, "version"),
        raw: raw.clone(),
        ..Observed::default()
    }
}

async fn folders(client: &Client) -> Result<Vec<Observed>, ApiError> {
    let mut out = Vec::new();
    let mut add = |answer: &Value, kind: FolderType| {
        out.extend(list(answer).iter().map(|raw| {
            let description = text(raw, "description");
            let fields = json!({"type": kind.word(), "description": description});
            let (id, name) = (text(raw, "folderId"), text(raw, "name"));
            Observed { id, name, fields, description, raw: raw.clone(), ..Observed::default() }
        }));
    };
    if !client.version().has_alerts_v2() {
        add(&client.get(&["folders"], &[]).await?, FolderType::Dashboards);
        return Ok(out);
    }
    for kind in [FolderType::Dashboards, FolderType::Alerts] {
        add(&client.get_v2(&["folders", kind.word()], &[]).await?, kind);
    }
    Ok(out)
}

fn template(raw: &Value) -> Observed {
    let body = match raw.get("body") {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let kind = raw.get("type").and_then(Value::as_str).unwrap_or("http").to_ascii_lowercase();
    let fields = json!({"body": body, "type": kind, "title": text(raw, "title")});
    let name = text(raw, "name");
    Observed { id: name.clone(), name, fields, raw: raw.clone(), ..Observed::default() }
}

fn destination(raw: &Value) -> Observed {
    let part = |key: &str| raw.get(key).cloned();
    // The old interface gives the template as a whole.
    let template = raw.get("template").map(|t| t.as_str().map_or_else(|| text(t, "name"), str::to_owned));
    let fields = object([
        ("type", Some(json!(raw.get("type").and_then(Value::as_str).unwrap_or("http")))),
        ("url", part("url")),
        ("method", part("method")),
        ("template", template.map(Value::from)),
        ("skip_tls_verify", part("skip_tls_verify")),
        ("headers", part("headers")),
        ("emails", part("emails")),
    ]);
    let name = text(raw, "name");
    Observed { id: name.clone(), name, fields, raw: raw.clone(), ..Observed::default() }
}

async fn alerts(client: &Client, world: &World) -> Result<Vec<Observed>, ApiError> {
    if !client.version().has_alerts_v2() {
        let answer = client.get(&["alerts"], &[]).await?;
        return Ok(list(&answer).iter().map(|raw| alert(raw, None)).collect());
    }
    let mut out = Vec::new();
    for summary in list(&client.get_v2(&["alerts"], &[]).await?) {
        let id = text(&summary, "alert_id");
        let raw = client.get_v2(&["alerts", &id], &[]).await?;
        let folder = text(&summary, "folder_id");
        let name = world.folder_name(FolderType::Alerts, &folder);
        out.push(Observed { id, folder, ..alert(&raw, Some(name)) });
    }
    Ok(out)
}

fn alert(raw: &Value, folder: Option<String>) -> Observed {
    let trigger = raw.get("trigger_condition").cloned().unwrap_or_default();
    let part = |value: &Value, key: &str| value.get(key).cloned();
    let description = text(raw, "description");
    let fields = object([
        ("stream", part(raw, "stream_name")),
        ("stream_type", part(raw, "stream_type")),
        ("real_time", part(raw, "is_real_time")),
        ("query", part(raw, "query_condition").map(query)),
        ("every_minutes", part(&trigger, "frequency")),
        ("for_minutes", part(&trigger, "period")),
        ("operator", part(&trigger, "operator")),
        ("threshold", part(&trigger, "threshold")),
        ("silence_minutes", part(&trigger, "silence")),
        ("destinations", part(raw, "destinations")),
        ("folder", folder.map(Value::from)),
        ("enabled", part(raw, "enabled")),
        ("description", Some(json!(description))),
        ("row_template", part(raw, "row_template")),
    ]);
    let name = text(raw, "name");
    Observed { id: name.clone(), name, fields, description, raw: raw.clone(), ..Observed::default() }
}

/// Conditions as a flat list, however the server nests those that all must hold.
fn query(mut query: Value) -> Value {
    let nested = query.get("conditions").and_then(|c| c.get("and").or_else(|| c.get("conditions"))).cloned();
    if let (Some(list @ Value::Array(_)), Some(map)) = (nested, query.as_object_mut()) {
        map.insert("conditions".into(), list);
    }
    query
}

async fn dashboards(client: &Client, world: &World) -> Result<Vec<Observed>, ApiError> {
    let mut folders: Vec<String> = world
        .of(Kind::Folder)
        .iter()
        .filter(|folder| folder.fields["type"] == FolderType::Dashboards.word())
        .map(|folder| folder.id.clone())
        .collect();
    if !folders.iter().any(|id| id == "default") {
        folders.push("default".into());
    }
    let mut out = Vec::new();
    for folder in folders {
        let name = world.folder_name(FolderType::Dashboards, &folder);
        for entry in list(&client.get(&["dashboards"], &[("folder", &folder)]).await?) {
            let id = match text(&entry, "dashboard_id") {
                id if id.is_empty() => body(&entry).map(|body| text(body, "dashboardId")).unwrap_or_default(),
                id => id,
            };
            // The list of newer servers has no bodies.
            let entry = match body(&entry) {
                Some(_) => entry,
                None => client.get(&["dashboards", &id], &[]).await?,
            };
            out.push(dashboard(&entry, id, &folder, &name));
        }
    }
    Ok(out)
}

/// What is in the wrapper that dashboards come in.
pub fn body(entry: &Value) -> Option<&Value> {
    (1..=8).rev().find_map(|n| entry.get(format!("v{n}")).filter(|body| body.is_object()))
}

fn dashboard(entry: &Value, id: String, folder: &str, folder_name: &str) -> Observed {
    let body = body(entry).cloned().unwrap_or_default();
    let description = text(&body, "description");
    let mut own: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    for key in ["dashboardId", "owner", "created", "updatedAt", "description"] {
        own.shift_remove(key);
    }
    // The first form does not say so.
    own.entry("version").or_insert(json!(1));
    Observed {
        id,
        name: text(&body, "title"),
        fields: json!({"folder": folder_name, "description": description, "dashboard": own}),
        description,
        hash: text(entry, "hash"),
        folder: folder.to_owned(),
        raw: body,
    }
}

/// A description without mark, of a thing that is shown to people.
pub fn described(observed: &Observed) -> &str {
    unmarked(&observed.description)
}
