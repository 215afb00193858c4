//! `tidegate top`: what each component of the running agent does, live.
//!
//! One thread asks the agent, one reads keys, one waits for signals, one reads a tap where one is open; what they find comes to the
//! one that draws. The terminal is as it was in the end, whatever the end is.

mod screen;
mod table;

use super::{ConfigArgs, Exit, agent, print, say_line};
use crate::error::chain;
use crate::pipeline::{Globals, load};
use crate::settings::{ProcessEnvironment, parse_duration};
use crate::telemetry::panics::words;
use crate::text::escape::{Page, line};
use clap::{Args, ValueEnum};
use crossbeam_channel::{Receiver, Sender};
use reqwest::Method;
use screen::{Key, Screen, keys, size};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{IsTerminal as _, Read as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use table::{Row, Snapshot, Sort, Style, foot, head, lines, rows};
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `top`.
#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Address of the agent's API; else that of the agent that runs on the `data_dir` of the configuration.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the table and end.
    #[arg(long)]
    once: bool,
    /// Sums since the start in place of rates.
    #[arg(long)]
    totals: bool,
    /// How often the agent is asked.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    interval: String,
    /// What `--once` prints.
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "once")]
    format: Format,
}

/// What `--once` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the size of the terminal is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of a tap that are kept.
const MAX_TAPPED: usize = 200;
/// Events a second of a tap.
const TAPPED_LIMIT: u64 = 10;
/// The width of a table that goes to no terminal.
const PRINTED_WIDTH: usize = 120;

/// What happens.
enum Happened {
    Told(Result<Value, String>),
    Typed(Vec<Key>),
    /// A line of the tap with this number.
    Tapped(u64, String),
    /// A signal to end.
    End,
}

/// 0; 1: the agent cannot be asked; 2: there is no terminal.
pub(super) fn run(args: &TopArgs) -> Exit {
    let Some(interval) = parse_duration(&args.interval).filter(|every| *every >= Duration::from_millis(50)) else {
        say_line!("error: `--interval {}` is no duration such as 1s, or less than 50ms", args.interval);
        return Exit::Usage;
    };
    let loaded = load(&args.config.config, &ProcessEnvironment, crate::registry::built_in());
    let asker = Arc::new(Asker { url: args.url.clone(), globals: loaded.globals });
    if args.once {
        return once(args, &asker, interval);
    }
    let first = match asker.ask() {
        Ok(answer) => answer,
        Err(message) => {
            say_line!("error: {message}");
            return Exit::Failed;
        }
    };
    let (tell, happened) = crossbeam_channel::bounded(256);
    if let Err(error) = watch_signals(tell.clone()) {
        say_line!("error: cannot watch signals: {error}");
        return Exit::Failed;
    }
    let screen = match Screen::take() {
        Ok(screen) => screen,
        Err(error) => {
            say_line!("error: {error}; `--once` prints the table");
            return Exit::Usage;
        }
    };
    ask_again_and_again(asker.clone(), interval, tell.clone());
    read_keys(tell.clone());
    let mut top = Top::new(args, asker, tell);
    top.told(Ok(first));
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
        // Dropped on the way out, by a panic too.
        let mut screen = screen;
        top.run(&mut screen, &happened);
    }));
    match ended {
        Ok(()) => Exit::Done,
        Err(panic) => {
            say_line!("error: this is a bug, please report it: {}", words(&*panic));
            Exit::Failed
        }
    }
}

/// Who to ask, and how.
struct Asker {
    url: Option<String>,
    globals: Option<Globals>,
}

impl Asker {
    fn ask(&self) -> Result<Value, String> {
        let globals = self.globals.as_ref();
        let base = agent::base(self.url.as_deref(), globals).map_err(|e| chain(&e))?;
        let answer = agent::ask(&base, Method::GET, "/api/v1/components", globals, PATIENCE);
        let (status, body) = answer.map_err(|e| chain(&e))?;
        match (status, serde_json::from_slice(&body)) {
            (200, Ok(answer)) => Ok(answer),
            (404, _) => {
                Err(format!("{base}: this agent tells nothing of its components: is it of an earlier version?"))
            }
            _ => Err(format!("{base}: HTTP {status}: {}", agent::words(&body))),
        }
    }
}

fn once(args: &TopArgs, asker: &Asker, interval: Duration) -> Exit {
    let ask = || {
        asker.ask().map_err(|message| {
            say_line!("error: {message}");
            Exit::Failed
        })
    };
    let mut answer = match ask() {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    let mut page = Page::new();
    if args.format == Format::Json {
        page.json(&format!("{answer:#}\n"));
    } else {
        let mut before = None;
        if !args.totals {
            before = Snapshot::read(&answer);
            std::thread::sleep(interval);
            answer = match ask() {
                Ok(answer) => answer,
                Err(exit) => return exit,
            };
        }
        let width = if std::io::stdout().is_terminal() { size().0.max(80) } else { PRINTED_WIDTH };
        let style = Style { width, colored: false, totals: args.totals, reasons: false };
        let rows = rows(&Snapshot::read(&answer).unwrap_or_default(), before.as_ref(), args.totals, Sort::Flow, "");
        writeln!(page, "{}", head(&rows, style).trim_end());
        for line in rows.iter().flat_map(|row| lines(row, &rows, false, style)) {
            writeln!(page, "{}", line.trim_end());
        }
        writeln!(page, "{}", foot(&rows, style).trim_end());
    }
    if print(&page).is_ok() { Exit::Done } else { Exit::Failed }
}

fn watch_signals(tell: Sender<Happened>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    drop(inside);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hup.recv() => {}
            }
        });
        drop(tell.send(Happened::End));
    })?;
    Ok(())
}

fn ask_again_and_again(asker: Arc<Asker>, interval: Duration, tell: Sender<Happened>) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(interval);
            if tell.send(Happened::Told(asker.ask())).is_err() {
                return;
            }
        }
    });
}

fn read_keys(tell: Sender<Happened>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        loop {
            match std::io::stdin().read(&mut bytes) {
                Ok(n @ 1..) if tell.send(Happened::Typed(keys(&bytes[..n]))).is_ok() => {}
                // The terminal is gone.
                _ => return drop(tell.send(Happened::End)),
            }
        }
    });
}

/// A tap that is open.
struct Tapped {
    number: u64,
    point: String,
    lines: VecDeque<String>,
    stop: Arc<AtomicBool>,
}

impl Drop for Tapped {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Top {
    asker: Arc<Asker>,
    tell: Sender<Happened>,
    now: Snapshot,
    before: Option<Snapshot>,
    /// Why the agent does not answer.
    lost: Option<String>,
    sort: Sort,
    filter: String,
    /// What is typed goes into the filter.
    is_filtering: bool,
    is_paused: bool,
    totals: bool,
    reasons: bool,
    help: bool,
    /// Id of the component that is selected.
    selected: Option<String>,
    /// Lines above the first that is shown.
    above: usize,
    tapped: Option<Tapped>,
    taps: u64,
    colored: bool,
}

const HELP: &[&str] = &[
    "s      sort by the next column          ↑ ↓ j k  select a component",
    "/      filter by name or type            t        tap the selected one; again: end it",
    "p      pause, and go on                  r        why: reasons of drops, rejections, errors",
    "c      sums since the start, or rates    q        quit",
    "",
    "IN OUT B  events and bytes, in and out; BUSY share of one worker; BEHIND bytes of files that",
    "are not read, or the age of the oldest event in a sink's queue.",
];

impl Top {
    fn new(args: &TopArgs, asker: Arc<Asker>, tell: Sender<Happened>) -> Top {
        Top {
            asker,
            tell,
            now: Snapshot::default(),
            before: None,
            lost: None,
            sort: Sort::default(),
            filter: String::new(),
            is_filtering: false,
            is_paused: false,
            totals: args.totals,
            reasons: false,
            help: false,
            selected: None,
            above: 0,
            tapped: None,
            taps: 0,
            colored: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    fn run(&mut self, screen: &mut Screen, happened: &Receiver<Happened>) {
        let mut was = (0, 0);
        loop {
            let now = size();
            if now != was {
                screen.forget();
                was = now;
            }
            screen.show(&self.frame(now.0, now.1));
            match happened.recv_timeout(LOOK) {
                Ok(Happened::Told(answer)) => self.told(answer),
                Ok(Happened::Typed(keys)) => {
                    for key in keys {
                        if !self.typed(key) {
                            return;
                        }
                    }
                }
                Ok(Happened::Tapped(number, text)) => {
                    if let Some(tapped) = self.tapped.as_mut().filter(|t| t.number == number && !self.is_paused) {
                        tapped.lines.push_back(text);
                        if tapped.lines.len() > MAX_TAPPED {
                            tapped.lines.pop_front();
                        }
                    }
                }
                Ok(Happened::End) | Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return,
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn told(&mut self, answer: Result<Value, String>) {
        match answer {
            Err(why) => self.lost = Some(why),
            Ok(answer) => {
                self.lost = None;
                if let Some(next) = Snapshot::read(&answer).filter(|_| !self.is_paused) {
                    self.before = Some(std::mem::replace(&mut self.now, next));
                }
            }
        }
    }

    fn rows(&self) -> Vec<Row> {
        rows(&self.now, self.before.as_ref(), self.totals, self.sort, &self.filter)
    }

    /// Whether to go on.
    fn typed(&mut self, key: Key) -> bool {
        if key == Key::Bug && cfg!(debug_assertions) {
            panic!("as it was asked to");
        }
        if self.is_filtering {
            match key {
                Key::Interrupt => return false,
                Key::Enter => self.is_filtering = false,
                Key::Escape => (self.is_filtering, self.filter) = (false, String::new()),
                Key::Back => _ = self.filter.pop(),
                Key::Char(c) => self.filter.push(c),
                _ => {}
            }
            return true;
        }
        match key {
            Key::Char('q') | Key::Interrupt => return false,
            Key::Escape if self.help => self.help = false,
            Key::Escape if self.tapped.is_some() => self.tapped = None,
            Key::Escape => self.filter.clear(),
            Key::Char('?' | 'h') => self.help = !self.help,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('/') => self.is_filtering = true,
            Key::Char('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Char('c') => self.totals = !self.totals,
            Key::Char('r') => self.reasons = !self.reasons,
            Key::Char('t') => self.tap(),
            Key::Up | Key::Char('k') => self.select(-1),
            Key::Down | Key::Char('j') => self.select(1),
            Key::PageUp => self.select(-10),
            Key::PageDown => self.select(10),
            _ => {}
        }
        true
    }

    fn select(&mut self, by: isize) {
        let rows = self.rows();
        let now = rows.iter().position(|row| Some(&row.id) == self.selected.as_ref());
        let next = match now {
            None if by > 0 => 0,
            None => rows.len().saturating_sub(1),
            Some(n) => n.saturating_add_signed(by).min(rows.len().saturating_sub(1)),
        };
        self.selected = rows.get(next).map(|row| row.id.clone());
    }

    /// Opens a tap at the selected component, or ends the one that is open.
    fn tap(&mut self) {
        if self.tapped.take().is_some() {
            return;
        }
        if self.selected.is_none() {
            self.select(1);
        }
        let rows = self.rows();
        let Some(row) = rows.iter().find(|row| Some(&row.id) == self.selected.as_ref()) else { return };
        let point = if row.kind == "sink" { format!("{}:in", row.id) } else { row.id.clone() };
        self.taps += 1;
        let (number, stop) = (self.taps, Arc::new(AtomicBool::new(false)));
        self.tapped = Some(Tapped { number, point: point.clone(), lines: VecDeque::new(), stop: stop.clone() });
        let (asker, tell) = (self.asker.clone(), self.tell.clone());
        std::thread::spawn(move || {
            if let Err(words) = tap(&asker, &point, number, &tell, &stop) {
                drop(tell.send(Happened::Tapped(number, format!("({words})"))));
            }
        });
    }

    /// The lines of the screen.
    fn frame(&mut self, width: usize, height: usize) -> Vec<String> {
        let style = Style { width, colored: self.colored, totals: self.totals, reasons: self.reasons };
        let rows = self.rows();
        let mut frame = vec![self.title(width), head(&rows, style)];
        let below = match (&self.tapped, self.help) {
            (_, true) => HELP.len() + 1,
            (Some(_), false) => (height / 2).saturating_sub(2),
            (None, false) => 0,
        };
        // Title, head, sums, keys.
        let room = height.saturating_sub(4 + below).max(1);
        let mut all: Vec<(bool, String)> = Vec::new();
        for row in &rows {
            let is_it = Some(&row.id) == self.selected.as_ref();
            all.extend(
                lines(row, &rows, is_it, style).into_iter().enumerate().map(|(n, line)| (is_it && n == 0, line)),
            );
        }
        if let Some(at) = all.iter().position(|(is_it, _)| *is_it) {
            self.above = self.above.min(at).max((at + 1).saturating_sub(room));
        }
        self.above = self.above.min(all.len().saturating_sub(room));
        frame.extend(all.into_iter().skip(self.above).take(room).map(|(_, line)| line));
        frame.push(foot(&rows, style));
        if self.help {
            frame.push(String::new());
            frame.extend(HELP.iter().map(|line| line.chars().take(width).collect()));
        } else if let Some(tapped) = &self.tapped {
            frame.push(cut(&format!("── {} {}", tapped.point, "─".repeat(width)), width));
            let shown = below.saturating_sub(1);
            let skip = tapped.lines.len().saturating_sub(shown);
            frame.extend(tapped.lines.iter().skip(skip).map(|line| cut(line, width)));
        }
        frame.truncate(height.saturating_sub(1).max(1));
        frame.resize(height.saturating_sub(1).max(1), String::new());
        frame.push(self.keys(width));
        frame
    }

    fn title(&self, width: usize) -> String {
        let mut title = format!("tidegate top  sorted by {}", self.sort.word());
        if !self.filter.is_empty() {
            title.push_str(&format!("  filter: {}", line(&self.filter)));
        }
        if self.is_paused {
            title.push_str("  PAUSED");
        }
        if let Some(why) = &self.lost {
            title = cut(&format!("the agent does not answer: {}", line(why)), width);
            return if self.colored { format!("\x1b[31m{title}\x1b[0m") } else { title };
        }
        cut(&title, width)
    }

    fn keys(&self, width: usize) -> String {
        if self.is_filtering {
            return cut(&format!("filter: {}_", line(&self.filter)), width);
        }
        cut("q quit  ? help  s sort  / filter  p pause  t tap  r reasons  c sums  ↑↓ select", width)
    }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// Reads events until it is told to stop.
///
/// Errors: why there are none, in words.
fn tap(asker: &Asker, point: &str, number: u64, tell: &Sender<Happened>, stop: &AtomicBool) -> Result<(), String> {
    let base = agent::base(asker.url.as_deref(), asker.globals.as_ref()).map_err(|e| chain(&e))?;
    let question = json!({"points": [point], "limit": TAPPED_LIMIT}).to_string().into_bytes();
    let stream = agent::stream(&base, "/api/v1/tap", question, asker.globals.as_ref());
    let mut stream = stream.map_err(|e| chain(&e))?;
    let mut begun = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match stream.next(LOOK) {
            Err(agent::Piece::Late) => {}
            Ok(None) | Err(agent::Piece::Lost) => return Err("the tap has ended".to_owned()),
            Ok(Some(piece)) => {
                begun.extend_from_slice(&piece);
                let whole = memchr::memrchr(b'\n', &begun).map_or(0, |n| n + 1);
                let text: Vec<u8> = begun.drain(..whole).collect();
                for text in text.split(|b| *b == b'\n') {
                    let Ok(value) = serde_json::from_slice::<Value>(text) else { continue };
                    let Some(event) = value.get("event") else { continue };
                    let time = value["at"].as_str().and_then(|at| at.get(11..23)).unwrap_or_default();
                    let text = line(&format!("{time} {event}")).into_owned();
                    if tell.send(Happened::Tapped(number, text)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}
