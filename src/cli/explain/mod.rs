//! `tidegate explain` and `tidegate try`: pipes sample lines through the pipeline and shows what each stage made of them; `explain`
//! also why, and what each sink would send where. Delivers nothing.
//!
//! A file is read as the source that would tail it does: decompressed, in its charset, its lines joined. What comes from standard
//! input is lines in UTF-8, each shown as soon as it is there unless the source joins lines.

mod input;
mod page;
mod record;

use super::{ConfigArgs, Exit, print, say_line};
use crate::component::Chance;
use crate::component::plan::Preview;
use crate::event::{Batch, Origin};
use crate::text::escape::{Color, Page};
use crate::time::clock;
use crate::topology::recent::Frame;
use crate::topology::{Inline, Stage, Tells};
use clap::Args;
use input::{Input, Target};
use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    what: What,
}

/// Arguments of `try`.
#[derive(Args, Debug)]
pub(super) struct TryArgs {
    #[command(flatten)]
    what: What,
}

#[derive(Args, Debug)]
struct What {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source that the lines come from; needed where it is not clear which reads them.
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// `json`: an object for each event of the source, one a line.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// FILE, FILE:LINE or FILE:LINE-LINE; `-`, or none at all, is standard input.
    #[arg(value_name = "FILE[:LINE[-LINE]]")]
    files: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// For programs.
    Json,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Few,
    All,
}

/// Shows every event's way, and why it went it.
pub(super) fn run(args: &ExplainArgs) -> Exit {
    show(&args.what, Words::All).unwrap_or_else(|exit| exit)
}

/// Shows every event's way.
pub(super) fn run_try(args: &TryArgs) -> Exit {
    show(&args.what, Words::Few).unwrap_or_else(|exit| exit)
}

fn show(args: &What, words: Words) -> Result<Exit, Exit> {
    let (config, places) = args.config.load_with_places()?;
    if words == Words::Few {
        crate::condition::absent::ask();
    }
    let inline = Inline::new(config, Chance::Random).map_err(|errors| {
        errors.iter().for_each(|e| say_line!("error: {e}"));
        Exit::Failed
    })?;
    let tells = if words == Words::All { Tells::Reasons } else { Tells::Drops };
    let mut shower =
        Shower { inline: inline.telling(tells), places, words, format: args.format, previews: HashMap::new() };
    let usage = |message: String| {
        say_line!("error: {message}");
        Exit::Usage
    };
    let targets: Vec<Target> = match args.files.is_empty() {
        true => vec![Target::Stdin],
        false => args.files.iter().map(|text| Target::parse(text)).collect::<Result<_, _>>().map_err(usage)?,
    };
    // All that is wrong with the command line is said before anything is shown.
    let sources: Vec<String> = targets
        .iter()
        .map(|target| target.source(&shower.inline, args.source.as_deref()))
        .collect::<Result<_, _>>()
        .map_err(usage)?;
    for (target, source) in targets.iter().zip(&sources) {
        if *target == Target::Stdin && !shower.inline.joins_lines(source) {
            match shower.lines_as_they_come(source)? {
                true => continue,
                false => return Ok(Exit::Done),
            }
        }
        let input = target.read(&shower.inline, source).map_err(|message| {
            say_line!("error: {message}");
            Exit::Failed
        })?;
        if !shower.input(source, &input) {
            return Ok(Exit::Done);
        }
    }
    shower.end();
    Ok(Exit::Done)
}

/// Shows events one after the other.
struct Shower {
    inline: Inline,
    places: super::places::Places,
    words: Words,
    format: Format,
    previews: HashMap<String, Option<Box<dyn Preview>>>,
}

/// What went in.
struct Entered<'a> {
    name: &'a str,
    number: u64,
    source: &'a str,
    text: &'a [u8],
}

impl Shower {
    /// Shows lines of standard input; `false` where nobody looks any more.
    fn lines_as_they_come(&mut self, source: &str) -> Result<bool, Exit> {
        let origin = Arc::new(Origin {
            source: source.into(),
            file: Some("-".into()),
            host: Some(self.inline.host()),
            ..Origin::default()
        });
        for (n, line) in std::io::stdin().lock().split(b'\n').enumerate() {
            let line = line.map_err(|error| {
                say_line!("error: -: {error}");
                Exit::Failed
            })?;
            let text = line.strip_suffix(b"\r").unwrap_or(&line);
            let frame = Frame::Text(text.to_vec(), 0, true);
            if !self.frame(&Entered { name: "-", number: n as u64 + 1, source, text }, frame, &origin) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Shows the events of an input; `false` where nobody looks any more.
    fn input(&mut self, source: &str, input: &Input) -> bool {
        for (number, offset, text) in &input.frames {
            let frame = Frame::Text(text.clone(), *offset, input.is_utf8);
            let entered = Entered { name: &input.name, number: *number, source, text };
            if !self.frame(&entered, frame, &input.origin) {
                return false;
            }
        }
        true
    }

    fn frame(&mut self, entered: &Entered<'_>, frame: Frame, origin: &Arc<Origin>) -> bool {
        let now = clock::now_ns();
        let mut enter: Vec<(String, Batch)> = Vec::new();
        if let Some(made) = self.inline.take(entered.source, frame, origin.clone(), now) {
            enter.extend(made.rejected.map(|batch| (format!("{}.rejected", entered.source), batch)));
            enter.push((entered.source.to_owned(), made.events));
        }
        let stages = self.inline.run(enter, now, false);
        let text = String::from_utf8_lossy(entered.text);
        let page = match self.format {
            Format::Pretty => {
                let mut page = Page::new();
                let bold = super::terminal::colors_stdout().then_some(Color::Bold);
                page.colored_line(bold, &format!("{}:{} {text}", entered.name, entered.number));
                page.append(&self.stages(&stages));
                page
            }
            Format::Json => self.record(Some(entered), &stages),
        };
        print(&page).is_ok()
    }

    /// Shows what comes of what transforms have kept.
    fn end(&mut self) {
        let stages = self.inline.run(Vec::new(), clock::now_ns(), true);
        if stages.is_empty() {
            return;
        }
        let page = match self.format {
            Format::Pretty => {
                let mut page = Page::of_line(format_args!("(what was kept for later)"));
                page.append(&self.stages(&stages));
                page
            }
            Format::Json => self.record(None, &stages),
        };
        drop(print(&page));
    }

    fn preview(&mut self, sink: &str) -> Option<&mut Box<dyn Preview>> {
        let Shower { previews, inline, .. } = self;
        previews.entry(sink.to_owned()).or_insert_with(|| inline.preview(sink)).as_mut()
    }

    fn stages(&mut self, stages: &[Stage]) -> Page {
        let width = stages.iter().map(|s| s.id.len() + s.type_name.len() + 3).max().unwrap_or(0);
        let mut page = Page::new();
        for stage in stages {
            self.stage(stage, width, &mut page);
        }
        page
    }
}
