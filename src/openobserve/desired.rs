//! What the configuration wants, in the fields that it is compared in, for a version of the server.

use super::config::{
    AlertConfig, DestinationConfig, FolderType, PartitionKey, ServerConfig, StreamConfig, TemplateConfig, WebhookPreset,
};
use super::dashboard;
use super::resource::{Desired, Key, Kind, object};
use super::version::Version;
use serde_json::{Value, json};
use std::time::Duration;

/// Everything that is wanted, in the order of dependence; and what cannot be made of the configuration, in words.
pub fn desired(server: &ServerConfig, version: Version) -> (Vec<Desired>, Vec<String>) {
    let mut out = Vec::new();
    let mut wrong = Vec::new();
    let mut add = |kind: Kind, name: &str, fields: Value| {
        out.push(Desired {
            key: Key::new(kind, name),
            fields,
            secret: &[],
            unsupported: Vec::new(),
            impossible: false,
        });
    };
    for (name, config) in server.functions.iter() {
        add(Kind::Function, name, json!({"function": vrl(&config.vrl.value), "params": config.params}));
    }
    for (name, config) in server.pipelines.iter() {
        let fields = json!({
            "description": config.description, "source": config.source, "nodes": config.nodes, "edges": config.edges,
        });
        add(Kind::Pipeline, name, fields);
    }
    for (name, config) in server.folders.iter() {
        add(Kind::Folder, name, json!({"type": config.r#type.word(), "description": config.description}));
    }
    for (name, config) in server.templates.iter() {
        add(Kind::Template, name, template(config));
    }
    for (name, config) in server.dashboards.iter() {
        match dashboard::render(config, version.dashboard_form()) {
            Ok(mut body) => {
                let description = body["description"].as_str().unwrap_or_default().to_owned();
                if let Some(map) = body.as_object_mut() {
                    map.shift_remove("description");
                }
                let folder = config.folder.as_deref().unwrap_or("default");
                let fields = json!({"folder": folder, "description": description, "dashboard": body});
                add(Kind::Dashboard, name, fields);
            }
            Err(why) => wrong.push(format!("dashboard `{}`: {why}", name.value)),
        }
    }
    for desired in &mut out {
        match desired.key.kind {
            Kind::Pipeline if !version.has_pipelines() => {
                desired.impossible = true;
                desired.unsupported.push("pipelines (from 0.10.9 on)".into());
            }
            Kind::Folder if desired.fields["type"] == FolderType::Alerts.word() && !version.has_alerts_v2() => {
                desired.impossible = true;
                desired.unsupported.push("folders of alerts (from 0.14.1 on)".into());
            }
            _ => {}
        }
    }
    out.extend(server.streams.iter().map(|(name, config)| stream(name, config, version)));
    for (name, config) in server.destinations.iter() {
        out.extend(preset_template(name, config));
        out.push(destination(name, config, version));
    }
    out.extend(server.alerts.iter().map(|(name, config)| alert(name, config, version)));
    out.sort_by_key(|desired| desired.key.kind);
    (out, wrong)
}

/// A text of VRL as it is compared: the server appends a ` .`.
pub fn vrl(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_suffix('.').filter(|rest| rest.ends_with(char::is_whitespace)).unwrap_or(text);
    text.trim_end().to_owned()
}

fn sorted(list: &Option<Vec<String>>) -> Option<Value> {
    let mut list = list.clone()?;
    list.sort_unstable();
    list.dedup();
    Some(json!(list))
}

fn stream(name: &str, config: &StreamConfig, version: Version) -> Desired {
    let mut unsupported = Vec::new();
    let newer = version.has_changes_of_settings();
    let mut since = |key: &str, given: bool| {
        if given && !newer {
            unsupported.push(format!("`{key}` (from 0.11 on)"));
        }
        given && newer
    };
    let by = |key: &PartitionKey| matches!(key, PartitionKey::By(_));
    let index = since("index", config.index.is_some());
    let range = since("max_query_range", config.max_query_range.is_some());
    let fields = since("schema_fields", config.schema_fields.is_some());
    since("partition: {field}", config.partition.iter().flatten().any(by));
    let partition = config.partition.as_ref().map(|keys| {
        let mut keys: Vec<String> = keys.iter().filter(|key| newer || !by(key)).map(partition_text).collect();
        keys.sort_unstable();
        json!(keys)
    });
    let whole = |time: Duration, unit: u64| json!(time.as_secs() / unit);
    let fields = object([
        ("type", Some(json!(config.r#type.word()))),
        ("retention_days", config.retention.as_ref().map(|time| whole(time.value, 86_400))),
        ("full_text", sorted(&config.full_text)),
        ("index", sorted(&config.index).filter(|_| index)),
        ("bloom", sorted(&config.bloom)),
        ("partition", partition),
        (
            "max_query_range_hours",
            config.max_query_range.as_ref().map(|time| whole(time.value, 3600)).filter(|_| range),
        ),
        ("schema_fields", sorted(&config.schema_fields).filter(|_| fields)),
    ]);
    Desired { key: Key::new(Kind::Stream, name), fields, secret: &[], unsupported, impossible: false }
}

/// A partition key as one text: `tenant`, `trace_id:hash:16`, `path:prefix`.
fn partition_text(key: &PartitionKey) -> String {
    match key {
        PartitionKey::Field(field) => field.clone(),
        PartitionKey::By(by) => match by.hash {
            Some(parts) => format!("{}:hash:{parts}", by.field),
            None => format!("{}:prefix", by.field),
        },
    }
}

fn template(config: &TemplateConfig) -> Value {
    let kind = if config.title.is_some() { "email" } else { "http" };
    json!({"body": config.body, "type": kind, "title": config.title.clone().unwrap_or_default()})
}

/// Name of the template of a destination with a preset.
fn preset_name(destination: &str, preset: WebhookPreset) -> String {
    format!("{destination}_{}", preset.word())
}

/// The template that a preset stands for.
fn preset_template(name: &str, config: &DestinationConfig) -> Option<Desired> {
    let preset = config.preset.filter(|_| config.template.is_none())?;
    let words = "{alert_name} on {stream_name}: {alert_count} rows {alert_operator} {alert_threshold} \
                 from {alert_start_time} to {alert_end_time}";
    let body = match preset {
        WebhookPreset::Slack => json!({"text": format!("{words}\n{{rows}}")}),
        WebhookPreset::Pagerduty => json!({
            "routing_key": config.routing_key.as_ref().map(|key| key.reveal()), "event_action": "trigger",
            "dedup_key": "{org_name}/{alert_name}",
            "payload": {"summary": words, "source": "{stream_name}", "severity": "error", "custom_details": "{rows}"},
        }),
        WebhookPreset::Dingtalk | WebhookPreset::Wecom => {
            json!({"msgtype": "text", "text": {"content": format!("{words}\n{{rows}}")}})
        }
    };
    let fields = json!({"body": body.to_string(), "type": "http", "title": ""});
    let secret: &[&str] = if preset == WebhookPreset::Pagerduty { &["body"] } else { &[] };
    let key = Key::new(Kind::Template, &preset_name(name, preset));
    Some(Desired { key, fields, secret, unsupported: Vec::new(), impossible: false })
}

fn destination(name: &str, config: &DestinationConfig, version: Version) -> Desired {
    let of_preset = config.preset.map(|preset| preset_name(name, preset));
    let template = config.template.as_ref().map(|t| t.value.clone()).or(of_preset).unwrap_or_default();
    let mut unsupported = Vec::new();
    let impossible = config.email.is_some() && !version.has_alerts_v2();
    if impossible {
        unsupported.push("destinations of mail (from 0.14.1 on)".into());
    }
    let fields = match &config.email {
        Some(emails) => json!({"type": "email", "emails": emails, "template": template}),
        None => json!({
            "type": "http", "url": config.url.as_ref().map(|url| url.reveal()), "method": config.method.word(),
            "template": template, "skip_tls_verify": !config.verify_tls,
            "headers": config.headers.iter().map(|(k, v)| (k.value.clone(), json!(v.reveal()))).collect::<serde_json::Map<_, _>>(),
        }),
    };
    let key = Key::new(Kind::Destination, name);
    Desired { key, fields, secret: &["url", "headers"], unsupported, impossible }
}

fn alert(name: &str, config: &AlertConfig, version: Version) -> Desired {
    let mut unsupported = Vec::new();
    let newer = version.has_alerts_v2();
    if config.folder.is_some() && !newer {
        unsupported.push("`folder` (from 0.14.1 on)".into());
    }
    let query = match (&config.sql, &config.promql, &config.conditions) {
        (Some(sql), ..) => json!({"type": "sql", "sql": sql.value}),
        (_, Some(promql), _) => json!({
            "type": "promql", "promql": promql.value,
            "promql_condition": {"column": "value", "operator": config.operator.word(), "value": config.value},
        }),
        (.., conditions) => {
            let one = |c: &super::config::AlertCondition| json!({"column": c.column, "operator": c.operator.word(), "value": c.value, "ignore_case": false});
            json!({"type": "custom", "conditions": conditions.iter().flatten().map(one).collect::<Vec<_>>()})
        }
    };
    let minutes = |time: Duration| json!(time.as_secs() / 60);
    let fields = object([
        ("stream", Some(json!(config.stream))),
        ("stream_type", Some(json!(config.stream_type.word()))),
        ("real_time", Some(json!(config.real_time))),
        ("query", Some(query)),
        // A server of the first interface goes at its own pace, and says so in this field.
        ("every_minutes", newer.then(|| minutes(config.every.value))),
        ("for_minutes", Some(minutes(config.r#for.value))),
        ("operator", Some(json!(config.operator.word()))),
        ("threshold", Some(json!(config.threshold))),
        ("silence_minutes", Some(minutes(config.silence.value))),
        ("destinations", Some(json!(config.destinations.iter().map(|d| &d.value).collect::<Vec<_>>()))),
        ("folder", newer.then(|| json!(config.folder.as_deref().unwrap_or("default")))),
        ("enabled", Some(json!(config.enabled))),
        ("description", Some(json!(config.description))),
        ("row_template", Some(json!(config.row_template))),
    ]);
    Desired { key: Key::new(Kind::Alert, name), fields, secret: &[], unsupported, impossible: false }
}
