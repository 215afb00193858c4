//! `tidegate openobserve query` and `dashboards`.

use super::cache::Cache;
use super::{Failed, Ready, only, out};
use crate::cli::{Exit, say_line};
use crate::openobserve::dashboard::queries;
use crate::openobserve::{
    Client, Kind, PAGE, Question, Range, body, hits, observe, parse_time, promql, rows, search, sql, text,
};
use crate::settings::{duration_text, parse_duration};
use crate::text::escape::Page;
use crate::time::clock;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{IsTerminal, Write as _};

/// Arguments of `query`.
#[derive(Args, Debug)]
pub(super) struct QueryArgs {
    /// The query; `$name` stands for a value of --var. Left out: all of --stream.
    sql: Option<String>,
    /// All rows of this stream, where no query is given.
    #[arg(long, value_name = "NAME", required_unless_present = "sql", conflicts_with = "sql")]
    stream: Option<String>,
    /// What the stream holds: logs, metrics or traces.
    #[arg(long = "type", value_name = "TYPE", default_value = "logs")]
    stream_type: String,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    values: Values,
    /// Form of the rows.
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    format: RowFormat,
    /// Rows that are asked for at a time.
    #[arg(long, value_name = "ROWS", default_value_t = PAGE)]
    page: usize,
    /// Take the rows of the same question where it was asked within this time, and keep them for the next one.
    #[arg(long, value_name = "TIME")]
    cache: Option<String>,
}

#[derive(Args, Debug)]
struct When {
    /// Where the time range begins: `-1h`, `now`, or as RFC 3339.
    #[arg(long, value_name = "TIME", default_value = "-1h", allow_hyphen_values = true)]
    from: String,
    /// Where it ends; this time does not belong to it.
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
}

#[derive(Args, Debug)]
struct Values {
    /// A value that `$name` stands for: put as a text, whatever it holds; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
}

/// Forms of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RowFormat {
    /// Columns for people.
    Table,
    /// One list.
    Json,
    /// One object a line.
    Ndjson,
    /// Values in commas, with a header; those with commas, quotes or line ends in quotes.
    Csv,
}

/// Arguments of `dashboards`.
#[derive(Args, Debug)]
pub(super) struct DashboardArgs {
    #[command(subcommand)]
    command: DashboardCommand,
}

#[derive(Subcommand, Debug)]
enum DashboardCommand {
    /// List id, folder and title of each.
    List,
    /// Print one as the server's JSON.
    Get {
        /// Its id.
        id: String,
    },
    /// Ask every panel of one: its rows, or why there are none; 1 where one fails.
    Data {
        /// Its id.
        id: String,
        #[command(flatten)]
        when: When,
        #[command(flatten)]
        values: Values,
    },
}

impl When {
    fn range(&self) -> Result<Range, Failed> {
        let now = clock::now_ns() / 1000;
        let range = Range { from: parse_time(&self.from, now)?, to: parse_time(&self.to, now)? };
        if range.from >= range.to {
            return Err(format!("the time range ends (`{}`) before it begins (`{}`)", self.to, self.from));
        }
        Ok(range)
    }
}

impl Values {
    fn pairs(&self) -> Result<Vec<(String, String)>, Failed> {
        let read = |text: &String| {
            let pair =
                text.split_once('=').map(|(name, value)| (name.trim_start_matches('$').to_owned(), value.to_owned()));
            pair.ok_or_else(|| format!("`{text}` is not NAME=VALUE"))
        };
        self.var.iter().map(read).collect()
    }
}

/// Asks, and prints the rows.
pub(super) async fn run(ready: &[Ready], args: &QueryArgs) -> Result<Exit, Failed> {
    let one = only(ready)?;
    let text = match (&args.sql, &args.stream) {
        (Some(sql), _) => sql::with_quoted_streams(sql),
        (None, Some(stream)) => format!("SELECT * FROM {}", sql::identifier(stream)),
        (None, None) => return Err("name a query or a --stream".into()),
    };
    let missing = |name: String| format!("`${name}` has no value: give it with --var {name}=…");
    let sql = sql::with_values(&text, &args.values.pairs()?).map_err(missing)?;
    let page = args.page.clamp(1, 1_000_000);
    let question = Question { sql, stream_type: args.stream_type.clone(), range: args.when.range()?, page };
    let age = args
        .cache
        .as_deref()
        .map(|text| parse_duration(text).ok_or_else(|| format!("`{text}` is not a time such as `5m`")));
    let when = [args.when.from.as_str(), args.when.to.as_str()];
    let mut cache = age.transpose()?.map(|age| Cache::new(one, &question, when, age));
    let mut printer = Printer::new(args.format);
    if let Some((asked, kept)) = cache.as_ref().and_then(Cache::rows) {
        printer.rows(kept)?;
        printer.end()?;
        say_line!("asked {} ago", duration_text(asked));
        return Ok(Exit::Done);
    }
    let client = one.connect().await?;
    let shows = std::io::stderr().is_terminal();
    let mut each = |rows: Vec<Value>, done: f64| {
        if let Some(cache) = &mut cache {
            cache.take(&rows);
        }
        printer.rows(rows)?;
        if shows {
            let line = format!("\r{} rows, {:.0} %", printer.count, done * 100.0);
            drop(std::io::stderr().write_all(line.as_bytes()));
        }
        Ok(())
    };
    let result = rows(&client, &question, &mut each).await;
    if shows {
        drop(std::io::stderr().write_all(b"\r                              \r"));
    }
    result.map_err(|e| e.to_string())?;
    printer.end()?;
    cache.map_or(Ok(()), Cache::keep)?;
    Ok(Exit::Done)
}

/// Writes rows as they come, where their form lets it.
struct Printer {
    format: RowFormat,
    count: usize,
    /// Those that need to know all columns.
    kept: Vec<Value>,
}

impl Printer {
    fn new(format: RowFormat) -> Self {
        Printer { format, count: 0, kept: Vec::new() }
    }

    fn rows(&mut self, rows: Vec<Value>) -> Result<(), Failed> {
        let mut page = Page::new();
        for row in &rows {
            match self.format {
                RowFormat::Ndjson => page.json(&format!("{row}\n")),
                RowFormat::Json => {
                    page.json(if self.count == 0 { "[" } else { ",\n" });
                    page.json(&row.to_string());
                }
                RowFormat::Table | RowFormat::Csv => {}
            }
            self.count += 1;
        }
        if matches!(self.format, RowFormat::Table | RowFormat::Csv) {
            self.kept.extend(rows);
        }
        out(&page)
    }

    fn end(&mut self) -> Result<(), Failed> {
        let mut page = Page::new();
        match self.format {
            RowFormat::Ndjson => {}
            RowFormat::Json => page.json(if self.count == 0 { "[]\n" } else { "]\n" }),
            RowFormat::Csv => {
                let columns = columns(&self.kept);
                page.text(&csv(&columns.iter().map(|c| json!(c)).collect::<Vec<_>>()));
                for row in &self.kept {
                    let cells: Vec<Value> = columns.iter().map(|c| row.get(c).cloned().unwrap_or_default()).collect();
                    page.text(&csv(&cells));
                }
            }
            RowFormat::Table => table(&self.kept, &mut page),
        }
        out(&page)
    }
}

/// The columns of all rows, in the order in which they appear.
fn columns(rows: &[Value]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut out = Vec::new();
    for key in rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if seen.insert(key.as_str()) {
            out.push(key.clone());
        }
    }
    out
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn csv(cells: &[Value]) -> String {
    let one = |value: &Value| {
        let text = cell(value);
        if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    format!("{}\n", cells.iter().map(one).collect::<Vec<_>>().join(","))
}

/// Longest cell of a table.
const MAX_CELL: usize = 60;

fn table(rows: &[Value], page: &mut Page) {
    let columns = columns(rows);
    let short = |value: &Value| {
        let text = cell(value);
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CELL).collect();
        if text.chars().count() > MAX_CELL { format!("{line}…") } else { line }
    };
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|c| row.get(c).map(short).unwrap_or_default()).collect()).collect();
    let width = |n: usize| {
        let of_cells = cells.iter().filter_map(|row| row.get(n)).map(|text| text.chars().count());
        of_cells.chain([columns.get(n).map_or(0, |c| c.chars().count())]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut line = |row: &[String]| {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        writeln!(page, "{}", padded.join("  ").trim_end());
    };
    line(&columns);
    cells.iter().for_each(|row| line(row));
    writeln!(page, "{} row{}", rows.len(), if rows.len() == 1 { "" } else { "s" });
}

/// Arguments of `tail`.
#[derive(Args, Debug)]
pub(super) struct TailArgs {
    /// The stream.
    stream: String,
    /// A condition in SQL; `$name` stands for a value of --var.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// What the stream holds: logs, metrics or traces.
    #[arg(long = "type", value_name = "TYPE", default_value = "logs")]
    stream_type: String,
    #[command(flatten)]
    values: Values,
    /// How often it is asked.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    every: String,
    /// End after this time; left out: with the program.
    #[arg(long, value_name = "TIME")]
    r#for: Option<String>,
}

/// Rows that come so late are seen still.
const OVERLAP: i64 = 60_000_000;

/// Prints new rows as they come, one object a line. The last minute is asked again each time, and a row that was printed is not
/// printed twice: of equal ones as many as there are.
pub(super) async fn tail(ready: &[Ready], args: &TailArgs) -> Result<Exit, Failed> {
    let client = only(ready)?.connect().await?;
    let time = |text: &str| parse_duration(text).ok_or_else(|| format!("`{text}` is not a time such as `2s`"));
    let every = time(&args.every)?;
    let deadline = args.r#for.as_deref().map(time).transpose()?.map(|time| clock::monotonic() + time);
    let stream = sql::identifier(&args.stream);
    let text = match &args.condition {
        Some(condition) => format!("SELECT * FROM {stream} WHERE {condition}"),
        None => format!("SELECT * FROM {stream}"),
    };
    let missing = |name: String| format!("`${name}` has no value: give it with --var {name}=…");
    let sql = sql::with_values(&text, &args.values.pairs()?).map_err(missing)?;
    let mut from = clock::now_ns() / 1000;
    let mut printed: HashMap<String, (i64, usize)> = HashMap::new();
    loop {
        let now = clock::now_ns() / 1000;
        // Rows may be ahead of this clock by a little.
        let range = Range { from, to: now + OVERLAP };
        let question = Question { sql: sql.clone(), stream_type: args.stream_type.clone(), range, page: PAGE };
        let mut seen: HashMap<String, (i64, usize)> = HashMap::new();
        let mut each = |rows: Vec<Value>, _: f64| {
            let mut page = Page::new();
            for row in rows {
                let text = row.to_string();
                let at = row["_timestamp"].as_i64().unwrap_or(now);
                let count = &mut seen.entry(text.clone()).or_insert((at, 0)).1;
                *count += 1;
                if *count > printed.get(&text).map_or(0, |(_, count)| *count) {
                    page.json(&format!("{text}\n"));
                }
            }
            out(&page)
        };
        match rows(&client, &question, &mut each).await {
            Ok(()) => {}
            // A stream that no event has made yet is asked again.
            Err(error) if error.to_string().contains("stream not found") => {}
            Err(error) => return Err(error.to_string()),
        }
        printed = seen;
        from = from.max(now - OVERLAP);
        printed.retain(|_, (at, _)| *at >= from);
        if deadline.is_some_and(|deadline| clock::monotonic() + every >= deadline) {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(every).await;
    }
}

/// `dashboards list | get | data`.
pub(super) async fn dashboards(ready: &[Ready], args: &DashboardArgs) -> Result<Exit, Failed> {
    let client = only(ready)?.connect().await?;
    let get = async |id: &str| -> Result<Value, Failed> {
        let answer = client.get(&["dashboards", id], &[]).await.map_err(|e| e.to_string())?;
        body(&answer).cloned().ok_or_else(|| format!("`{id}` is not a dashboard"))
    };
    let mut page = Page::new();
    match &args.command {
        DashboardCommand::List => {
            let world = observe(&client, &[Kind::Dashboard]).await.map_err(|e| e.to_string())?;
            for one in world.of(Kind::Dashboard) {
                writeln!(page, "{:<24} {:<16} {}", one.id, text(&one.fields, "folder"), one.name);
            }
            out(&page).map(|()| Exit::Done)
        }
        DashboardCommand::Get { id } => {
            page.json(&format!("{:#}\n", get(id).await?));
            out(&page).map(|()| Exit::Done)
        }
        DashboardCommand::Data { id, when, values } => {
            let dashboard = get(id).await?;
            data(&client, &dashboard, when.range()?, &values.pairs()?).await
        }
    }
}

async fn data(client: &Client, dashboard: &Value, range: Range, values: &[(String, String)]) -> Result<Exit, Failed> {
    let mut panels = Vec::new();
    let mut exit = Exit::Done;
    for panel in queries(dashboard) {
        let mut one = json!({"title": panel.title, "query": panel.query});
        let result = match sql::with_values(&panel.query, values) {
            Err(name) => Err(format!("`${name}` has no value: give it with --var {name}=…")),
            Ok(query) if panel.promql => {
                let step = (range.to - range.from) / 1_000_000 / 120;
                promql(client, &query, range, step.max(1)).await.map(|a| a["data"].clone()).map_err(|e| e.to_string())
            }
            Ok(query) => {
                let answer = search(client, &query, &panel.stream_type, range, PAGE).await;
                answer.map(|answer| Value::Array(hits(answer))).map_err(|e| e.to_string())
            }
        };
        match result {
            Ok(rows) => one["rows"] = rows,
            Err(why) => {
                exit = Exit::Failed;
                one["error"] = json!(why);
            }
        }
        panels.push(one);
    }
    if panels.is_empty() {
        say_line!("the dashboard has no panel with a query");
    }
    let mut page = Page::new();
    page.json(&format!("{:#}\n", json!({"title": dashboard["title"], "panels": panels})));
    out(&page).map(|()| exit)
}
