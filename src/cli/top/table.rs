//! The table: components in the order of the flow, a line each, and sums at the foot.

use crate::text::escape::line;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the agent said at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Milliseconds of the agent's clock.
    at: u64,
    components: Vec<Value>,
}

impl Snapshot {
    /// Reads an answer of `/api/v1/components`.
    pub(super) fn read(answer: &Value) -> Option<Snapshot> {
        let components = answer["components"].as_array()?.clone();
        Some(Snapshot { at: answer["uptime_ms"].as_u64()?, components })
    }
}

/// One component.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) kind: String,
    type_name: String,
    /// A second, or since the start: events and bytes, in and out.
    flow: [Option<f64>; 4],
    dropped: f64,
    rejected: f64,
    errors: f64,
    /// The share of the buffer that is full, events in it, bytes in it.
    buffer: Option<(f64, u64, u64)>,
    /// Share of one worker.
    busy: Option<f64>,
    lag: Option<u64>,
    oldest: Option<f64>,
    state: String,
    detail: String,
    /// Why: dropped, rejected, errors.
    reasons: Vec<(String, f64)>,
}

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Flow,
    Name,
    In,
    Out,
    Dropped,
    Errors,
    Busy,
    Behind,
}

impl Sort {
    /// The next one.
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Flow => Sort::Name,
            Sort::Name => Sort::In,
            Sort::In => Sort::Out,
            Sort::Out => Sort::Dropped,
            Sort::Dropped => Sort::Errors,
            Sort::Errors => Sort::Busy,
            Sort::Busy => Sort::Behind,
            Sort::Behind => Sort::Flow,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Sort::Flow => "flow",
            Sort::Name => "name",
            Sort::In => "in",
            Sort::Out => "out",
            Sort::Dropped => "dropped",
            Sort::Errors => "errors",
            Sort::Busy => "busy",
            Sort::Behind => "behind",
        }
    }
}

/// The components as they are now; a second where there is something before, or since the start.
pub(super) fn rows(now: &Snapshot, before: Option<&Snapshot>, totals: bool, sort: Sort, filter: &str) -> Vec<Row> {
    let seconds = before.map(|b| now.at.saturating_sub(b.at) as f64 / 1000.0).filter(|s| *s > 0.0);
    let mut rows: Vec<Row> = now
        .components
        .iter()
        .map(|component| {
            let was = before.and_then(|b| b.components.iter().find(|c| c["id"] == component["id"]));
            row(component, was, seconds, totals)
        })
        .filter(|row| filter.is_empty() || row.id.contains(filter) || row.type_name.contains(filter))
        .collect();
    let number = |row: &Row| match sort {
        Sort::Flow | Sort::Name => 0.0,
        Sort::In => row.flow[0].unwrap_or(0.0),
        Sort::Out => row.flow[1].unwrap_or(0.0),
        Sort::Dropped => row.dropped + row.rejected,
        Sort::Errors => row.errors,
        Sort::Busy => row.busy.unwrap_or(0.0),
        Sort::Behind => row.lag.unwrap_or(0) as f64 + row.oldest.unwrap_or(0.0),
    };
    match sort {
        Sort::Flow => {}
        Sort::Name => rows.sort_by(|a, b| a.id.cmp(&b.id)),
        _ => rows.sort_by(|a, b| number(b).total_cmp(&number(a))),
    }
    rows
}

fn row(component: &Value, was: Option<&Value>, seconds: Option<f64>, totals: bool) -> Row {
    let total = |key: &str| component[key].as_f64().unwrap_or(0.0);
    let change = |key: &str| total(key) - was.map_or(0.0, |was| was[key].as_f64().unwrap_or(0.0));
    let rate = |key: &str| match (totals, seconds, was) {
        (true, ..) => Some(total(key)),
        (false, Some(seconds), Some(_)) => Some((change(key) / seconds).max(0.0)),
        _ => None,
    };
    let kind = component["kind"].as_str().unwrap_or_default();
    let bytes = |key: &str| if kind == "transform" { None } else { rate(key) };
    let sum = |key: &str| -> f64 {
        component[key].as_object().map_or(0.0, |all| all.values().filter_map(Value::as_f64).sum())
    };
    let mut reasons = Vec::new();
    for (key, word) in [("dropped", "dropped"), ("rejected", "rejected"), ("errors", "error")] {
        for (reason, n) in component[key].as_object().into_iter().flatten() {
            reasons.push((format!("{word}: {reason}"), n.as_f64().unwrap_or(0.0)));
        }
    }
    let buffer = component["buffer"].as_object().map(|buffer| {
        let of = |key: &str| buffer.get(key).and_then(Value::as_u64).unwrap_or(0);
        (of("bytes") as f64 / of("max_bytes").max(1) as f64, of("events"), of("bytes"))
    });
    let busy = match (kind, seconds, was) {
        ("sink", ..) => None,
        (_, Some(seconds), Some(_)) => Some((change("busy_seconds") / seconds).clamp(0.0, 99.0)),
        _ => None,
    };
    let text = |key: &str| line(component[key].as_str().unwrap_or_default()).into_owned();
    Row {
        id: text("id"),
        kind: kind.to_owned(),
        type_name: text("type"),
        flow: [rate("in"), rate("out"), bytes("bytes_in"), bytes("bytes_out").filter(|_| kind == "sink")],
        dropped: sum("dropped"),
        rejected: sum("rejected"),
        errors: sum("errors"),
        buffer,
        busy,
        lag: component["lag_bytes"].as_u64(),
        oldest: component["oldest_seconds"].as_f64(),
        state: text("state"),
        detail: text("detail"),
        reasons,
    }
}

/// A number in five characters at the most.
pub(super) fn short(n: f64) -> String {
    let n = n.max(0.0);
    for (unit, word) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        // What would be rounded to a thousand of the unit below is one of this.
        if n >= unit * 0.9995 && n >= 10_000.0 || n >= unit && unit > 1e3 {
            let x = n / unit;
            return if x < 99.95 { format!("{x:.1}{word}") } else { format!("{x:.0}{word}") };
        }
    }
    if n > 0.0 && n < 9.95 && n.fract() > 0.0 { format!("{n:.1}") } else { format!("{n:.0}") }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0}ms", s * 1000.0),
        s if s < 100.0 => format!("{s:.0}s"),
        s if s < 6000.0 => format!("{:.0}m", s / 60.0),
        s if s < 360_000.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

fn bar(share: f64, width: usize) -> String {
    let full = ((share.clamp(0.0, 1.0) * width as f64).round() as usize).max(usize::from(share > 0.0));
    "█".repeat(full) + &"░".repeat(width - full)
}

/// How a table is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Columns of the terminal.
    pub(super) width: usize,
    /// With colours.
    pub(super) colored: bool,
    /// Numbers are sums since the start.
    pub(super) totals: bool,
    /// With a line for each reason.
    pub(super) reasons: bool,
}

/// Cut, or filled with blanks.
fn fit(text: &str, width: usize, is_number: bool) -> String {
    let length = text.chars().count();
    if length > width {
        let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
        cut.push('…');
        return cut;
    }
    let blanks = " ".repeat(width - length);
    if is_number { blanks + text } else { text.to_owned() + &blanks }
}

/// Widths: of the name, of the bar, of the type, of the state.
struct Widths {
    name: usize,
    bar: usize,
    type_name: usize,
    state: usize,
}

impl Widths {
    fn new(rows: &[Row], width: usize) -> Widths {
        // Twelve columns at 80: 12 + 6·4 + 5 + 5 + 5 + 4 + 6 + 4 + 4, and blanks between them.
        let mut spare = width.saturating_sub(80);
        let mut take = |wanted: usize| {
            let got = wanted.min(spare);
            spare -= got;
            got
        };
        let longest = rows.iter().map(|row| row.id.chars().count()).max().unwrap_or(0);
        let name = 12 + take(longest.saturating_sub(12));
        let state = 4 + take(4);
        let type_name = match take(15) {
            15 => 14,
            _ => 0,
        };
        let bar = 5 + take(11);
        let state = state + spare;
        Widths { name, bar, type_name, state }
    }
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const REVERSE: &str = "\x1b[7m";
const END: &str = "\x1b[0m";

fn paint(text: &str, color: &str, style: Style) -> String {
    if style.colored && !color.is_empty() { format!("{color}{text}{END}") } else { text.to_owned() }
}

/// The head of the table.
pub(super) fn head(rows: &[Row], style: Style) -> String {
    let w = Widths::new(rows, style.width);
    let (events, bytes) =
        if style.totals { (["IN", "OUT"], ["B IN", "B OUT"]) } else { (["IN/s", "OUT/s"], ["B/s<", "B/s>"]) };
    let buffer = if w.bar < 6 { "BUFF" } else { "BUFFER" };
    let state = if w.state < 5 { "STAT" } else { "STATE" };
    let mut cells = vec![fit("COMPONENT", w.name, false)];
    if w.type_name > 0 {
        cells.push(fit("TYPE", w.type_name, false));
    }
    cells.extend([events[0], events[1], bytes[0], bytes[1]].map(|title| fit(title, 6, true)));
    cells.extend([fit("DROP", 5, true), fit("REJ", 5, true), fit(buffer, w.bar, false)]);
    cells.extend([fit("BUSY", 4, true), fit("BEHIND", 6, true), fit("ERR", 4, true), fit(state, w.state, false)]);
    let text = fit(&cells.join(" "), style.width, false);
    if style.colored { format!("{BOLD}{text}{END}") } else { text }
}

fn cells(row: &Row, w: &Widths) -> Vec<(String, &'static str)> {
    let number = |n: Option<f64>, width: usize| fit(&n.map_or("-".to_owned(), short), width, true);
    let some = |n: f64| if n > 0.0 { short(n) } else { "-".to_owned() };
    let mut cells = vec![(fit(&row.id, w.name, false), "")];
    if w.type_name > 0 {
        cells.push((fit(&row.type_name, w.type_name, false), ""));
    }
    cells.extend(row.flow.iter().map(|n| (number(*n, 6), "")));
    cells.push((fit(&some(row.dropped), 5, true), if row.dropped > 0.0 { YELLOW } else { "" }));
    cells.push((fit(&some(row.rejected), 5, true), if row.rejected > 0.0 { YELLOW } else { "" }));
    let buffer = match row.buffer {
        None => (fit("-", w.bar, false), ""),
        Some((share, ..)) => (bar(share, w.bar), if share > 0.9 { RED } else { "" }),
    };
    cells.push(buffer);
    let busy = row.busy.map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0));
    cells.push((fit(&busy, 4, true), if row.busy.unwrap_or(0.0) > 0.9 { RED } else { "" }));
    let behind = match (row.lag, row.oldest) {
        (Some(lag), _) => format!("{}B", short(lag as f64)),
        (None, Some(age)) => duration(age),
        (None, None) => "-".to_owned(),
    };
    cells.push((fit(&behind, 6, true), ""));
    cells.push((fit(&some(row.errors), 4, true), if row.errors > 0.0 { YELLOW } else { "" }));
    let color = match row.state.as_str() {
        "running" => GREEN,
        "starting" => YELLOW,
        _ => RED,
    };
    let word = match (w.state, row.state.as_str()) {
        (0..=7, "running") => "run",
        (0..=7, "starting") => "strt",
        (0..=7, "failing") => "fail",
        (_, state) => state,
    };
    let words = if row.detail.is_empty() { word.to_owned() } else { format!("{word}: {}", row.detail) };
    let words = if w.state < 8 { word.to_owned() } else { words };
    cells.push((fit(&words, w.state, false), color));
    cells
}

/// The lines of a component.
pub(super) fn lines(row: &Row, rows: &[Row], selected: bool, style: Style) -> Vec<String> {
    let w = Widths::new(rows, style.width);
    let cells = cells(row, &w);
    let text = if selected {
        let plain: Vec<&str> = cells.iter().map(|(text, _)| text.as_str()).collect();
        format!("{REVERSE}{}{END}", fit(&plain.join(" "), style.width, false))
    } else {
        let painted: Vec<String> = cells.iter().map(|(text, color)| paint(text, color, style)).collect();
        painted.join(" ")
    };
    let mut lines = vec![text];
    if style.reasons {
        for (reason, n) in &row.reasons {
            lines.push(fit(&format!("    {:>8}  {reason}", short(*n)), style.width, false));
        }
        if let Some((_, events, bytes)) = row.buffer.filter(|(_, events, _)| *events > 0) {
            let text = format!("    {:>8}  events in the buffer, {}B", short(events as f64), short(bytes as f64));
            lines.push(fit(&text, style.width, false));
        }
    }
    lines
}

/// Sums: what sources take in and sinks put out, and what was lost on the way.
pub(super) fn foot(rows: &[Row], style: Style) -> String {
    let sum = |kind: &str, n: usize| -> Option<f64> {
        let mut of = rows.iter().filter(|row| row.kind == kind).filter_map(|row| row.flow[n]).peekable();
        of.peek().is_some().then(|| of.sum())
    };
    let mut total = Row { id: "all".to_owned(), ..Row::default() };
    total.flow = [sum("source", 0), sum("sink", 1), sum("source", 2), sum("sink", 3)];
    for row in rows {
        total.dropped += row.dropped;
        total.rejected += row.rejected;
        total.errors += row.errors;
        total.lag = match (total.lag, row.lag) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
        total.oldest = total.oldest.into_iter().chain(row.oldest).fold(None, |most, x| Some(most.unwrap_or(x).max(x)));
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *states.entry(row.state.as_str()).or_default() += 1);
    let bad: usize = states.iter().filter(|(state, _)| **state != "running").map(|(_, n)| n).sum();
    total.state = if bad == 0 { "running".to_owned() } else { format!("{bad} bad") };
    let w = Widths::new(rows, style.width);
    let plain: Vec<String> = cells(&total, &w).into_iter().map(|(text, _)| text).collect();
    let text = fit(&plain.join(" "), style.width, false);
    if style.colored { format!("{BOLD}{text}{END}") } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn snapshot(at: u64, times: u64) -> Snapshot {
        let component = |id: &str, kind: &str, n: u64| {
            json!({
                "id": id, "kind": kind, "type": "demo", "in": n * times, "out": n * times, "created": 0, "held": 0,
                "bytes_in": n * times * 100, "bytes_out": if kind == "sink" { n * times * 50 } else { 0 },
                "dropped": {}, "rejected": {}, "errors": {}, "busy_seconds": times as f64 * 0.25, "backpressure_seconds": 0.0,
                "buffer": null, "lag_bytes": null, "oldest_seconds": null, "restarts": 0, "state": "running", "detail": null,
                "inputs": [],
            })
        };
        let mut source = component("app", "source", 1000);
        source["lag_bytes"] = 123_456.into();
        let mut keep = component("keep-what-is-needed", "transform", 1000);
        keep["dropped"] = json!({"filtered": 1234});
        let mut sink = component("out", "sink", 990);
        sink["buffer"] = json!({"events": 12, "bytes": 7_000_000, "max_bytes": 8_000_000});
        sink["oldest_seconds"] = 75.0.into();
        sink["state"] = "failing".into();
        sink["detail"] = "circuit open: \u{1b}[31mHTTP 503".into();
        sink["errors"] = json!({"timeout": 3});
        Snapshot::read(&json!({"uptime_ms": at, "components": [source, keep, sink]})).unwrap()
    }

    fn page(width: usize, totals: bool, reasons: bool) -> String {
        let (before, now) = (snapshot(1000, 1), snapshot(3000, 3));
        let rows = rows(&now, Some(&before), totals, Sort::Flow, "");
        let style = Style { width, colored: false, totals, reasons };
        let mut out = vec![head(&rows, style)];
        out.extend(rows.iter().flat_map(|row| lines(row, &rows, false, style)));
        out.push(foot(&rows, style));
        for line in &out {
            assert!(line.chars().count() <= width, "{line}");
            assert!(!line.contains('\u{1b}'), "{line}");
        }
        out.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn at_eighty_columns_all_of_it_is_there() {
        let expected = "\
COMPONENT      IN/s  OUT/s   B/s<   B/s>  DROP   REJ BUFF BUSY BEHIND  ERR STAT
app            1000   1000   100k      -     -     -    -  25%   123kB    - run
";
        let page = page(80, false, false);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(page.lines().nth(1).unwrap()), words(expected.lines().nth(1).unwrap()), "{page}");
        assert_eq!(
            words(page.lines().nth(2).unwrap()),
            ["keep-what-i…", "1000", "1000", "-", "-", "1234", "-", "-", "25%", "-", "-", "run"],
            "{page}"
        );
        assert_eq!(
            words(page.lines().nth(3).unwrap()),
            ["out", "990", "990", "99.0k", "49.5k", "-", "-", "████░", "-", "75s", "3", "fail"],
            "{page}"
        );
        assert_eq!(
            words(page.lines().nth(4).unwrap()),
            ["all", "1000", "990", "100k", "49.5k", "1234", "-", "-", "-", "123kB", "3", "1", "b…"],
            "{page}"
        );
    }

    #[test]
    fn with_room_names_types_and_reasons_are_whole() {
        let page = page(200, true, true);
        assert!(page.contains("keep-what-is-needed demo"), "{page}");
        assert!(page.contains("1234  dropped: filtered") && page.contains("3  error: timeout"), "{page}");
        assert!(page.contains("failing: circuit open: \\x1b[31mHTTP 503"), "{page}");
        assert!(page.contains("3000   3000   300k"), "sums since the start: {page}");
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.5, "0.5"), (9.0, "9"), (1234.0, "1234"), (9999.0, "9999"), (10_000.0, "10.0k")];
        let more = [(123_456.0, "123k"), (1_500_000.0, "1.5M"), (999_999.0, "1.0M"), (2.5e12, "2.5T")];
        for (n, text) in cases.into_iter().chain(more) {
            assert_eq!(short(n), text);
            assert!(short(n).len() <= 5);
        }
    }

    #[test]
    fn it_is_sorted_and_filtered() {
        let (before, now) = (snapshot(1000, 1), snapshot(3000, 3));
        let ids = |sort, filter: &str| {
            let rows = rows(&now, Some(&before), false, sort, filter);
            rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(Sort::Flow, ""), ["app", "keep-what-is-needed", "out"]);
        assert_eq!(ids(Sort::Dropped, "")[0], "keep-what-is-needed");
        assert_eq!(ids(Sort::Errors, "")[0], "out");
        assert_eq!(ids(Sort::Flow, "ou"), ["out"]);
    }
}
