//! `tidegate openobserve import`: YAML of what is on the server.

use super::{Failed, Ready, only, out};
use crate::cli::Exit;
use crate::openobserve::{Client, Kind, Observed, described, observe, text};
use crate::text::escape::Page;
use serde_json::{Map, Value, json};

/// Prints all that can be kept as code.
pub(super) async fn run(ready: &[Ready]) -> Result<Exit, Failed> {
    let one = only(ready)?;
    let client = one.connect().await?;
    let (server, left_out) = read(&client, &one.config.url.value).await?;
    let mut page = Page::new();
    for name in left_out {
        writeln!(page, "# left out, its name cannot be kept: {name}");
    }
    let mut yaml = String::from("openobserve:\n");
    write(&server, 1, &mut yaml);
    page.text(&yaml);
    out(&page).map(|()| Exit::Done)
}

/// The same as JSON that can be read as a configuration; and the names of what was left out.
///
/// Errors: the server's; in words.
pub(in crate::cli) async fn document(client: &Client, url: &str) -> Result<(Value, Vec<String>), Failed> {
    let (mut server, left_out) = read(client, url).await?;
    escape(&mut server);
    server["url"] = json!(format!("${{O2_URL:-{}}}", url.replace('}', "%7D")));
    Ok((server, left_out))
}

/// A text that is to be read as it is has its `$` doubled; what this command itself puts there are variables.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) if !is_variable(text) => *text = text.replace('$', "$$"),
        Value::Array(list) => list.iter_mut().for_each(escape),
        Value::Object(map) => map.values_mut().for_each(escape),
        _ => {}
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with("${") && text.ends_with('}')
}

async fn read(client: &Client, url: &str) -> Result<(Value, Vec<String>), Failed> {
    let world = observe(client, &Kind::ALL).await.map_err(|e| e.to_string())?;
    let mut server = Map::new();
    server.insert("url".into(), json!(url));
    server.insert("organization".into(), json!(client.organization()));
    server.insert("auth".into(), json!({"basic": {"user": "${O2_USER}", "password": "${O2_PASSWORD}"}}));
    let mut left_out = Vec::new();
    for kind in Kind::ALL {
        let mut section = Map::new();
        for observed in world.of(kind) {
            let name = match kind {
                Kind::Dashboard => slug(&observed.name, &section),
                _ => observed.name.clone(),
            };
            let is_default = kind == Kind::Folder && (observed.id == "default" || section.contains_key(&name));
            let is_bad = |c: char| c.is_whitespace() || c.is_control() || "/:#?&%'\"[]".contains(c);
            if is_default {
                continue;
            }
            if name.is_empty() || kind != Kind::Folder && name.chars().any(is_bad) {
                left_out.push(format!("{} {:?}", kind.word(), observed.name));
                continue;
            }
            section.insert(name, resource(kind, observed));
        }
        if !section.is_empty() {
            server.insert(kind.section().into(), Value::Object(section));
        }
    }
    Ok((Value::Object(server), left_out))
}

/// A name of a dashboard from its title.
fn slug(title: &str, taken: &Map<String, Value>) -> String {
    let name: String = title.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    let name = name.trim_matches('_').to_owned();
    let free = |name: &String| !name.is_empty() && !taken.contains_key(name);
    if free(&name) {
        return name;
    }
    let numbered = (2..).map(|n| format!("{name}_{n}")).find(|name| free(name));
    numbered.unwrap_or(name)
}

/// Whether it says nothing, and is left out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A resource as the configuration writes it.
fn resource(kind: Kind, observed: &Observed) -> Value {
    let fields = &observed.fields;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        if !is_empty(&value) {
            out.insert(key.to_owned(), value);
        }
    };
    let field = |key: &str| fields.get(key).cloned().unwrap_or_default();
    let time = |key: &str, unit: &str| match fields.get(key).and_then(Value::as_u64) {
        Some(n) if n > 0 => json!(format!("{n}{unit}")),
        _ => Value::Null,
    };
    match kind {
        Kind::Stream => {
            put("type", field("type"));
            put("retention", time("retention_days", "d"));
            put("max_query_range", time("max_query_range_hours", "h"));
            for key in ["full_text", "index", "bloom", "schema_fields"] {
                put(key, field(key));
            }
            let keys = fields["partition"].as_array().into_iter().flatten().map(partition);
            put("partition", keys.collect());
        }
        Kind::Function => {
            put("vrl", field("function"));
            put("params", field("params"));
        }
        Kind::Pipeline => {
            put("description", json!(described(observed)));
            for key in ["source", "nodes", "edges"] {
                put(key, field(key));
            }
        }
        Kind::Folder => {
            put("type", field("type"));
            put("description", json!(described(observed)));
        }
        Kind::Template => {
            put("body", field("body"));
            put("title", field("title"));
        }
        Kind::Destination => destination(observed, &mut put),
        Kind::Alert => return Value::Object(alert(observed)),
        Kind::Dashboard => {
            let mut body = fields["dashboard"].clone();
            body["description"] = json!(described(observed));
            put("folder", field("folder"));
            put("json", body);
        }
    }
    Value::Object(out)
}

/// Where alerts are sent; addresses and headers, which may hold secrets, become variables.
fn destination(observed: &Observed, put: &mut dyn FnMut(&str, Value)) {
    let fields = &observed.fields;
    let field = |key: &str| fields.get(key).cloned().unwrap_or_default();
    let variable = |what: &str| format!("${{{}_{what}}}", observed.name.to_uppercase().replace(['-', '.'], "_"));
    put(
        "url",
        fields.get("url").filter(|url| url.as_str() != Some("")).map_or(Value::Null, |_| json!(variable("URL"))),
    );
    let names = fields["headers"].as_object().into_iter().flatten();
    let headers = names.map(|(name, _)| (name.clone(), json!(variable(&name.to_uppercase().replace('-', "_")))));
    put("headers", Value::Object(headers.collect()));
    put("method", field("method"));
    put("email", field("emails"));
    put("template", field("template"));
    put("verify_tls", json!(fields["skip_tls_verify"] != json!(true)));
}

fn alert(observed: &Observed) -> Map<String, Value> {
    let fields = &observed.fields;
    let mut out = Map::new();
    let field = |key: &str| fields.get(key).cloned().unwrap_or_default();
    let mut put = |key: &str, value: Value| {
        if !is_empty(&value) {
            out.insert(key.to_owned(), value);
        }
    };
    let query = &fields["query"];
    for key in ["stream", "stream_type", "real_time"] {
        put(key, field(key));
    }
    match query["type"].as_str() {
        Some("sql") => put("sql", query["sql"].clone()),
        Some("promql") => {
            put("promql", query["promql"].clone());
            put("value", query["promql_condition"]["value"].clone());
        }
        _ => {
            let one = |c: &Value| json!({"column": c["column"], "operator": c["operator"], "value": c["value"]});
            let list = query["conditions"].as_array().into_iter().flatten().map(one);
            out.insert("conditions".into(), list.collect());
        }
    }
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    for (key, from) in [("every", "every_minutes"), ("for", "for_minutes"), ("silence", "silence_minutes")] {
        if let Some(minutes) = fields.get(from).and_then(Value::as_u64) {
            put(key, json!(format!("{minutes}m")));
        }
    }
    for key in ["operator", "threshold", "destinations", "enabled"] {
        put(key, field(key));
    }
    if let Some(folder) = fields.get("folder").filter(|folder| **folder != json!("default")) {
        put("folder", folder.clone());
    }
    put("description", json!(described(observed)));
    put("row_template", json!(text(fields, "row_template")));
    out
}

fn partition(key: &Value) -> Value {
    match key.as_str().and_then(|text| text.split_once(':')) {
        Some((field, "prefix")) => json!({"field": field}),
        Some((field, rest)) => {
            json!({"field": field, "hash": rest.strip_prefix("hash:").and_then(|n| n.parse::<u32>().ok())})
        }
        None => key.clone(),
    }
}

/// A value as YAML, mappings by indentation; a `$` of a text is doubled, lest it names a variable.
fn write(value: &Value, level: usize, out: &mut String) {
    let Value::Object(map) = value else { return };
    let plain = |key: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
        key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.chars().all(fine)
            && !["true", "false", "null"].contains(&key)
    };
    for (key, value) in map {
        out.push_str(&"  ".repeat(level));
        match plain(key) {
            true => out.push_str(key),
            false => out.push_str(&json!(key).to_string()),
        }
        match value {
            Value::Object(inner) if !inner.is_empty() && key != "json" => {
                out.push_str(":\n");
                write(value, level + 1, out);
            }
            _ => {
                out.push_str(": ");
                let text = value.to_string();
                // What this command itself puts there are variables.
                let variable = value.as_str().is_some_and(is_variable);
                out.push_str(&if variable { text } else { text.replace('$', "$$") });
                out.push('\n');
            }
        }
    }
}
