//! Multiline: which lines of one file make one event.
//!
//! ```yaml
//! multiline: java                 # or python, go, ruby, node, php, rust, dotnet, indent
//! multiline: [java, python]       # of a source that has both
//! multiline: {preset: go, timeout: 200ms}
//! multiline: {start: '^\d{4}-', mode: halt_before, condition: '^\d{4}-', timeout: 1s}
//! ```
//!
//! The decision is pure: an [`Aggregator`] is told one line at a time and answers with an [`Action`]; it keeps no
//! bytes. The caller holds the lines, so an event whose lines lie next to each other in one read buffer is a range of
//! that buffer (the line feeds between its lines included) and is never copied.
//!
//! Three parts, by how many of them there are: one [`Multiline`] (the checked rule) per source, one [`Matcher`] (the
//! rule and the regex engine's scratch space) per reader thread, one [`Aggregator`] (a few words of state) per file.
//!
//! What happens at the limits: an event that has `max_lines` lines or would pass `max_bytes` is closed, and the line that
//! did not fit opens the next event of the same group: nothing is cut away, and [`Aggregator::splits`] counts it. An
//! open event is closed when no line came for `timeout`, and at the end of the input. Time is handed in, never read.
//!
//! The presets err on the side of not joining: a line that no rule claims is an event of its own. With most of them a
//! continuation belongs to whatever line came before it (a log line with its stack trace below); in `python`, `go` and `rust`
//! a trace starts at its own first line, or at a line with a date or level in front, none below a warning, just above
//! (`presets.rs`). Of several presets the one that the open event is of is asked first.

use std::sync::Arc;

use regex_automata::Input;
use regex_automata::meta::{Cache, Regex};

mod presets;
#[cfg(test)]
mod tests;

/// How `condition` continues or ends an event that `start` has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every following line that matches belongs to the event; the first that does not is the next event's.
    ContinueThrough,
    /// As long as a line matches, the line after it belongs too: the first that does not match is the last.
    ContinuePast,
    /// Every line up to one that matches; that one is the next event's.
    HaltBefore,
    /// Every line up to one that matches, that one included.
    HaltWith,
}

/// The built-in rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Stack traces of Java, Kotlin, Scala, C# and JavaScript: `at …`, `Caused by:`, `... 12 more` belong to the line above.
    Java,
    /// `Traceback (most recent call last):` to the line that names the exception; chained exceptions belong together.
    Python,
    /// `panic:` and `fatal error:` with every goroutine below it.
    Go,
    /// Frames like `a.rb:1:in 'method'` belong to the line above; causes, and what Rails puts between.
    Ruby,
    /// `at …` below an error's name, with its members; the place and source line above one that nobody caught.
    Node,
    /// `Stack trace:`, `[stacktrace]`, `#0 …` and `thrown in …` belong to the line above.
    Php,
    /// `thread '…' panicked at` with its message, notes and backtrace; `Error:` with its causes.
    Rust,
    /// `at …`, ` ---> …` and `--- End of …` belong to the line above; what ASP.NET's console writes below a category.
    Dotnet,
    /// A line that begins with white space belongs to the line above.
    Indent,
}

/// Limits every rule has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An open event is closed when no line came for this long, in nanoseconds.
    pub timeout_nanos: u64,
    /// Most lines of one event.
    pub max_lines: u32,
    /// Most bytes of one event, the line feeds between its lines included.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { timeout_nanos: 1_000_000_000, max_lines: 1000, max_bytes: 1 << 20 }
    }
}

/// A rule that cannot be used: which of its expressions, and why.
#[derive(Debug)]
pub struct RuleError {
    /// `start` or `condition`.
    pub setting: &'static str,
    /// What the expression compiler said.
    pub source: Box<regex_automata::meta::BuildError>,
}

impl std::fmt::Display for RuleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is not a regular expression", self.setting)
    }
}

impl std::error::Error for RuleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

#[derive(Debug)]
enum Kind {
    Rule { start: Regex, condition: Regex, mode: Mode },
    Presets(Vec<Preset>),
}

/// A checked multiline setting, shared by all files of a source.
#[derive(Debug)]
pub struct Multiline {
    kind: Kind,
    limits: Limits,
}

impl Multiline {
    /// A rule of the user's own. Patterns are searched anywhere in the line, on bytes.
    pub fn rule(start: &str, mode: Mode, condition: &str, limits: Limits) -> Result<Self, RuleError> {
        let compile = |setting, pattern: &str| {
            let syntax = regex_automata::util::syntax::Config::new().utf8(false);
            let config = Regex::config().utf8_empty(false).nfa_size_limit(Some(10 << 20));
            Regex::builder()
                .syntax(syntax)
                .configure(config)
                .build(pattern)
                .map_err(|source| RuleError { setting, source: Box::new(source) })
        };
        let kind = Kind::Rule { start: compile("start", start)?, condition: compile("condition", condition)?, mode };
        Ok(Multiline { kind, limits })
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// One of the built-in rules.
    pub fn preset(preset: Preset, limits: Limits) -> Self {
        Multiline::presets(vec![preset], limits)
    }

    /// Several of the built-in rules; the first has the first word.
    pub fn presets(presets: Vec<Preset>, limits: Limits) -> Self {
        Multiline { kind: Kind::Presets(presets), limits }
    }

    /// The same rule with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// A rule with the scratch space its expressions need; one per reader thread.
#[derive(Debug)]
pub struct Matcher {
    rule: Arc<Multiline>,
    /// Caches of `start` and `condition`; none for presets.
    caches: Option<(Cache, Cache)>,
}

impl Matcher {
    /// Makes the scratch space for one thread.
    pub fn new(rule: Arc<Multiline>) -> Self {
        let caches = match &rule.kind {
            Kind::Rule { start, condition, .. } => Some((start.create_cache(), condition.create_cache())),
            Kind::Presets(_) => None,
        };
        Matcher { rule, caches }
    }
}

/// What to do with the line just pushed, and with the event that was open before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing was open; the line is a whole event.
    Single,
    /// Nothing was open; the line opens an event.
    Start,
    /// The line belongs to the open event, which stays open.
    Append,
    /// The line belongs to the open event and completes it.
    AppendFlush,
    /// The open event is complete without the line; the line is a whole event.
    FlushSingle,
    /// The open event is complete without the line; the line opens the next one.
    FlushStart,
}

impl Action {
    /// The event that was open is complete without this line.
    pub fn flushes_before(self) -> bool {
        matches!(self, Action::FlushSingle | Action::FlushStart)
    }

    /// The line belongs to the event that was open.
    pub fn joins(self) -> bool {
        matches!(self, Action::Append | Action::AppendFlush)
    }

    /// The event that has the line is complete.
    pub fn flushes_after(self) -> bool {
        matches!(self, Action::Single | Action::AppendFlush | Action::FlushSingle)
    }
}

/// Where in a preset's grammar an open event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Anything a preset needs no memory for.
    #[default]
    Plain,
    /// A line with a date or level in front, of a warning at least: its trace may follow.
    Dated,
    /// Among frames, source lines and the like. Python: the first line not indented names the exception.
    Frames,
    /// Python: an exception group, all of whose lines are indented.
    Group,
    /// Behind the name of the exception.
    Named,
    /// Java, .NET: a line that named an exception, which a wrapped cause may follow. Python: between two chained
    /// exceptions. Node: behind the blank line below the frames.
    Nested,
    /// Node: behind the place of what nobody caught; its source line follows.
    Source,
    /// Node: behind that; marks follow.
    Caret,
    /// The message follows, or goes on.
    Message,
    /// Node: among the members of an error.
    Block,
}

/// What a rule says about one line, before the limits.
enum Verdict {
    /// Belongs to the open event, which goes on.
    Continue(Place),
    /// Belongs to the open event and is its last line.
    Last,
    /// Not the open event's; opens one.
    Opens(Place),
    /// Not the open event's; stands alone.
    Alone,
}

/// The state of one file: whether an event is open and how large it is. Holds no bytes of it.
#[derive(Clone, Debug, Default)]
pub struct Aggregator {
    /// Lines of the open event; 0 when none is open.
    lines: u32,
    /// Bytes of the open event, line feeds between its lines included.
    bytes: usize,
    place: Place,
    /// Which of several presets the open event is of.
    preset: usize,
    /// When the last line of the open event came.
    last_nanos: u64,
    splits: u64,
}

impl Aggregator {
    /// Decides about the next line of the file.
    ///
    /// Shape: `line` without its line ending. Units: `now_nanos` on any clock that does not go back; it may be the same
    /// for all lines of one read.
    pub fn push(&mut self, matcher: &mut Matcher, line: &[u8], now_nanos: u64) -> Action {
        let limits = matcher.rule.limits;
        let open = self.lines > 0;
        let verdict = self.judge(matcher, line);
        let grown = self.bytes.saturating_add(1).saturating_add(line.len());
        let fits = self.lines < limits.max_lines && grown <= limits.max_bytes;
        self.last_nanos = now_nanos;
        match verdict {
            Verdict::Continue(place) if fits => {
                self.lines += 1;
                self.bytes = grown;
                self.place = place;
                Action::Append
            }
            Verdict::Continue(place) => {
                self.splits += 1;
                self.open(line, place);
                Action::FlushStart
            }
            Verdict::Last if fits => {
                self.close();
                Action::AppendFlush
            }
            Verdict::Last => {
                self.splits += 1;
                self.close();
                Action::FlushSingle
            }
            Verdict::Opens(place) => {
                self.open(line, place);
                if open { Action::FlushStart } else { Action::Start }
            }
            Verdict::Alone => {
                self.close();
                if open { Action::FlushSingle } else { Action::Single }
            }
        }
    }

    /// Whether an event is open.
    pub fn is_open(&self) -> bool {
        self.lines > 0
    }

    /// Whether the open event has waited for `timeout`; the caller then takes it and calls [`flush`](Self::flush).
    pub fn is_expired(&self, matcher: &Matcher, now_nanos: u64) -> bool {
        self.lines > 0 && now_nanos.saturating_sub(self.last_nanos) >= matcher.rule.limits.timeout_nanos
    }

    /// Closes the open event (end of input, rotation, time-out). True when there was one for the caller to emit.
    pub fn flush(&mut self) -> bool {
        let open = self.lines > 0;
        self.close();
        open
    }

    /// How often an event was split because it reached `max_lines` or `max_bytes`.
    pub fn splits(&self) -> u64 {
        self.splits
    }

    fn open(&mut self, line: &[u8], place: Place) {
        self.lines = 1;
        self.bytes = line.len();
        self.place = place;
    }

    fn close(&mut self) {
        self.lines = 0;
        self.bytes = 0;
        self.place = Place::Plain;
    }

    fn judge(&mut self, matcher: &mut Matcher, line: &[u8]) -> Verdict {
        let place = (self.lines > 0).then_some(self.place);
        match (&matcher.rule.kind, &mut matcher.caches) {
            (Kind::Rule { start, condition, mode }, Some((start_cache, condition_cache))) => {
                if place.is_some() {
                    let matched = is_match(condition, condition_cache, line);
                    match (mode, matched) {
                        (Mode::ContinueThrough | Mode::ContinuePast, true)
                        | (Mode::HaltBefore | Mode::HaltWith, false) => {
                            return Verdict::Continue(Place::Plain);
                        }
                        (Mode::ContinuePast, false) | (Mode::HaltWith, true) => return Verdict::Last,
                        (Mode::ContinueThrough, false) | (Mode::HaltBefore, true) => {}
                    }
                }
                if is_match(start, start_cache, line) { Verdict::Opens(Place::Plain) } else { Verdict::Alone }
            }
            (Kind::Presets(presets), _) => {
                let (verdict, preset) = presets::judge(presets, self.preset, place, line);
                self.preset = preset;
                verdict
            }
            // A rule always comes with its caches; without them nothing is joined and nothing lost.
            (Kind::Rule { .. }, None) => Verdict::Alone,
        }
    }
}

fn is_match(regex: &Regex, cache: &mut Cache, line: &[u8]) -> bool {
    regex.search_half_with(cache, &Input::new(line).earliest(true)).is_some()
}
