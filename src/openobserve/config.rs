//! What is kept on a server, as the user writes it.

use crate::http::{AuthConfig, ClientConfig, Credentials, check_server};
use crate::settings::{
    Map, Node, Reader, SchemaBuilder, Secret, Setting, Size, Span, Spanned, config, config_enum, config_union,
};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// The servers of a configuration, by name; one alone is `default`.
#[derive(Debug, Clone, Default)]
pub struct Servers(pub Vec<(String, ServerConfig)>);

impl Setting for Servers {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let several =
            node.as_map().is_some_and(|map| !map.is_empty() && map.iter().all(|e| e.value.get("url").is_some()));
        if node.entry("url").is_some() || !several {
            let server = ServerConfig::read(node, cx)?;
            server.check(cx);
            return Some(Servers(vec![("default".into(), server)]));
        }
        let servers = Map::<ServerConfig>::read(node, cx)?;
        for (name, server) in servers.iter() {
            let Some(entry) = node.entry(name.as_str()) else { continue };
            cx.under(entry, |cx| server.check(cx));
        }
        Some(Servers(servers.into_iter().map(|(name, server)| (name.value, server)).collect()))
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        let one = ServerConfig::schema(g);
        json!({"anyOf": [one, {"type": "object", "additionalProperties": one}]})
    }

    fn describe() -> String {
        "a server, or a mapping of names, each to a server".into()
    }

    fn accepts(node: &Node) -> bool {
        node.as_map().is_some()
    }

    fn fields() -> Vec<crate::settings::FieldDoc> {
        ServerConfig::fields()
    }
}

config! {
    /// A server of OpenObserve, and what is kept on it by `tidegate openobserve apply`.
    pub struct ServerConfig {
        /// Address of the server, such as `http://localhost:5080`; with its prefix where it has one (`ZO_BASE_URI`).
        pub url: Spanned<String>,
        /// The organization.
        pub organization: Spanned<String> = Spanned::new("default".into(), Span::default()),
        /// Credentials of a user, not of an ingestion token.
        pub auth: Option<AuthConfig> = None,
        /// Streams, by name.
        pub streams: Map<StreamConfig> = Map::default(),
        /// Functions, by name.
        pub functions: Map<FunctionConfig> = Map::default(),
        /// Pipelines on the server, by name.
        pub pipelines: Map<ServerPipelineConfig> = Map::default(),
        /// Folders, by name.
        pub folders: Map<FolderConfig> = Map::default(),
        /// Templates of notifications, by name.
        pub templates: Map<TemplateConfig> = Map::default(),
        /// Where notifications go, by name.
        pub destinations: Map<DestinationConfig> = Map::default(),
        /// Alerts, by name.
        pub alerts: Map<AlertConfig> = Map::default(),
        /// Dashboards, by a name that tells them apart; the title is shown.
        pub dashboards: Map<DashboardConfig> = Map::default(),
        /// What is shipped and kept too.
        pub presets: PresetsConfig = PresetsConfig::default(),
        /// How requests travel.
        flatten pub client: ClientConfig,
    }
}

config_enum! {
    /// Resources that are shipped.
    pub enum Preset {
        /// Dashboards: a shop's requests, visitors, orders and performance, and the agent's own health.
        Starter = "starter",
        /// A system of commands, queries and events: streams, alerts and dashboards.
        Cqrs = "cqrs",
    }
}

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 2] = [Preset::Starter, Preset::Cqrs];

    /// Names of its streams.
    pub fn streams(self) -> &'static [&'static str] {
        match self {
            Preset::Starter => &["application_logs"],
            Preset::Cqrs => &["cqrs_commands", "cqrs_queries", "cqrs_events", "cqrs_metrics", "cqrs_traces"],
        }
    }
}

config! {
    /// What is shipped and kept on the server beside what is named here; of one name, what is named here counts.
    #[derive(Default)]
    pub struct PresetsConfig {
        /// Which of them.
        pub r#use: Vec<Preset> = Vec::new(),
        /// Names of streams in place of theirs, such as `{application_logs: shop_logs}`.
        pub streams: Map<String> = Map::default(),
        /// Where their alerts go; left out: to all `destinations`.
        pub destinations: Vec<Spanned<String>> = Vec::new(),
    }
}

config_enum! {
    /// What a stream holds.
    pub enum StreamType {
        /// Logs.
        Logs = "logs",
        /// Metrics.
        Metrics = "metrics",
        /// Spans.
        Traces = "traces",
    }
}

config! {
    /// A stream. Settings that are left out stay as they are on the server.
    pub struct StreamConfig {
        /// What it holds.
        pub r#type: StreamType = StreamType::Logs,
        /// How long rows are kept: whole days.
        pub retention: Option<Spanned<Duration>> = None,
        /// Fields that are searched by `match_all`.
        pub full_text: Option<Vec<String>> = None,
        /// Fields with a secondary index; from version 0.11 on.
        pub index: Option<Vec<String>> = None,
        /// Fields with a bloom filter.
        pub bloom: Option<Vec<String>> = None,
        /// Fields that files are parted by.
        pub partition: Option<Vec<PartitionKey>> = None,
        /// Longest time range of a query: whole hours; from version 0.11 on.
        pub max_query_range: Option<Spanned<Duration>> = None,
        /// The fields that have columns of their own (`defined_schema_fields`); from version 0.11 on.
        pub schema_fields: Option<Vec<String>> = None,
        /// How late events of this stream may come; `tidegate openobserve verify` tries whether the server takes them.
        pub allow_late: Option<Duration> = None,
    }
}

config_union! {
    /// A partition key.
    pub enum PartitionKey {
        /// By each value of a field.
        Field(String),
        /// In another way.
        By(PartitionBy),
    }
}

config! {
    /// A partition key with its way; from version 0.11 on.
    pub struct PartitionBy {
        /// The field.
        pub field: String,
        /// Number of parts that the hash of its value goes to; left out: by the beginning of the value.
        pub hash: Option<NonZeroU32> = None,
    }
}

config! {
    /// A function in VRL.
    pub struct FunctionConfig {
        /// Its text.
        pub vrl: Spanned<String>,
        /// Names of its arguments.
        pub params: String = "row".to_owned(),
    }
}

config! {
    /// A pipeline on the server, from version 0.10.9 on: nodes and edges as the server writes them.
    pub struct ServerPipelineConfig {
        /// What it is for.
        pub description: String = String::new(),
        /// Where it begins.
        pub source: Value = json!({"source_type": "realtime"}),
        /// Its nodes.
        pub nodes: Vec<Value>,
        /// What leads from node to node.
        pub edges: Vec<Value>,
    }
}

config_enum! {
    /// What a folder holds.
    pub enum FolderType {
        /// Dashboards.
        Dashboards = "dashboards",
        /// Alerts; from version 0.14.1 on.
        Alerts = "alerts",
    }
}

config! {
    /// A folder.
    pub struct FolderConfig {
        /// What it holds.
        pub r#type: FolderType = FolderType::Dashboards,
        /// What it is for.
        pub description: String = String::new(),
    }
}

config! {
    /// The text of a notification.
    pub struct TemplateConfig {
        /// The text, with the server's variables such as `{alert_name}`, `{stream_name}` and `{rows}`.
        pub body: String,
        /// Subject, for mail; makes it a template of mail.
        pub title: Option<String> = None,
    }
}

config_enum! {
    /// Services whose notifications have a form of their own.
    pub enum WebhookPreset {
        /// Slack's incoming webhooks.
        Slack = "slack",
        /// PagerDuty's events, version 2.
        Pagerduty = "pagerduty",
        /// DingTalk's robots.
        Dingtalk = "dingtalk",
        /// WeCom's group robots.
        Wecom = "wecom",
    }
}

config_enum! {
    /// How a webhook is called.
    pub enum WebhookMethod {
        /// POST.
        Post = "post",
        /// PUT.
        Put = "put",
        /// GET.
        Get = "get",
    }
}

config! {
    /// Where notifications go: a webhook, or mail.
    pub struct DestinationConfig {
        /// Address of the webhook.
        pub url: Option<Secret> = None,
        /// The service behind it: gives the notification its form where no `template` is named.
        pub preset: Option<WebhookPreset> = None,
        /// PagerDuty's integration key.
        pub routing_key: Option<Secret> = None,
        /// How the webhook is called.
        pub method: WebhookMethod = WebhookMethod::Post,
        /// Headers of the request.
        pub headers: Map<Secret> = Map::default(),
        /// Whether the webhook's certificate is checked.
        pub verify_tls: bool = true,
        /// Addresses of mail, of members of the organization; in place of a webhook.
        pub email: Option<Vec<String>> = None,
        /// Name of the template.
        pub template: Option<Spanned<String>> = None,
    }
}

config_enum! {
    /// How a number is compared.
    pub enum Operator {
        /// Equal.
        Equal = "=",
        /// Not equal.
        NotEqual = "!=",
        /// More.
        More = ">",
        /// As much or more.
        AtLeast = ">=",
        /// Less.
        Less = "<",
        /// As much or less.
        AtMost = "<=",
        /// Contains.
        Contains = "Contains",
        /// Does not contain.
        NotContains = "NotContains",
    }
}

config! {
    /// A condition on a field; all of a list must hold.
    pub struct AlertCondition {
        /// The field.
        pub column: String,
        /// How it is compared.
        pub operator: Operator = Operator::Equal,
        /// With what.
        pub value: Value,
    }
}

config! {
    /// An alert: one of `sql`, `promql` and `conditions`, asked again and again.
    pub struct AlertConfig {
        /// The stream that is asked.
        pub stream: String,
        /// What the stream holds.
        pub stream_type: StreamType = StreamType::Logs,
        /// A query; the number of its rows is what `threshold` is compared with, so that a condition goes into `HAVING`.
        pub sql: Option<Spanned<String>> = None,
        /// A query in PromQL, whose value is compared with `value`.
        pub promql: Option<Spanned<String>> = None,
        /// What the value of `promql` is compared with.
        pub value: Option<f64> = None,
        /// Conditions on fields; the number of rows is compared with `threshold`.
        pub conditions: Option<Vec<AlertCondition>> = None,
        /// Tell at once, for each event, in place of asking; with `conditions` only.
        pub real_time: bool = false,
        /// How often it is asked: whole minutes. A server before version 0.14.1 has a pace of its own.
        pub every: Spanned<Duration> = Spanned::new(Duration::from_secs(60), Span::default()),
        /// Over what time it is asked: whole minutes.
        pub r#for: Spanned<Duration> = Spanned::new(Duration::from_secs(600), Span::default()),
        /// How the number is compared.
        pub operator: Operator = Operator::AtLeast,
        /// With what the number is compared.
        pub threshold: u64 = 1,
        /// How long it is quiet after it told: whole minutes.
        pub silence: Spanned<Duration> = Spanned::new(Duration::from_secs(600), Span::default()),
        /// Names of destinations.
        pub destinations: Vec<Spanned<String>>,
        /// Name of its folder; from version 0.14.1 on.
        pub folder: Option<String> = None,
        /// Whether it is asked at all.
        pub enabled: bool = true,
        /// What it is for.
        pub description: String = String::new(),
        /// How each row is written into the notification.
        pub row_template: String = String::new(),
    }
}

config_enum! {
    /// What a panel shows.
    pub enum PanelType {
        /// Rows.
        Table = "table",
        /// Lines.
        Line = "line",
        /// Filled lines.
        Area = "area",
        /// Bars.
        Bar = "bar",
        /// Shares of a whole.
        Pie = "pie",
        /// One number.
        Stat = "stat",
        /// One number on a dial.
        Gauge = "gauge",
        /// Numbers as colours over two axes.
        Heatmap = "heatmap",
        /// Numbers on a map: latitude, longitude and weight.
        Geomap = "geomap",
        /// Markdown.
        Text = "text",
    }
}

config! {
    /// A panel of a dashboard.
    pub struct PanelConfig {
        /// What stands above it.
        pub title: String,
        /// What it shows.
        pub r#type: PanelType,
        /// The query, whose columns have names (`AS …`): the first is the x axis and the others the y axis; of a stat or gauge the
        /// first counts.
        pub sql: Option<Spanned<String>> = None,
        /// The query, in PromQL.
        pub promql: Option<Spanned<String>> = None,
        /// The stream that is asked; left out: the one that `sql` names.
        pub stream: Option<String> = None,
        /// What the stream holds; left out: logs for `sql`, metrics for `promql`.
        pub stream_type: Option<StreamType> = None,
        /// Markdown, of a text.
        pub text: Option<String> = None,
        /// Unit of the values, as the server names it: `ms`, `percent`, `bytes`, `short`; any other is shown as it is.
        pub unit: Option<String> = None,
        /// The column that parts the values into series.
        pub breakdown: Option<String> = None,
        /// What it is about.
        pub description: String = String::new(),
        /// Its place `[x, y, width, height]` on a grid of 12 columns; left out: it flows.
        pub at: Option<Spanned<Vec<u32>>> = None,
    }
}

config_enum! {
    /// Where the values of a variable come from.
    pub enum VariableType {
        /// The values of a field.
        Query = "query",
        /// A list.
        Custom = "custom",
        /// One value.
        Constant = "constant",
    }
}

config! {
    /// A variable of a dashboard: `$name` in queries.
    pub struct VariableConfig {
        /// Where its values come from.
        pub r#type: VariableType,
        /// What is shown; left out: its name.
        pub label: Option<String> = None,
        /// The stream, of `query`.
        pub stream: Option<String> = None,
        /// What the stream holds, of `query`.
        pub stream_type: StreamType = StreamType::Logs,
        /// The field, of `query`.
        pub field: Option<String> = None,
        /// The values, of `custom`.
        pub options: Vec<String> = Vec::new(),
        /// The value, of `constant`.
        pub value: Option<String> = None,
    }
}

config! {
    /// A dashboard: in the short form, or as the server exports it (`file` or `json`).
    pub struct DashboardConfig {
        /// Its title.
        pub title: Option<Spanned<String>> = None,
        /// What it is for.
        pub description: String = String::new(),
        /// Name of its folder.
        pub folder: Option<String> = None,
        /// The time range that it opens with.
        pub range: Spanned<Duration> = Spanned::new(Duration::from_secs(3600), Span::default()),
        /// Panels in a row, where they flow.
        pub per_row: Spanned<u32> = Spanned::new(2, Span::default()),
        /// Height of a panel that flows.
        pub height: u32 = 9,
        /// Variables, by name.
        pub variables: Map<VariableConfig> = Map::default(),
        /// Its panels.
        pub panels: Vec<PanelConfig> = Vec::new(),
        /// A file of JSON as the server exports it, in place of `panels`; its version must be one that the server knows.
        pub file: Option<Spanned<PathBuf>> = None,
        /// The same JSON, written here.
        pub json: Option<Spanned<Value>> = None,
    }
}

/// Largest file of a dashboard that is read.
pub(super) const MAX_DASHBOARD: Size = Size::mib(16);

impl ServerConfig {
    /// Texts that must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        let mut out = self.auth.as_ref().map(Credentials::secrets).unwrap_or_default();
        out.extend(self.client.secrets());
        for (_, destination) in self.destinations.iter() {
            let headers = destination.headers.iter().map(|(_, value)| value);
            let all = destination.url.iter().chain(&destination.routing_key).chain(headers);
            out.extend(all.map(|secret| secret.reveal().to_owned()));
        }
        out
    }

    /// Notes mistakes that can be told without the server.
    fn check(&self, cx: &mut Reader<'_>) {
        check_server(
            cx,
            "url",
            &self.url,
            "http://localhost:5080",
            (&["/api", "/api/"], "the path `/api/…` is made of `organization`"),
        );
        let organization = self.organization.value.trim();
        if organization.is_empty() || organization.contains(['/', '?', '#']) {
            let what = format!("`organization`{} must not be empty or contain `/`, `?` or `#`", cx.place());
            cx.error(self.organization.span, what);
        }
        if let Some(auth) = &self.auth {
            auth.check(cx);
        }
        for (name, stream) in self.streams.iter() {
            check_name(cx, "stream", name);
            whole(cx, &stream.retention, 86_400, "retention", "days");
            whole(cx, &stream.max_query_range, 3600, "max_query_range", "hours");
        }
        for (name, _) in self.functions.iter() {
            check_name(cx, "function", name);
        }
        for (name, _) in self.templates.iter() {
            check_name(cx, "template", name);
        }
        for (name, destination) in self.destinations.iter() {
            check_name(cx, "destination", name);
            destination.check(name, cx);
        }
        for (name, alert) in self.alerts.iter() {
            check_name(cx, "alert", name);
            alert.check(name, cx);
        }
        for (name, dashboard) in self.dashboards.iter() {
            check_name(cx, "dashboard", name);
            dashboard.check(name, cx);
        }
        let known: Vec<&str> = Preset::ALL.iter().flat_map(|preset| preset.streams()).copied().collect();
        for (name, _) in self.presets.streams.iter().filter(|(name, _)| !known.contains(&name.value.as_str())) {
            let what = format!("no preset has a stream `{}`; there are {}", name.value, known.join(", "));
            cx.error(name.span, what);
        }
        for (name, _) in self.folders.iter().filter(|(name, _)| name.value.trim().is_empty()) {
            cx.error(name.span, "a folder's name is empty");
        }
    }
}

/// Names become parts of paths, and of marks.
fn check_name(cx: &mut Reader<'_>, kind: &str, name: &Spanned<String>) {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:#?&%'\"[]".contains(c);
    if name.value.is_empty() || name.value.chars().any(bad) {
        let shown = &name.value;
        cx.error(
            name.span,
            format!("the name `{shown}` of a {kind} is empty or has blanks, quotes or one of `/:#?&%[]`"),
        );
    }
}

/// Notes a time that is not whole in a unit of so many seconds.
fn whole(cx: &mut Reader<'_>, value: &Option<Spanned<Duration>>, unit: u64, key: &str, words: &str) {
    let Some(value) = value else { return };
    let time = value.value;
    if time.subsec_nanos() != 0 || time.as_secs() % unit != 0 || time.is_zero() {
        cx.error(value.span, format!("`{key}` must be whole {words}, at least one"));
    }
}

impl DestinationConfig {
    fn check(&self, name: &Spanned<String>, cx: &mut Reader<'_>) {
        let shown = &name.value;
        match (&self.url, &self.email) {
            (Some(_), Some(_)) => {
                cx.error(name.span, format!("destination `{shown}` has both `url` and `email`: make two of it"));
            }
            (None, None) => {
                cx.error(name.span, format!("destination `{shown}` needs `url` or `email`"));
            }
            _ => {}
        }
        if self.template.is_none() && self.preset.is_none() {
            let what = format!("destination `{shown}` needs a `template`");
            cx.error(name.span, what).help("or a `preset`: slack, pagerduty, dingtalk or wecom");
        }
        if self.preset == Some(WebhookPreset::Pagerduty) && self.routing_key.is_none() && self.template.is_none() {
            cx.error(name.span, format!("destination `{shown}` needs the `routing_key` of PagerDuty"));
        }
    }
}

impl AlertConfig {
    fn check(&self, name: &Spanned<String>, cx: &mut Reader<'_>) {
        let shown = &name.value;
        let asked = [self.sql.is_some(), self.promql.is_some(), self.conditions.is_some()];
        if asked.iter().filter(|given| **given).count() != 1 {
            cx.error(name.span, format!("alert `{shown}` needs one of `sql`, `promql` and `conditions`"));
        }
        if self.promql.is_some() != self.value.is_some() {
            cx.error(name.span, format!("alert `{shown}`: `promql` and `value` go together"));
        }
        if self.real_time && self.conditions.is_none() {
            cx.error(name.span, format!("alert `{shown}`: `real_time` goes with `conditions` only"));
        }
        if let Some(sql) = &self.sql
            && sql.value.split_whitespace().take(2).map(str::to_ascii_lowercase).eq(["select", "*"])
        {
            let what = format!("alert `{shown}` selects `*`, which the server does not take");
            cx.error(sql.span, what).help("name columns, such as `SELECT count(*) AS n FROM … HAVING n > 100`");
        }
        for (key, value) in [("every", &self.every), ("for", &self.r#for)] {
            whole(cx, &Some(value.clone()), 60, key, "minutes");
        }
        if !self.silence.value.as_secs().is_multiple_of(60) {
            cx.error(self.silence.span, "`silence` must be whole minutes");
        }
    }
}

impl DashboardConfig {
    fn check(&self, name: &Spanned<String>, cx: &mut Reader<'_>) {
        let shown = &name.value;
        let forms = [self.file.is_some(), self.json.is_some(), !self.panels.is_empty()];
        if forms.iter().filter(|given| **given).count() != 1 {
            cx.error(name.span, format!("dashboard `{shown}` needs one of `panels`, `file` and `json`"));
        }
        if !self.panels.is_empty() && self.title.as_ref().is_none_or(|title| title.value.trim().is_empty()) {
            cx.error(name.span, format!("dashboard `{shown}` needs a `title`"));
        }
        if let Some(json) = &self.json
            && json.value.get("title").and_then(Value::as_str).is_none_or(str::is_empty)
        {
            cx.error(json.span, format!("`json` of dashboard `{shown}` has no `title`"));
        }
        if !(1..=12).contains(&self.per_row.value) {
            cx.error(self.per_row.span, "`per_row` must be from 1 to 12");
        }
        for panel in &self.panels {
            panel.check(name, cx);
        }
        for (variable, about) in self.variables.iter() {
            let missing = match about.r#type {
                VariableType::Query if about.stream.is_none() || about.field.is_none() => "`stream` and `field`",
                VariableType::Custom if about.options.is_empty() => "`options`",
                VariableType::Constant if about.value.is_none() => "a `value`",
                _ => continue,
            };
            cx.error(variable.span, format!("variable `{}` needs {missing}", variable.value));
        }
    }
}

impl PanelConfig {
    fn check(&self, dashboard: &Spanned<String>, cx: &mut Reader<'_>) {
        let text = self.r#type == PanelType::Text;
        let (title, shown) = (&self.title, &dashboard.value);
        let queries = usize::from(self.sql.is_some()) + usize::from(self.promql.is_some());
        if text != self.text.is_some() || queries != usize::from(!text) {
            let what = if text { "`text` and no query" } else { "one of `sql` and `promql`" };
            cx.error(dashboard.span, format!("panel `{title}` of dashboard `{shown}` needs {what}"));
        }
        if let Some(at) = &self.at
            && !matches!(at.value[..], [x, _, w, h] if w > 0 && h > 0 && x + w <= 12)
        {
            cx.error(at.span, "`at` is `[x, y, width, height]`, on a grid of 12 columns");
        }
        if let Some(sql) = &self.sql
            && super::sql::columns(&sql.value).is_empty()
        {
            cx.error(sql.span, format!("the columns of panel `{title}` have no names"))
                .help("name them: `SELECT histogram(_timestamp) AS time_bucket, count(*) AS n FROM …`");
        }
    }
}
