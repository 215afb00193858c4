//! `tidegate try`: pipes sample lines through the pipeline and shows what each stage made of them. Delivers nothing.

use super::{ConfigArgs, Exit, print, say_line};
use crate::component::Chance;
use crate::event::{Batch, Origin};
use crate::telemetry::ComponentKind;
use crate::text::escape::{Color, Form, Page, escaped};
use crate::time::clock;
use crate::topology::{Inline, Stage};
use clap::Args;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `try`.
#[derive(Args, Debug)]
pub(super) struct TryArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source that the lines come from; needed where there are several.
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// Files of sample lines; standard input without any.
    files: Vec<PathBuf>,
}

/// Shows every line's way.
pub(super) fn run(args: &TryArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    crate::condition::absent::ask();
    let mut inline = match Inline::new(config, Chance::Random) {
        Ok(inline) => inline,
        Err(errors) => {
            errors.iter().for_each(|e| say_line!("error: {e}"));
            return Exit::Failed;
        }
    };
    let source = match pick_source(&inline, args.source.as_deref()) {
        Ok(source) => source,
        Err(message) => {
            say_line!("error: {message}");
            return Exit::Usage;
        }
    };
    let mut inputs: Vec<(String, Box<dyn BufRead>)> = Vec::new();
    for path in &args.files {
        match std::fs::File::open(path) {
            Ok(file) => inputs.push((path.display().to_string(), Box::new(std::io::BufReader::new(file)))),
            Err(error) => {
                say_line!("error: {}: {error}", path.display());
                return Exit::Failed;
            }
        }
    }
    if inputs.is_empty() {
        inputs.push(("-".into(), Box::new(std::io::stdin().lock())));
    }
    for (name, input) in inputs {
        let origin = Arc::new(Origin { source: (*source).into(), file: Some((*name).into()), ..Origin::default() });
        if inline.joins_lines(&source) {
            if !whole(&mut inline, &source, &name, input, &origin) {
                return Exit::Failed;
            }
            continue;
        }
        for (n, line) in input.split(b'\n').enumerate() {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    say_line!("error: {name}: {error}");
                    return Exit::Failed;
                }
            };
            let line = String::from_utf8_lossy(&line);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            let shown = one_line(&mut inline, &source, line, origin.clone());
            if print(&headed(&name, n as u64 + 1, line, &shown)).is_err() {
                return Exit::Done;
            }
        }
    }
    Exit::Done
}

fn pick_source(inline: &Inline, wanted: Option<&str>) -> Result<String, String> {
    let sources: Vec<&str> = inline.sources().collect();
    match (wanted, &sources[..]) {
        (Some(id), _) if sources.contains(&id) => Ok(id.to_owned()),
        (Some(id), _) => Err(format!("there is no source `{id}`; there are: {}", sources.join(", "))),
        (None, [one]) => Ok((*one).to_owned()),
        (None, []) => Err("the pipeline has no source".into()),
        (None, _) => Err(format!("say which source the lines come from: --source {}", sources.join("|"))),
    }
}

/// Shows the events of an input whose lines are joined, each by the number of its first line; `false` where it cannot be
/// read.
fn whole(inline: &mut Inline, source: &str, name: &str, mut input: Box<dyn BufRead>, origin: &Arc<Origin>) -> bool {
    let mut text = Vec::new();
    if let Err(error) = input.read_to_end(&mut text) {
        say_line!("error: {name}: {error}");
        return false;
    }
    for (number, frame) in inline.frames(source, &text) {
        let event = &*String::from_utf8_lossy(&frame);
        let shown = one_line(inline, source, event, origin.clone());
        if print(&headed(name, number, event, &shown)).is_err() {
            return true;
        }
    }
    true
}

fn one_line(inline: &mut Inline, source: &str, line: &str, origin: Arc<Origin>) -> Page {
    let now = clock::now_ns();
    let mut out = Page::new();
    let Some((batch, rejected)) = inline.decode(source, line, origin, now) else {
        return out;
    };
    let mut enter = vec![(source.to_owned(), batch)];
    enter.extend(rejected.map(|r| (format!("{source}.rejected"), r)));
    let stages = inline.run(enter, now, false);
    let width = stages.iter().map(|s| s.id.len() + s.type_name.len() + 3).max().unwrap_or(0);
    for stage in &stages {
        show(stage, width, &mut out);
    }
    out
}

fn show(stage: &Stage, width: usize, out: &mut Page) {
    let name = format!("{} ({})", stage.id, stage.type_name);
    let came: Vec<String> = stage.came.iter().flat_map(lines_of).collect();
    let mut line_in = |color: Color, label: &str, text: &str| {
        let color = super::terminal::colors_stdout().then_some(color);
        out.colored_line(color, &format!("  {label:width$}  {text}"));
    };
    if stage.kind == ComponentKind::Sink {
        for field in &stage.absent {
            line_in(Color::Yellow, &name, &format!("no field {field}"));
        }
        line_in(Color::Green, &name, if came.len() == 1 { "reached" } else { "reached by several" });
        return;
    }
    let mut line = |label: &str, text: &str| line_in(Color::Plain, label, text);
    let mut first = true;
    for output in &stage.out {
        for event in output.batches.iter().flat_map(lines_of) {
            let label = match (output.name.is_empty(), first) {
                (true, true) => name.clone(),
                (true, false) => String::new(),
                (false, _) => format!("{}.{}", stage.id, output.name),
            };
            first = false;
            let same = stage.kind == ComponentKind::Transform && output.name.is_empty() && came.contains(&event);
            line(&label, if same { "unchanged" } else { &event });
        }
    }
    for (reason, n) in &stage.dropped {
        line_in(Color::Yellow, &name, &format!("dropped {n}: {reason}"));
    }
    for field in &stage.absent {
        line_in(Color::Yellow, &name, &format!("no field {field}"));
    }
    if first && stage.dropped.is_empty() {
        line_in(Color::Plain, &name, "nothing (held, or counted as unread)");
    }
}

fn lines_of(batch: &Batch) -> Vec<String> {
    let json = |event: crate::event::EventRef<'_>| {
        let mut out = Vec::new();
        event.write_json(&mut out);
        escaped(&String::from_utf8_lossy(&out), Form::Json).into_owned()
    };
    batch.iter().map(json).collect()
}

/// What each stage made of a line, below the line.
fn headed(name: &str, number: u64, line: &str, shown: &Page) -> Page {
    let mut page = Page::new();
    let color = super::terminal::colors_stdout().then_some(Color::Bold);
    page.colored_line(color, &format!("{name}:{number} {line}"));
    page.append(shown);
    page
}
