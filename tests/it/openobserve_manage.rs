//! The management and search interface of the double, of 0.8 and of 0.92: written from the references, not from the client.
//!
//! 0.8: settings of streams are replaced as a whole, partition keys go in as a list and come out by level, alerts are below their stream
//! and need it, dashboards are of the second form and have no hash, folders are of dashboards, there are no pipelines. 0.92: streams are
//! made, settings added and removed, alerts have ids and folders, dashboards a hash without which they are not changed.

use crate::openobserve_sql::Rows;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A request as it is routed.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) v2: bool,
    pub(crate) parts: &'a [&'a str],
    pub(crate) url: &'a str,
    pub(crate) body: &'a [u8],
    /// Streams that are not of logs, by type.
    pub(crate) others: [(&'static str, &'a Logs<'a>); 2],
}

static SERIALS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

pub(crate) type Logs<'a> = BTreeMap<&'a String, &'a Vec<Map<String, Value>>>;

/// What is managed.
pub(crate) struct Manage {
    old: bool,
    next: u64,
    /// Of streams that have some, by type and name.
    pub(crate) settings: BTreeMap<(String, String), Value>,
    pub(crate) templates: BTreeMap<String, Value>,
    pub(crate) destinations: BTreeMap<String, Value>,
    pub(crate) functions: BTreeMap<String, Value>,
    /// By type and id.
    pub(crate) folders: BTreeMap<(String, String), Value>,
    /// By id, with that of the folder.
    pub(crate) alerts: BTreeMap<String, (String, Value)>,
    pub(crate) dashboards: BTreeMap<String, (String, Value)>,
    hashes: BTreeMap<String, u64>,
    pub(crate) pipelines: BTreeMap<String, Value>,
    /// Requests that changed something.
    pub(crate) changes: usize,
    /// Rows, or an error, for queries that are not of a whole stream.
    pub(crate) answers: BTreeMap<String, Result<Vec<Value>, String>>,
    /// The user may not see what begins so.
    pub(crate) forbidden: &'static str,
    /// Texts of digits are numbers.
    pub(crate) counts_digits: bool,
    /// Seconds that its clock is ahead; it tells its time where they are not 0.
    pub(crate) clock: i64,
    /// Rows lie in the order of their times.
    pub(crate) in_order: bool,
    /// Streams that have rows, by type and name; of the request that is answered.
    filled: std::collections::BTreeSet<(String, String)>,
    /// Tells servers of one run apart.
    serial: usize,
}

fn ok(message: &str) -> (u16, Value) {
    (200, json!({"code": 200, "message": message}))
}

fn fail(status: u16, message: &str) -> (u16, Value) {
    (status, json!({"code": status, "message": message}))
}

impl Manage {
    pub(crate) fn new(version: &str) -> Manage {
        Manage {
            old: version.starts_with("v0.8."),
            next: 7_000_000,
            settings: BTreeMap::new(),
            templates: BTreeMap::new(),
            destinations: BTreeMap::new(),
            functions: BTreeMap::new(),
            folders: BTreeMap::new(),
            alerts: BTreeMap::new(),
            dashboards: BTreeMap::new(),
            hashes: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            changes: 0,
            answers: BTreeMap::new(),
            forbidden: "nothing",
            counts_digits: false,
            clock: 0,
            in_order: false,
            filled: Default::default(),
            serial: SERIALS.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        }
    }

    fn id(&mut self) -> String {
        self.next += 1;
        self.next.to_string()
    }

    /// Everything, without what the server makes up.
    pub(crate) fn picture(&self) -> Value {
        let folder = |kind: &str, id: &str| match self.folders.get(&(kind.to_owned(), id.to_owned())) {
            Some(folder) => folder["name"].as_str().unwrap().to_owned(),
            None => id.to_owned(),
        };
        let without = |value: &Value, keys: &[&str]| {
            let mut map = value.as_object().unwrap().clone();
            map.retain(|key, _| !keys.contains(&key.as_str()));
            Value::Object(map)
        };
        let mut dashboards: Vec<Value> = self
            .dashboards
            .values()
            .map(|(at, body)| json!([folder("dashboards", at), without(body, &["dashboardId"])]))
            .collect();
        dashboards.sort_by_key(Value::to_string);
        let alerts: Vec<Value> =
            self.alerts.values().map(|(at, body)| json!([folder("alerts", at), without(body, &["id"])])).collect();
        let folders: Vec<Value> =
            self.folders.iter().map(|((kind, _), f)| json!([kind, f["name"], f["description"]])).collect();
        let mut lists = [alerts, folders];
        lists.iter_mut().for_each(|list| list.sort_by_key(Value::to_string));
        let pipelines: Vec<Value> = self.pipelines.values().map(|p| without(p, &["pipeline_id", "version"])).collect();
        json!({
            "settings": self.settings.iter().map(|((kind, name), s)| (format!("{kind}/{name}"), s.clone())).collect::<Map<_, _>>(),
            "templates": self.templates, "destinations": self.destinations, "functions": self.functions,
            "dashboards": dashboards, "alerts": lists[0], "folders": lists[1], "pipelines": pipelines,
        })
    }

    /// The answer; `None` where it is nothing of management.
    pub(crate) fn answer(&mut self, asked: &Asked<'_>, logs: &Logs<'_>) -> Option<(u16, Value)> {
        let query: BTreeMap<String, String> = reqwest::Url::parse(&format!("http://x{}", asked.url))
            .unwrap()
            .query_pairs()
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        let body: Value = serde_json::from_slice(asked.body).unwrap_or(Value::Null);
        let of = |key: &str| query.get(key).cloned().unwrap_or_default();
        let (method, parts) = (asked.method, asked.parts);
        let streams = [("logs", logs), asked.others[0], asked.others[1]];
        let names =
            streams.iter().flat_map(|(kind, rows)| rows.keys().map(|name| ((*kind).to_owned(), (*name).clone())));
        self.filled = names.collect();
        if parts[0] == self.forbidden {
            return Some(fail(403, "Unauthorized Access"));
        }
        let answer = match (asked.v2, parts) {
            (false, ["_search"]) => {
                let other = asked.others.iter().find(|(kind, _)| *kind == of("type"));
                return Some(self.search(&body, other.map_or(logs, |(_, streams)| *streams)));
            }
            (false, ["prometheus", "api", "v1", "query_range"]) => return Some(self.promql(&query, asked.others[0].1)),
            (false, ["streams", name, "schema"]) if method == "GET" => {
                let other = asked.others.iter().find(|(kind, _)| *kind == of("type"));
                return Some(self.schema(name, &of("type"), other.map_or(logs, |(_, streams)| *streams)));
            }
            (false, ["streams"]) => {
                let other = asked.others.iter().find(|(kind, _)| *kind == of("type"));
                return Some(self.list_streams(&of("type"), other.map_or(logs, |(_, streams)| *streams)));
            }
            (false, ["streams", name, rest @ ..]) => self.stream(method, name, rest, &of("type"), &body),
            (false, ["functions", rest @ ..]) => self.functions(method, rest, body),
            (false, ["alerts", "templates", rest @ ..]) => {
                named(&mut self.templates, method, rest, body, |t| t["body"].is_string())
            }
            (false, ["alerts", "destinations", rest @ ..]) => self.destinations(method, rest, body),
            (false, ["dashboards", rest @ ..]) => self.dashboard(method, rest, &query, body),
            (false, ["folders", "dashboards", id]) if method == "PUT" => match self.dashboards.get_mut(*id) {
                Some((at, _)) if *at == body["from"].as_str().unwrap() => {
                    *at = body["to"].as_str().unwrap().to_owned();
                    ok("moved")
                }
                _ => fail(404, "dashboard not found"),
            },
            (false, ["folders", rest @ ..]) if self.old => self.folder(method, "dashboards", rest, body),
            (false, ["alerts"]) if self.old && method == "GET" => {
                (200, json!({"list": self.alerts.values().map(|(_, body)| body).collect::<Vec<_>>()}))
            }
            (false, [stream, "alerts", rest @ ..]) if self.old => {
                self.old_alert(method, stream, rest, &of("type"), body)
            }
            (false, ["pipelines", rest @ ..]) if !self.old => self.pipeline(method, rest, body),
            (true, _) if self.old => fail(404, ""),
            (true, ["folders", kind, rest @ ..]) => self.folder(method, kind, rest, body),
            (true, ["alerts", rest @ ..]) => self.alert(method, rest, &of("folder"), body),
            _ => return None,
        };
        self.changes += usize::from(method != "GET" && answer.0 == 200);
        Some(answer)
    }

    fn has_stream(&self, kind: &str, name: &str) -> bool {
        let key = (kind.to_owned(), name.to_owned());
        self.filled.contains(&key) || !self.old && self.settings.contains_key(&key)
    }

    fn list_streams(&self, kind: &str, streams: &Logs<'_>) -> (u16, Value) {
        let all: std::collections::BTreeSet<_> = self.settings.keys().chain(&self.filled).collect();
        let names: Vec<&String> = all.iter().filter(|(k, _)| k == kind).map(|(_, name)| name).collect();
        let default = if self.old { json!({"partition_keys": {}}) } else { json!({"partition_keys": []}) };
        let one = |name: &&String| {
            let settings = self.settings.get(&(kind.to_owned(), (*name).clone())).unwrap_or(&default);
            let times =
                streams.get(*name).into_iter().flat_map(|rows| rows.iter()).map(|row| row["_timestamp"].as_i64());
            let first = times.min().flatten().unwrap_or(0);
            json!({"name": name, "stream_type": kind, "stats": {"doc_num": 1, "doc_time_min": first}, "settings": settings})
        };
        (200, json!({"list": names.iter().map(one).collect::<Vec<_>>()}))
    }

    /// The columns of a stream that has rows, or settings.
    fn schema(&self, name: &str, kind: &str, streams: &Logs<'_>) -> (u16, Value) {
        let rows = streams.get(&name.to_owned());
        if rows.is_none() && !self.settings.contains_key(&(kind.to_owned(), name.to_owned())) {
            return fail(404, "stream not found");
        }
        // Of very many rows the first show all.
        let rows = rows.iter().flat_map(|rows| rows.iter().take(20_000));
        let names: std::collections::BTreeSet<&String> = rows.flat_map(|row| row.keys()).collect();
        let fields: Vec<Value> = names.iter().map(|name| json!({"name": name, "type": "Utf8"})).collect();
        (200, json!({"name": name, "stream_type": kind, "schema": fields, "total_fields": names.len()}))
    }

    fn stream(&mut self, method: &str, name: &str, rest: &[&str], kind: &str, body: &Value) -> (u16, Value) {
        let key = (kind.to_owned(), name.to_owned());
        let there = self.has_stream(kind, name);
        match (method, rest) {
            ("POST", []) if self.old => fail(404, ""),
            ("POST", []) if there => fail(400, "stream already exists"),
            ("POST", []) => {
                assert!(body["fields"].is_array(), "{body}");
                self.settings.insert(key, json!({"partition_keys": []}));
                ok("stream created")
            }
            ("DELETE", []) if there => {
                self.settings.remove(&key);
                ok("stream deleted")
            }
            ("PUT", ["settings"]) if !there => fail(404, "stream not found"),
            ("PUT", ["settings"]) if self.old => {
                let Some(keys) = body["partition_keys"].as_array() else {
                    return fail(400, "partition_keys: a sequence");
                };
                let levels = keys.iter().enumerate().map(|(n, key)| (format!("L{n}"), json!(key.as_str().unwrap())));
                let mut settings = body.clone();
                settings["partition_keys"] = Value::Object(levels.collect());
                self.settings.insert(key, settings);
                ok("")
            }
            ("PUT", ["settings"]) => {
                let settings = self.settings.entry(key).or_insert(json!({"partition_keys": []}));
                for (name, change) in body.as_object().unwrap() {
                    if !change.is_object() {
                        settings[name] = change.clone();
                        continue;
                    }
                    let mut list = settings[name].as_array().cloned().unwrap_or_default();
                    list.retain(|item| !change["remove"].as_array().unwrap().contains(item));
                    list.extend(change["add"].as_array().unwrap().iter().cloned());
                    if name == "partition_keys" && !list.iter().all(Value::is_object) {
                        return fail(400, "partition_keys: objects");
                    }
                    settings[name] = json!(list);
                }
                ok("")
            }
            _ => fail(404, "stream not found"),
        }
    }

    fn functions(&mut self, method: &str, rest: &[&str], mut body: Value) -> (u16, Value) {
        if let Some(text) = body["function"].as_str().filter(|text| !text.trim_end().ends_with(" .")) {
            body["function"] = json!(format!("{} \n .", text.trim_end()));
        }
        named(&mut self.functions, method, rest, body, |f| !f["function"].as_str().unwrap_or("!").contains('!'))
    }

    fn destinations(&mut self, method: &str, rest: &[&str], mut body: Value) -> (u16, Value) {
        let fine = |d: &Value| !d["url"].as_str().unwrap_or_default().contains("127.0.0.1");
        if self.old && body.is_object() {
            // Given out as a whole.
            let template = body["template"].as_str().unwrap_or_default().to_owned();
            let Some(whole) = self.templates.get(&template) else { return fail(404, "template not found") };
            body["template"] = whole.clone();
        }
        named(&mut self.destinations, method, rest, body, fine)
    }

    fn folder(&mut self, method: &str, kind: &str, rest: &[&str], body: Value) -> (u16, Value) {
        match (method, rest) {
            ("GET", []) => {
                let mut list = vec![json!({"folderId": "default", "name": "default", "description": "default"})];
                list.extend(self.folders.iter().filter(|((k, _), _)| k == kind).map(|(_, f)| f.clone()));
                (200, json!({"list": list}))
            }
            ("POST", []) => {
                if self.folders.iter().any(|((k, _), f)| k == kind && f["name"] == body["name"]) {
                    return fail(400, "folder already exists");
                }
                let id = self.id();
                let folder = json!({"folderId": id, "name": body["name"], "description": body["description"]});
                self.folders.insert((kind.to_owned(), id), folder.clone());
                (200, folder)
            }
            ("PUT", [id]) if self.folders.contains_key(&(kind.to_owned(), (*id).to_owned())) => {
                let folder = json!({"folderId": id, "name": body["name"], "description": body["description"]});
                self.folders.insert((kind.to_owned(), (*id).to_owned()), folder);
                ok("updated")
            }
            ("DELETE", [id]) if self.folders.remove(&(kind.to_owned(), (*id).to_owned())).is_some() => ok("deleted"),
            _ => fail(404, "Folder not found"),
        }
    }

    fn alert(&mut self, method: &str, rest: &[&str], folder: &str, mut body: Value) -> (u16, Value) {
        if body.get("name").is_some() {
            if !self.has_stream(body["stream_type"].as_str().unwrap(), body["stream_name"].as_str().unwrap()) {
                return fail(404, "stream not found");
            }
            let names = body["destinations"].as_array().unwrap();
            if let Some(missing) = names.iter().find(|name| !self.destinations.contains_key(name.as_str().unwrap())) {
                return fail(400, &format!("destination {missing} not found"));
            }
            body["tz_offset"] = json!(0);
        }
        match (method, rest) {
            ("GET", []) => {
                let one = |(id, (folder, body)): (&String, &(String, Value))| json!({"alert_id": id, "name": body["name"], "folder_id": folder, "enabled": body["enabled"]});
                (200, json!({"list": self.alerts.iter().map(one).collect::<Vec<_>>()}))
            }
            ("GET", [id]) => self.alerts.get(*id).map_or(fail(404, "not found"), |(_, body)| (200, body.clone())),
            ("POST", []) => {
                let id = self.id();
                body["id"] = json!(id);
                self.alerts.insert(id.clone(), (folder.to_owned(), body));
                (200, json!({"code": 200, "message": "Alert saved", "id": id}))
            }
            ("PATCH", ["move"]) => {
                for id in body["alert_ids"].as_array().unwrap() {
                    self.alerts.get_mut(id.as_str().unwrap()).unwrap().0 =
                        body["dst_folder_id"].as_str().unwrap().to_owned();
                }
                ok("moved")
            }
            ("PUT", [id]) if self.alerts.contains_key(*id) => {
                body["id"] = json!(id);
                self.alerts.get_mut(*id).unwrap().1 = body;
                ok("Alert Updated")
            }
            ("DELETE", [id]) if self.alerts.remove(*id).is_some() => ok("Alert deleted"),
            _ => fail(404, "not found"),
        }
    }

    fn old_alert(&mut self, method: &str, stream: &str, rest: &[&str], kind: &str, mut body: Value) -> (u16, Value) {
        if method == "DELETE" {
            let before = self.alerts.len();
            self.alerts.retain(|_, (_, alert)| !(alert["name"] == rest[0] && alert["stream_name"] == stream));
            return if self.alerts.len() < before { ok("Alert deleted") } else { fail(404, "not found") };
        }
        if !self.has_stream(kind, stream) {
            return fail(404, &format!("Stream {stream} not found"));
        }
        let wanted: Vec<&str> = body["destinations"].as_array().unwrap().iter().map(|d| d.as_str().unwrap()).collect();
        if wanted.iter().any(|name| !self.destinations.contains_key(*name)) {
            return fail(404, "destination not found");
        }
        // At its own pace.
        body["trigger_condition"]["frequency"] = json!(10);
        body["stream_name"] = json!(stream);
        let name = body["name"].as_str().unwrap().to_owned();
        self.alerts.insert(format!("{stream}/{name}"), ("default".into(), body));
        ok("Alert saved")
    }

    fn hash_of(&self, id: &str) -> String {
        self.hashes.get(id).copied().unwrap_or_default().to_string()
    }

    /// As it comes in lists and alone.
    fn wrapped(&self, id: &str) -> Value {
        let (folder, body) = &self.dashboards[id];
        let version = body["version"].as_u64().unwrap_or(1);
        let mut out = json!({"version": version, "folder_id": folder, "dashboard_id": id});
        for n in 1..=8 {
            out[format!("v{n}")] = if n == version { body.clone() } else { Value::Null };
        }
        if !self.old {
            out["hash"] = json!(self.hash_of(id));
        }
        out
    }

    fn dashboard(
        &mut self,
        method: &str,
        rest: &[&str],
        query: &BTreeMap<String, String>,
        mut body: Value,
    ) -> (u16, Value) {
        let folder = query.get("folder").cloned().unwrap_or_else(|| "default".into());
        if matches!(method, "POST" | "PUT") {
            if let Some(why) = self.misshapen(&body) {
                return fail(422, &why);
            }
            let known = folder == "default" || self.folders.contains_key(&("dashboards".to_owned(), folder.clone()));
            if !known {
                return fail(404, "Folder not found");
            }
            body["owner"] = json!("root@example.com");
        }
        match (method, rest) {
            ("GET", []) => {
                let ids: Vec<&String> =
                    self.dashboards.iter().filter(|(_, (at, _))| *at == folder).map(|(id, _)| id).collect();
                (200, json!({"dashboards": ids.iter().map(|id| self.wrapped(id)).collect::<Vec<_>>()}))
            }
            ("GET", [id]) if self.dashboards.contains_key(*id) => (200, self.wrapped(id)),
            ("POST", []) => {
                let id = self.id();
                body["dashboardId"] = json!(id);
                self.dashboards.insert(id.clone(), (folder, body));
                self.hashes.insert(id.clone(), self.next * 31);
                (200, self.wrapped(&id))
            }
            ("PUT", [id]) if self.dashboards.contains_key(*id) => {
                match query.get("hash") {
                    None if !self.old => return fail(500, "missing hash"),
                    Some(hash) if *hash != self.hash_of(id) => return fail(409, "Conflict"),
                    _ => {}
                }
                body["dashboardId"] = json!(id);
                self.dashboards.insert((*id).to_owned(), (folder, body));
                *self.hashes.entry((*id).to_owned()).or_default() += 1;
                (200, self.wrapped(id))
            }
            ("DELETE", [id]) if self.dashboards.remove(*id).is_some() => ok("Dashboard deleted"),
            _ => fail(404, "Dashboard not found"),
        }
    }

    /// What is missing in a dashboard.
    fn misshapen(&self, body: &Value) -> Option<String> {
        let newest = if self.old { 2 } else { 8 };
        let version = body["version"].as_u64().unwrap_or(1);
        if version > newest {
            return Some(format!("unknown version {version}"));
        }
        if !body["title"].as_str().is_some_and(|title| !title.is_empty()) || !body["description"].is_string() {
            return Some("missing field `title` or `description`".into());
        }
        let mut panels = body["panels"].as_array().cloned().unwrap_or_default();
        for tab in body["tabs"].as_array().into_iter().flatten() {
            panels.extend(tab["panels"].as_array().cloned().unwrap_or_default());
        }
        for panel in &panels {
            for key in ["id", "type", "title", "description", "config", "queries", "layout"] {
                if panel.get(key).is_none() {
                    return Some(format!("missing field `{key}`"));
                }
            }
            for query in panel["queries"].as_array().unwrap() {
                let fields = &query["fields"];
                let lists = ["x", "y"].iter().all(|axis| fields[*axis].is_array());
                let filter = if version >= 5 { fields["filter"].is_object() } else { fields["filter"].is_array() };
                let config = query["config"]["promql_legend"].is_string();
                if !lists
                    || !filter
                    || !config
                    || !fields["stream_type"].is_string()
                    || !query["customQuery"].is_boolean()
                {
                    return Some("a query is misshapen".into());
                }
            }
        }
        None
    }

    fn pipeline(&mut self, method: &str, rest: &[&str], mut body: Value) -> (u16, Value) {
        match (method, rest) {
            ("GET", []) => (200, json!({"list": self.pipelines.values().collect::<Vec<_>>()})),
            ("POST", []) => {
                if self.pipelines.values().any(|p| p["name"] == body["name"]) {
                    return fail(400, "pipeline exists");
                }
                let id = self.id();
                (body["pipeline_id"], body["version"]) = (json!(id), json!(1));
                self.pipelines.insert(id.clone(), body);
                (200, json!({"code": 200, "message": "Pipeline saved successfully"}))
            }
            ("PUT", []) => {
                let Some(had) = body["pipeline_id"].as_str().and_then(|id| self.pipelines.get(id)) else {
                    return fail(404, "pipeline not found");
                };
                if had["version"] != body["version"] {
                    return fail(409, "stale version");
                }
                body["version"] = json!(had["version"].as_u64().unwrap() + 1);
                self.pipelines.insert(body["pipeline_id"].as_str().unwrap().to_owned(), body);
                ok("Pipeline updated successfully")
            }
            ("DELETE", [id]) if self.pipelines.remove(*id).is_some() => ok("Pipeline deleted"),
            _ => fail(404, "pipeline not found"),
        }
    }

    /// `SELECT * FROM "s" [WHERE field = 'value' [AND …]] [ORDER BY _timestamp ASC]`, and what there are answers for.
    fn search(&mut self, body: &Value, logs: &Logs<'_>) -> (u16, Value) {
        let query = &body["query"];
        let sql = query["sql"].as_str().unwrap();
        let size = query["size"].as_u64().unwrap() as usize;
        let answer = |hits: Vec<Value>| {
            (200, json!({"total": hits.len(), "hits": hits, "from": 0, "size": size, "is_partial": false}))
        };
        if let Some(canned) = self.answers.get(sql) {
            return match canned {
                Ok(rows) => answer(rows.clone()),
                Err(why) => (400, json!({"code": 20001, "message": why})),
            };
        }
        let (mut start, end) = (query["start_time"].as_i64().unwrap(), query["end_time"].as_i64().unwrap());
        let Some((columns, stream, rest)) = plain(sql) else { return self.evaluated(query, logs) };
        let Some(records) = logs.get(&stream.to_owned()) else {
            return (400, json!({"code": 20002, "message": format!("Search stream not found: {stream}")}));
        };
        let ascending = rest.ends_with(" ORDER BY _timestamp ASC");
        let rest = rest.trim_end_matches(" ORDER BY _timestamp ASC");
        let conditions: Vec<(String, String)> = rest
            .trim()
            .strip_prefix("WHERE ")
            .into_iter()
            .flat_map(|conditions| conditions.split(" AND "))
            .map(|one| {
                let (field, value) = one.split_once(" = ").unwrap();
                let value = value.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap().replace("''", "'");
                (field.trim_matches('"').to_owned(), value)
            })
            .collect();
        let moved;
        (start, moved) = self.begin(stream, start, end);
        let time = |row: &Map<String, Value>| row["_timestamp"].as_i64().unwrap();
        let mut last = i64::MAX;
        let mut taken = 0;
        let first = if self.in_order { records.partition_point(|row| time(row) < start) } else { 0 };
        let mut found: Vec<&Map<String, Value>> = records[first..]
            .iter()
            .take_while(|row| {
                // All of the last time, as any of them may come.
                taken += 1;
                if self.in_order && taken == size {
                    last = time(row);
                }
                time(row) <= last
            })
            .filter(|row| (start..end).contains(&time(row)))
            .filter(|row| conditions.iter().all(|(field, value)| row.get(field).and_then(Value::as_str) == Some(value)))
            .collect();
        // Rows of one time come in another order each time.
        self.next += 1;
        let turn = self.next;
        found.sort_by_cached_key(|row| {
            let order = row.get("n").and_then(Value::as_u64).unwrap_or(0).wrapping_mul(turn * 2 + 1) % 1009;
            (if ascending { time(row) } else { -time(row) }, order)
        });
        let shown = |row: &Map<String, Value>| match &columns {
            None => row.clone(),
            Some(names) => names.iter().filter_map(|n| Some((n.clone(), row.get(n)?.clone()))).collect(),
        };
        let mut hits: Vec<Value> = found.into_iter().take(size).map(|row| Value::Object(shown(row))).collect();
        if self.counts_digits {
            let values = hits.iter_mut().filter_map(Value::as_object_mut).flat_map(|row| row.values_mut());
            values.for_each(|value| {
                if let Some(number) = value.as_str().and_then(|text| text.parse::<u64>().ok()) {
                    *value = json!(number);
                }
            });
        }
        let (status, mut body) = answer(hits);
        if moved {
            say_moved(&mut body, start);
        }
        (status, body)
    }

    /// Where a search begins: a stream's longest range moves it.
    fn begin(&self, stream: &str, start: i64, end: i64) -> (i64, bool) {
        let range =
            self.settings.get(&("logs".to_owned(), stream.to_owned())).and_then(|s| s["max_query_range"].as_i64());
        let longest = range.filter(|hours| *hours > 0).map_or(i64::MAX, |hours| hours * 3_600_000_000);
        (start.max(end.saturating_sub(longest)), end - start > longest)
    }

    /// A name for the rows of a stream as they are now: rows are only added.
    fn named(&self, stream: &str, rows: &[Map<String, Value>]) -> String {
        format!("{}/{stream}/{}/{:p}", self.serial, rows.len(), rows.as_ptr())
    }

    fn promql(&self, query: &BTreeMap<String, String>, metrics: &Logs<'_>) -> (u16, Value) {
        let micros = |key: &str| query[key].parse::<i64>().unwrap() * 1_000_000;
        let text = &query["query"];
        let asked = metrics.iter().filter(|(name, _)| text.contains(name.as_str()));
        let (mut names, mut streams) = (Map::new(), Vec::new());
        for (stream, rows) in asked {
            let name = self.named(stream, rows);
            names.insert((*stream).clone(), json!(name));
            streams.push(Rows { name, rows });
        }
        let asked = json!({"promql": text, "rows": names, "start": micros("start"), "end": micros("end"),
            "step": micros("step")});
        match crate::openobserve_sql::ask(&asked, &streams) {
            Ok(rows) => (200, json!({"status": "success", "data": {"resultType": "matrix", "result": rows}})),
            Err(why) => (400, json!({"status": "error", "errorType": "bad_data", "error": why})),
        }
    }

    /// Any other query, asked of SQLite.
    fn evaluated(&self, query: &Value, logs: &Logs<'_>) -> (u16, Value) {
        let sql = query["sql"].as_str().unwrap();
        let stream = sql.split_once("FROM ").and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or_default();
        let stream = stream.trim_matches('"');
        let Some(rows) = logs.get(&stream.to_owned()) else {
            return (400, json!({"code": 20002, "message": format!("Search stream not found: {stream}")}));
        };
        let end = query["end_time"].as_i64().unwrap();
        let (start, moved) = self.begin(stream, query["start_time"].as_i64().unwrap(), end);
        // What is asked before each backup is not carried to another process row by row.
        let hits = if sql.starts_with("SELECT min(_timestamp) AS first_time FROM ") {
            let times = rows.iter().map(|row| row["_timestamp"].as_i64().unwrap());
            let first = times.filter(|time| (start..end).contains(time)).min();
            Ok(first.map(|first| json!({"first_time": first})).into_iter().collect())
        } else {
            let name = self.named(stream, rows);
            let asked =
                json!({"sql": sql, "stream": stream, "rows": name, "start": start, "end": end, "size": query["size"]});
            crate::openobserve_sql::ask(&asked, &[Rows { name, rows }])
        };
        match hits {
            Ok(rows) => {
                let mut body = json!({"total": rows.len(), "hits": rows, "from": 0, "is_partial": false});
                if moved {
                    say_moved(&mut body, start);
                }
                (200, body)
            }
            Err(why) => (400, json!({"code": 20001, "message": format!("SQL not valid: {why}")})),
        }
    }
}

/// Says that a search began later than it was asked to.
fn say_moved(body: &mut Value, start: i64) {
    body["is_partial"] = json!(true);
    body["new_start_time"] = json!(start);
    body["function_error"] = json!(["Query duration is modified due to query range restriction"]);
}

/// The columns (`None`: all), the stream and the rest of a query of the plain form: `SELECT * FROM "s" …`, `SELECT "a", "b" FROM "s" …`.
fn plain(sql: &str) -> Option<(Option<Vec<String>>, &str, &str)> {
    let (columns, rest) = sql.strip_prefix("SELECT ")?.split_once(" FROM \"")?;
    let (stream, rest) = rest.split_once('"')?;
    let name = |one: &str| Some(one.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    let columns = match columns {
        "*" => None,
        list => Some(list.split(", ").map(name).collect::<Option<Vec<_>>>()?),
    };
    let conditions = rest.trim_end_matches(" ORDER BY _timestamp ASC").trim();
    let is_plain = |one: &str| one.split_once(" = ").is_some_and(|(_, v)| v.starts_with('\'') && v.ends_with('\''));
    let fine = conditions.is_empty() || conditions.strip_prefix("WHERE ")?.split(" AND ").all(is_plain);
    fine.then_some((columns, stream, rest))
}

/// Things that are known by their names.
fn named(
    things: &mut BTreeMap<String, Value>,
    method: &str,
    rest: &[&str],
    body: Value,
    fine: impl Fn(&Value) -> bool,
) -> (u16, Value) {
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    if matches!(method, "POST" | "PUT") && (name.is_empty() || !fine(&body)) {
        return fail(400, "it is not taken");
    }
    match (method, rest) {
        ("GET", []) => (200, json!({"list": things.values().collect::<Vec<_>>()})),
        ("POST", []) if things.contains_key(&name) => fail(400, "it exists"),
        ("POST", []) => {
            things.insert(name, body);
            ok("saved")
        }
        ("PUT", [of]) if things.contains_key(*of) => {
            things.insert((*of).to_owned(), body);
            ok("updated")
        }
        ("DELETE", [of]) if things.remove(*of).is_some() => ok("deleted"),
        _ => fail(404, "not found"),
    }
}
