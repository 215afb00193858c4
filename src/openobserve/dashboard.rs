//! Dashboards: the short form as the form that a version of the server knows.
//!
//! Forms 2 to 8 are those of the server. 2 has its panels flat, on a grid of 12 columns, filters as lists; from 5 on they stand in tabs, on
//! a grid of 48 columns, filters as groups; 6 has 192 columns and rows of half the height; 7 counts `y` in them too; 8 says of each
//! field where it comes from.

use super::config::{DashboardConfig, MAX_DASHBOARD, PanelConfig, PanelType, StreamType, VariableConfig, VariableType};
use super::sql;
use serde_json::{Value, json};
use std::io::Read;

/// The JSON of a dashboard in a form of the server, without id, folder and mark.
///
/// Errors: its file cannot be read, or is no dashboard.
pub fn render(config: &DashboardConfig, form: u32) -> Result<Value, String> {
    if let Some(json) = &config.json {
        return exported(json.value.clone(), form);
    }
    if let Some(path) = &config.file {
        let shown = path.value.display();
        let mut text = String::new();
        let file = std::fs::File::open(&path.value).map_err(|e| format!("`{shown}`: {e}"))?;
        let limit = MAX_DASHBOARD.as_usize() as u64 + 1;
        file.take(limit).read_to_string(&mut text).map_err(|e| format!("`{shown}`: {e}"))?;
        let value = serde_json::from_str(&text).map_err(|e| format!("`{shown}` is not JSON: {e}"))?;
        return exported(value, form).map_err(|why| format!("`{shown}`: {why}"));
    }
    let panels = panels(config, form);
    let title = config.title.as_ref().map_or("", |title| title.value.as_str());
    let mut out = json!({
        "version": form, "title": title, "description": config.description, "role": "",
        "variables": {"list": config.variables.iter().map(|(name, about)| variable(name, about)).collect::<Vec<_>>()},
    });
    if form < 3 {
        out["panels"] = json!(panels);
    } else {
        out["tabs"] = json!([{"tabId": "default", "name": "Default", "panels": panels}]);
        out["defaultDatetimeDuration"] = json!({"type": "relative", "relativeTimePeriod": period(config)});
    }
    Ok(out)
}

/// What the server exports, without what is its own.
fn exported(mut value: Value, form: u32) -> Result<Value, String> {
    // As the wrapper has it that GET answers.
    if let Some(inner) = (1..=8).rev().find_map(|n| value.get(format!("v{n}")).filter(|v| v.is_object())) {
        value = inner.clone();
    }
    let Some(map) = value.as_object_mut() else { return Err("it is not a dashboard: no mapping".into()) };
    if !map.get("title").is_some_and(Value::is_string) {
        return Err("it is not a dashboard: no `title`".into());
    }
    for own in ["dashboardId", "owner", "created", "updatedAt", "hash"] {
        map.shift_remove(own);
    }
    let given = map.get("version").and_then(Value::as_u64).unwrap_or(1);
    if given > u64::from(form) {
        return Err(format!("it is of form {given}, and the server knows those up to {form}"));
    }
    map.entry("version").or_insert(json!(1));
    Ok(value)
}

/// `15m`, `6h`, `2d`.
fn period(config: &DashboardConfig) -> String {
    let seconds = config.range.value.as_secs().max(1);
    match seconds {
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

fn panels(config: &DashboardConfig, form: u32) -> Vec<Value> {
    let per_row = config.per_row.value.clamp(1, 12);
    let width = 12 / per_row;
    let mut flowing = 0;
    // Those that flow stand below those that have a place.
    let below =
        config.panels.iter().filter_map(|p| p.at.as_ref()).map(|at| at.value[1] + at.value[3]).max().unwrap_or(0);
    let mut out = Vec::new();
    for (n, about) in config.panels.iter().enumerate() {
        let [x, y, w, h] = match about.at.as_ref().map(|at| &at.value[..]) {
            Some(&[x, y, w, h]) => [x, y, w, h],
            _ => {
                let (row, column) = (flowing / per_row, flowing % per_row);
                flowing += 1;
                [column * width, below + row * config.height, width, config.height]
            }
        };
        let columns = match form {
            0..=2 => 1,
            3..=5 => 4,
            _ => 16,
        };
        let (height, top) = (if form >= 6 { 2 } else { 1 }, if form >= 7 { 2 } else { 1 });
        let layout = json!({"x": x * columns, "y": y * top, "w": w * columns, "h": h * height, "i": n + 1});
        out.push(panel(about, n + 1, form, layout));
    }
    out
}

fn panel(about: &PanelConfig, number: usize, form: u32, layout: Value) -> Value {
    let mut config = json!({"show_legends": true, "legends_position": null});
    if let Some(unit) = &about.unit {
        let known = [
            "bytes",
            "kilobytes",
            "megabytes",
            "bps",
            "seconds",
            "milliseconds",
            "microseconds",
            "percent",
            "percent-1",
            "currency-dollar",
            "numbers",
            "default",
        ];
        match unit.as_str() {
            "short" => config["unit"] = json!("numbers"),
            "ms" => config["unit"] = json!("milliseconds"),
            "us" => config["unit"] = json!("microseconds"),
            unit if known.contains(&unit) => config["unit"] = json!(unit),
            unit => {
                config["unit"] = json!("custom");
                config["unit_custom"] = json!(unit);
            }
        }
    }
    let mut out = json!({
        "id": format!("Panel_{number}"), "type": type_of(about.r#type), "title": about.title,
        "description": about.description, "config": config,
        "queryType": if about.promql.is_some() { "promql" } else { "sql" },
        "queries": [query(about, form)], "layout": layout,
    });
    if let Some(text) = &about.text {
        out["markdownContent"] = json!(text);
    }
    out
}

fn type_of(panel: PanelType) -> &'static str {
    match panel {
        PanelType::Stat => "metric",
        PanelType::Text => "markdown",
        other => other.word(),
    }
}

fn query(about: &PanelConfig, form: u32) -> Value {
    let text = about.sql.as_ref().or(about.promql.as_ref()).map_or("", |query| query.value.as_str());
    let columns = about.sql.as_ref().map(|query| sql::columns(&query.value)).unwrap_or_default();
    let item = |name: &String| {
        let mut item = json!({"label": name, "alias": name, "column": name, "color": null});
        if form >= 8 {
            item["type"] = json!("custom");
        }
        item
    };
    let is_breakdown = |name: &&String| Some(*name) == about.breakdown.as_ref();
    let axes: Vec<&String> = columns.iter().filter(|name| !is_breakdown(name)).collect();
    let items = |names: &[&String]| Value::Array(names.iter().map(|name| item(name)).collect());
    let first = axes.get(..1).unwrap_or_default();
    let rest = axes.get(1..).unwrap_or_default();
    let (x, y, z) = match about.r#type {
        PanelType::Table => (items(&axes), json!([]), json!([])),
        PanelType::Stat | PanelType::Gauge => (json!([]), items(first), json!([])),
        PanelType::Heatmap => {
            (items(first), items(axes.get(1..2).unwrap_or_default()), items(axes.get(2..).unwrap_or_default()))
        }
        PanelType::Geomap => (json!([]), json!([]), json!([])),
        _ => (items(first), items(rest), json!([])),
    };
    let default = if about.promql.is_some() { StreamType::Metrics } else { StreamType::Logs };
    let stream = about.stream.clone().or_else(|| sql::stream(text)).unwrap_or_default();
    let mut fields = json!({
        "stream": stream, "stream_type": about.stream_type.unwrap_or(default).word(), "x": x, "y": y, "z": z,
        "filter": if form >= 5 {
            json!({"filterType": "group", "logicalOperator": "AND", "conditions": []})
        } else {
            json!([])
        },
    });
    if let Some(breakdown) = &about.breakdown {
        // Before the fourth form series are told by a second field of the x axis.
        match (form >= 4, fields["x"].as_array_mut()) {
            (false, Some(x)) => x.push(item(breakdown)),
            _ => fields["breakdown"] = json!([item(breakdown)]),
        }
    } else if form >= 4 {
        fields["breakdown"] = json!([]);
    }
    if about.r#type == PanelType::Geomap {
        for (key, name) in ["latitude", "longitude", "weight"].into_iter().zip(&axes) {
            fields[key] = item(name);
        }
    }
    let mut out = json!({"query": text, "customQuery": true, "fields": fields, "config": {"promql_legend": ""}});
    if form >= 5 {
        out["vrlFunctionQuery"] = Value::Null;
    }
    out
}

fn variable(name: &str, about: &VariableConfig) -> Value {
    let label = about.label.as_deref().unwrap_or(name);
    let mut out = json!({"name": name, "label": label});
    match about.r#type {
        VariableType::Query => {
            out["type"] = json!("query_values");
            out["query_data"] = json!({
                "stream_type": about.stream_type.word(), "stream": about.stream, "field": about.field,
            });
        }
        VariableType::Custom => {
            out["type"] = json!("custom");
            let option = |(n, value): (usize, &String)| json!({"label": value, "value": value, "selected": n == 0});
            out["options"] = about.options.iter().enumerate().map(option).collect();
        }
        VariableType::Constant => {
            out["type"] = json!("constant");
            out["value"] = json!(about.value);
        }
    }
    out
}

/// A panel's query, for those that ask it.
#[derive(Debug, Clone)]
pub struct PanelQuery {
    /// Title of the panel.
    pub title: String,
    /// SQL, or PromQL.
    pub query: String,
    /// It is PromQL.
    pub promql: bool,
    /// What the stream holds.
    pub stream_type: String,
}

/// The queries of a dashboard's panels, in any form of the server.
pub fn queries(dashboard: &Value) -> Vec<PanelQuery> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut panels = list(dashboard, "panels");
    panels.extend(list(dashboard, "tabs").iter().flat_map(|tab| list(tab, "panels")));
    let mut out = Vec::new();
    for panel in &panels {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        // The first form has its one query in the panel itself.
        let mut queries = list(panel, "queries");
        if queries.is_empty() && panel.get("query").is_some() {
            queries.push(panel.clone());
        }
        for query in &queries {
            let fields = query.get("fields").cloned().unwrap_or_default();
            let asked = text(query, "query");
            if asked.trim().is_empty() {
                continue;
            }
            let mut title = text(panel, "title");
            if title.is_empty() {
                title = panel.get("config").map(|config| text(config, "title")).unwrap_or_default();
            }
            out.push(PanelQuery {
                title,
                query: asked,
                promql: text(panel, "queryType") == "promql",
                stream_type: text(&fields, "stream_type"),
            });
        }
    }
    out
}
