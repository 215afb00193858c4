//! `tidegate tap`: events of the agent that runs, as they pass.
//!
//! Goes on where the agent reloads, and where it is gone for a while: it is asked again until it is there.

use super::agent::AgentError;
use super::errors::failed;
use super::{ConfigArgs, Exit, agent, print, say_line};
use crate::pipeline::{Globals, load};
use crate::settings::{ProcessEnvironment, parse_duration};
use crate::text::escape::{Color, Page};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Arguments of `tap`.
#[derive(Args, Debug)]
pub(super) struct TapArgs {
    /// What is looked at, globs too: `ID` (what a component puts out), `ID.rejected` and other outputs, `ID:in` (what it takes),
    /// `ID:request` (what a sink sends). Else what every sink takes.
    #[arg(value_name = "POINT")]
    points: Vec<String>,
    /// Only events for which this condition holds, as they are shown.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Events a second at the most: a fair sample of those that pass.
    #[arg(long, value_name = "N", default_value_t = crate::view::DEFAULT_LIMIT)]
    limit: u64,
    /// End after this time, such as 10s.
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Events before and after transforms.
    #[arg(long)]
    pair: bool,
    /// How events are shown.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// Address of the agent's API; else that of the agent that runs on the `data_dir` of the configuration.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// Lines of JSON, with the counts of each second.
    Json,
    /// What transforms change, field by field.
    Diff,
}

/// How often it is looked whether the time is over.
const LOOK: Duration = Duration::from_millis(100);
/// How long an agent that has gone is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked.
const AGAIN: Duration = Duration::from_millis(200);

/// Shows events until the time is over, or enough were shown: 0. 1: the agent cannot be asked, or does not come back.
pub(super) fn run(args: &TapArgs) -> Exit {
    let until = match args.duration.as_deref().map(|text| (text, parse_duration(text))) {
        None => None,
        Some((_, Some(duration))) => Some(Instant::now() + duration),
        Some((text, None)) => {
            say_line!("error: `--for {text}` is no duration such as 10s");
            return Exit::Usage;
        }
    };
    if args.count == Some(0) {
        return Exit::Done;
    }
    // Mistakes are the agent's to tell: here it only tells where that is.
    let loaded = load(&args.config.config, &ProcessEnvironment, crate::registry::built_in());
    let globals = loaded.globals.as_ref();
    let mut shower = Shower {
        format: args.format,
        colored: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        left: args.count,
        sums: BTreeMap::new(),
    };
    let mut stream = match open(args, globals, until) {
        Ok(stream) => stream,
        Err(error) => return failed(&error),
    };
    let mut begun = Vec::new();
    let exit = loop {
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        match stream.next(LOOK) {
            Ok(Some(piece)) => {
                begun.extend_from_slice(&piece);
                let whole = memchr::memrchr(b'\n', &begun).map_or(0, |n| n + 1);
                let lines: Vec<u8> = begun.drain(..whole).collect();
                match shower.show(&lines) {
                    Ok(true) => {}
                    Ok(false) => break Exit::Done,
                    // Whoever read it has enough.
                    Err(_) => return Exit::Done,
                }
            }
            Err(agent::Piece::Late) => {
                // The agent ends it, with what it had taken.
                if until.is_some_and(|until| Instant::now() >= until + Duration::from_secs(2)) {
                    break Exit::Done;
                }
            }
            Ok(None) | Err(agent::Piece::Lost) if is_over() => break Exit::Done,
            Ok(None) | Err(agent::Piece::Lost) => {
                begun.clear();
                match again(args, globals, until) {
                    Some(Ok(next)) => stream = next,
                    Some(Err(error)) => break failed(&error),
                    None => break Exit::Done,
                }
            }
        }
    };
    shower.finish();
    exit
}

fn open(args: &TapArgs, globals: Option<&Globals>, until: Option<Instant>) -> Result<agent::Stream, AgentError> {
    let base = agent::base(args.url.as_deref(), globals)?;
    let left = until.map(|until| format!("{}ms", until.saturating_duration_since(Instant::now()).as_millis().max(1)));
    let question = json!({
        "points": args.points, "where": args.condition, "limit": args.limit, "duration": left,
        "pair": args.pair || args.format == Format::Diff,
    });
    agent::stream(&base, "/api/v1/tap", question.to_string().into_bytes(), globals)
}

/// Asks again until the agent is there; none where the time is over.
fn again(
    args: &TapArgs,
    globals: Option<&Globals>,
    until: Option<Instant>,
) -> Option<Result<agent::Stream, AgentError>> {
    say_line!("the agent has ended the tap; it is asked again");
    let give_up = Instant::now() + PATIENCE;
    loop {
        if until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        match open(args, globals, until) {
            Ok(stream) => return Some(Ok(stream)),
            Err(error) if Instant::now() >= give_up => return Some(Err(error)),
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

struct Shower {
    format: Format,
    colored: bool,
    /// Events that are still to be shown.
    left: Option<u64>,
    /// By point: seen, shown, missed.
    sums: BTreeMap<String, (u64, u64, u64)>,
}

impl Shower {
    /// Shows whole lines; whether more are wanted.
    ///
    /// Errors: nobody reads.
    fn show(&mut self, lines: &[u8]) -> std::io::Result<bool> {
        let mut page = Page::new();
        let mut wants_more = true;
        for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let Ok(value) = serde_json::from_slice::<Value>(line) else { continue };
            let is_event = value.get("event").is_some() || value.get("before").is_some();
            if self.format == Format::Json {
                page.json(&format!("{}\n", String::from_utf8_lossy(line)));
            } else if is_event {
                self.event(&value, &mut page);
            }
            if !is_event {
                self.counts(&value);
                continue;
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    wants_more = false;
                    break;
                }
            }
        }
        print(&page)?;
        Ok(wants_more)
    }

    fn counts(&mut self, counts: &Value) {
        let of = |key: &str| counts[key].as_u64().unwrap_or(0);
        let point = counts["point"].as_str().unwrap_or_default();
        let sums = self.sums.entry(point.to_owned()).or_default();
        *sums = (sums.0 + of("seen"), sums.1 + of("shown"), sums.2 + of("missed"));
        if of("missed") > 0 && self.format != Format::Json {
            say_line!("{} events at {point} were missed", of("missed"));
        }
    }

    fn finish(&self) {
        if self.format != Format::Json {
            for (point, (seen, shown, missed)) in &self.sums {
                say_line!("{point}: {seen} passed, {shown} shown, {missed} missed");
            }
        }
    }

    fn line(&self, color: Color, text: &str, page: &mut Page) {
        page.colored_line(self.colored.then_some(color), text);
    }

    fn event(&self, line: &Value, page: &mut Page) {
        let at = line["at"].as_str().unwrap_or_default();
        // The day is today's, mostly.
        let time = at.get(11..23).unwrap_or(at);
        let point = line["point"].as_str().unwrap_or_default();
        if let Some(event) = line.get("event") {
            writeln!(page, "{time}  {point}  {event}");
            return;
        }
        let (before, after) = (&line["before"], &line["after"]);
        let fate = match (after.is_null(), line["dropped"].as_str(), line["output"].as_str()) {
            (true, Some(reasons), _) => format!("dropped: {reasons}"),
            (true, None, _) => "kept for later, or dropped".to_owned(),
            (false, _, Some(output)) => format!("leaves by {output}"),
            (false, ..) if before == after => "unchanged".to_owned(),
            (false, ..) => "changed".to_owned(),
        };
        self.line(Color::Bold, &format!("{time}  {point}  {fate}"), page);
        match self.format {
            Format::Diff => {
                let mut changes = Vec::new();
                if !after.is_null() {
                    differences("", Some(before), Some(after), &mut changes);
                }
                for (path, was, is) in changes {
                    if let Some(was) = was {
                        self.line(Color::Red, &format!("  - {path}: {was}"), page);
                    }
                    if let Some(is) = is {
                        self.line(Color::Green, &format!("  + {path}: {is}"), page);
                    }
                }
            }
            Format::Pretty | Format::Json => {
                writeln!(page, "  before {before}");
                if before != after {
                    writeln!(page, "  after  {after}");
                }
            }
        }
    }
}

/// A path, what stood there, and what does.
type Difference<'v> = (String, Option<&'v Value>, Option<&'v Value>);

fn differences<'v>(path: &str, was: Option<&'v Value>, is: Option<&'v Value>, found: &mut Vec<Difference<'v>>) {
    if was == is {
        return;
    }
    let (Some(Value::Object(a)), Some(Value::Object(b))) = (was, is) else {
        return found.push((if path.is_empty() { ".".to_owned() } else { path.to_owned() }, was, is));
    };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in a {
        differences(&below(key), Some(value), b.get(key), found);
    }
    for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
        differences(&below(key), None, Some(value), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shower(format: Format) -> Shower {
        Shower { format, colored: false, left: None, sums: BTreeMap::new() }
    }

    #[test]
    fn a_diff_tells_each_field() {
        let line = json!({
            "point": "shape", "at": "2026-06-15T10:00:01.123Z", "by": "shape",
            "before": {"a": 1, "b": {"c": "x", "d": 2}}, "after": {"b": {"c": "y", "d": 2}, "e": "\u{1b}[31m"},
        });
        let mut page = Page::new();
        shower(Format::Diff).event(&line, &mut page);
        let expected =
            "10:00:01.123  shape  changed\n  - a: 1\n  - b.c: \"x\"\n  + b.c: \"y\"\n  + e: \"\\u001b[31m\"\n";
        assert_eq!(page.as_str(), expected);
    }

    #[test]
    fn what_did_not_leave_tells_why() {
        let mut line = json!({"point": "keep", "at": "2026-06-15T10:00:01.123Z", "before": {"a": 1}, "after": null});
        let mut page = Page::new();
        line["dropped"] = "filtered".into();
        shower(Format::Pretty).event(&line, &mut page);
        assert_eq!(page.as_str(), "10:00:01.123  keep  dropped: filtered\n  before {\"a\":1}\n  after  null\n");
    }
}
