//! The built-in rules: what traces look like in the languages that write them.
//!
//! Two questions are asked of each preset: whether a line goes on with the open event ([`continues`]), and whether it opens
//! one by itself ([`opens`]). A line with a date or a level in front, and none below a warning, may be followed by a trace,
//! which belongs to it then ([`heads_trace`], [`joins_dated`]).

use super::{Place, Preset, Verdict};
use memchr::memmem;

/// What several presets say about a line; `active` is the place in `presets` of the one whose event is open in `place`.
pub(super) fn judge(presets: &[Preset], active: usize, place: Option<Place>, line: &[u8]) -> (Verdict, usize) {
    if let Some(place) = place {
        let others = (0..presets.len()).filter(|n| *n != active);
        for n in std::iter::once(active).chain(others) {
            let Some(preset) = presets.get(n).copied() else { continue };
            let open_to_all = matches!(place, Place::Plain | Place::Dated) || preset == Preset::Indent;
            if (n == active || open_to_all)
                && let Some(next) = continues(preset, place, line)
            {
                return (Verdict::Continue(next), n);
            }
        }
    }
    let heads = heads_trace(line);
    for (n, preset) in presets.iter().enumerate() {
        match opens(*preset, line) {
            // A name alone says less than a date.
            Some(Place::Nested | Place::Named) if heads => {}
            Some(place) => return (Verdict::Opens(place), n),
            None => {}
        }
    }
    if heads {
        return (Verdict::Opens(Place::Dated), 0);
    }
    let takes_any = presets.iter().position(|preset| preset.takes_any());
    (takes_any.map_or(Verdict::Alone, |_| Verdict::Opens(Place::Plain)), takes_any.unwrap_or(0))
}

impl Preset {
    /// Its continuation lines belong to whatever line came before.
    fn takes_any(self) -> bool {
        !matches!(self, Preset::Python | Preset::Go | Preset::Rust)
    }
}

/// Where the open event is with this line, if that belongs to it.
fn continues(preset: Preset, place: Place, line: &[u8]) -> Option<Place> {
    if place == Place::Dated
        && let Some(next) = joins_dated(preset, line)
    {
        return Some(next);
    }
    match preset {
        Preset::Java => java(place, line),
        Preset::Python => python(place, line),
        Preset::Go => (place == Place::Frames && continues_panic(line)).then_some(Place::Frames),
        Preset::Ruby => ruby(place, line),
        Preset::Node => node(place, line),
        Preset::Php => php(place, line),
        Preset::Rust => rust(place, line),
        Preset::Dotnet => dotnet(place, line),
        Preset::Indent => starts_blank(line).then_some(place),
    }
}

/// Where an event is that this line opens, whatever came before.
fn opens(preset: Preset, line: &[u8]) -> Option<Place> {
    let text = trim_start(line);
    match preset {
        Preset::Java => names_exception(text).then_some(Place::Nested),
        Preset::Python if text.starts_with(PYTHON_GROUP) => Some(Place::Group),
        // Also at the end of a log line: `ERROR handler: Traceback (most recent call last):`.
        Preset::Python => text.ends_with(PYTHON_HEAD).then_some(Place::Frames),
        Preset::Go => {
            let panics = find_word(line, b"panic: ")
                || line.starts_with(b"fatal error: ")
                || contains(line, b"http: panic serving ")
                || is_goroutine(line);
            panics.then_some(Place::Frames)
        }
        Preset::Ruby => (ruby_uncaught(line) || ruby_error(line)).then_some(Place::Frames),
        Preset::Node if is_source_place(line) => Some(Place::Source),
        Preset::Node => (!starts_blank(line) && names_error(line)).then_some(Place::Named),
        Preset::Php => (contains(line, b"PHP Fatal error:") || contains(line, b"Uncaught ")).then_some(Place::Frames),
        Preset::Rust if contains(line, b"thread '") && contains(line, b" panicked at ") => {
            // The message is on the next line since 1.73.
            Some(if line.trim_ascii_end().ends_with(b":") { Place::Message } else { Place::Frames })
        }
        Preset::Rust => line.starts_with(b"Error: ").then_some(Place::Named),
        Preset::Dotnet if is_console_logger(line) => Some(Place::Message),
        Preset::Dotnet => {
            let named = !starts_blank(line) && names_exception(line);
            (named || line.starts_with(b"Unhandled exception")).then_some(Place::Nested)
        }
        Preset::Indent => None,
    }
}

/// Where an event is whose dated first line this line follows, if it begins that one's trace.
fn joins_dated(preset: Preset, line: &[u8]) -> Option<Place> {
    if is_dated(line) {
        return None;
    }
    match preset {
        // Who dies so has logged nothing of it.
        Preset::Go => is_goroutine(line).then_some(Place::Frames),
        Preset::Rust => is_rust_heading(line).then_some(Place::Frames),
        Preset::Ruby => ruby_error(line).then_some(Place::Frames),
        Preset::Node => (!starts_blank(line) && names_error(line)).then_some(Place::Named),
        Preset::Java | Preset::Python | Preset::Dotnet | Preset::Php => opens(preset, line),
        Preset::Indent => None,
    }
}

/// A line with a date or a level in front, and no level below a warning: a trace may follow.
fn heads_trace(line: &[u8]) -> bool {
    (is_dated(line) || has_level_in_front(line)) && !is_low(line)
}

/// A date or a time of day in front, in the forms that logs have.
pub(super) fn is_dated(line: &[u8]) -> bool {
    let mut text = line;
    // `<13>`, as the kernel and syslog write it.
    if let Some(rest) = text.strip_prefix(b"<") {
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        if (1..=3).contains(&digits) && rest.get(digits) == Some(&b'>') {
            text = &rest[digits + 1..];
        }
    }
    for key in [b"time=".as_slice(), b"ts=", b"timestamp=", b"t=", b"date="] {
        text = text.strip_prefix(key).unwrap_or(text);
    }
    // WebLogic's `####<Nov 30, 2026 10:00:05,123 AM CET> <Error> …`.
    text = text.strip_prefix(b"####").unwrap_or(text);
    if let [b'[' | b'(' | b'"' | b'{' | b'\'' | b'<', rest @ ..] = text {
        text = rest;
    }
    let at = |n: usize| text.get(n).copied().unwrap_or(0);
    let digit = |n: usize| at(n).is_ascii_digit();
    let digits = text.iter().take(20).take_while(|c| c.is_ascii_digit()).count();
    match digits {
        4 => matches!(at(4), b'-' | b'/' | b'.') && digit(5),
        1 | 2 => match at(digits) {
            mark @ (b'/' | b'-' | b'.') => is_month(&text[digits + 1..]) || ends_date(&text[digits + 1..], mark),
            b':' => digits == 2 && digit(3) && digit(4) && at(5) == b':' && digit(6),
            b' ' => is_month(&text[digits + 1..]),
            _ => false,
        },
        // `160802 20:14:29`, and the same with a century.
        6 | 8 => {
            matches!(at(digits), b' ' | b'T' | b'-') && {
                let rest = trim_start(&text[digits + 1..]);
                rest.len() > 3 && rest[0].is_ascii_digit()
            }
        }
        10 | 13 => matches!(at(digits), b'.' | b',' | b' ' | b']' | b'\t'),
        _ => is_month_and_day(text) || is_weekday_and_more(text) || letter_and_date(text).is_some(),
    }
}

/// `05/2024`, `05.24`: month and year, or day and year.
fn ends_date(text: &[u8], mark: u8) -> bool {
    let first = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let rest = text.get(first + 1..).unwrap_or_default();
    let year = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    (1..=2).contains(&first) && text.get(first) == Some(&mark) && matches!(year, 2 | 4) && rest.get(year) != Some(&mark)
}

/// `E0505 17:59:40` of klog, `E, [2024-05-01T…` of Ruby: the letter.
fn letter_and_date(text: &[u8]) -> Option<u8> {
    let letter = *text.first().filter(|c| b"IWEFDAU".contains(c))?;
    let klog =
        text.len() > 8 && text[1..5].iter().all(u8::is_ascii_digit) && text[5] == b' ' && text[6].is_ascii_digit();
    (klog || text[1..].starts_with(b", [")).then_some(letter)
}

fn is_month(text: &[u8]) -> bool {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    text.get(..3).is_some_and(|name| MONTHS.as_chunks::<3>().0.iter().any(|month| month[..] == *name))
        && !text.get(3).is_some_and(|c| c.is_ascii_lowercase())
}

fn is_month_and_day(text: &[u8]) -> bool {
    is_month(text) && text.get(3) == Some(&b' ') && trim_start(&text[3..]).first().is_some_and(u8::is_ascii_digit)
}

fn is_weekday_and_more(text: &[u8]) -> bool {
    let day = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"].iter().any(|day| text.starts_with(*day));
    let rest =
        trim_start(text.get(3..).unwrap_or_default().strip_prefix(b",").unwrap_or(text.get(3..).unwrap_or_default()));
    day && (is_month(rest) || rest.first().is_some_and(u8::is_ascii_digit))
}

/// Whether a word is a level, and whether that is below a warning.
fn level(word: &[u8]) -> Option<bool> {
    let mut upper = [0; 12];
    let upper = upper.get_mut(..word.len())?;
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    match &*upper {
        b"TRACE" | b"DEBUG" | b"INFO" | b"NOTICE" | b"VERBOSE" | b"INFORMATION" | b"DBG" | b"INF" | b"FINE"
        | b"FINER" | b"FINEST" | b"CONFIG" => Some(true),
        b"WARN" | b"WARNING" | b"ERROR" | b"FATAL" | b"CRITICAL" | b"CRIT" | b"ALERT" | b"EMERG" | b"PANIC"
        | b"SEVERE" | b"ERR" | b"WRN" => Some(false),
        _ => None,
    }
}

/// `ERROR:root:…`, `[ERROR] …`, `level=error …`: a level in capitals, in brackets or behind its key.
fn has_level_in_front(line: &[u8]) -> bool {
    let (text, marked) = match line {
        [b'[' | b'<', rest @ ..] => (trim_start(rest), true),
        _ => match line.strip_prefix(b"level=") {
            Some(rest) => (rest, true),
            None => (line, false),
        },
    };
    let len = text.iter().take(12).take_while(|c| c.is_ascii_alphabetic()).count();
    let word = &text[..len];
    let ends = text.get(len).is_none_or(|c| b" :]|>(-\t,".contains(c));
    ends && level(word).is_some() && (marked || word.iter().all(u8::is_ascii_uppercase))
}

/// The first level among the first words of a line is below a warning.
fn is_low(line: &[u8]) -> bool {
    if let Some(letter) = letter_and_date(line) {
        return matches!(letter, b'I' | b'D');
    }
    let words = line.get(..line.len().min(256)).unwrap_or_default().split(|c| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).take(16).find_map(level).unwrap_or(false)
}

fn starts_blank(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

fn trim_start(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    line.get(blanks..).unwrap_or_default()
}

fn java(place: Place, line: &[u8]) -> Option<Place> {
    let text = trim_start(line);
    let indented = text.len() < line.len();
    let frame = indented
        && (text.starts_with(b"at ")
            || text.starts_with(b"eval at ")
            || text.starts_with(b"--- End of inner exception stack trace ---"));
    let more = text.starts_with(b"... ") && text.get(4).is_some_and(u8::is_ascii_digit);
    let end = line.starts_with(b"--- End of stack trace from previous location");
    if frame || more || end {
        return Some(Place::Plain);
    }
    if text.starts_with(b"Caused by:")
        || text.starts_with(b"Suppressed:")
        || text.starts_with(b"nested exception is:")
        || (indented && text.starts_with(b"[CIRCULAR REFERENCE"))
        || (indented && text.starts_with(b"- locked "))
    {
        return Some(Place::Nested);
    }
    // `java.rmi.ServerException: …; nested exception is:` puts the cause's name on an indented line below.
    (matches!(place, Place::Nested | Place::Dated) && indented && names_exception(text)).then_some(Place::Nested)
}

/// `Exception`, `Error` or `Throwable` as the end of a name, then `:` or the end of the line.
fn names_exception(text: &[u8]) -> bool {
    let named = |end: usize| {
        let name = &text[..end];
        name.ends_with(b"Exception") || name.ends_with(b"Error") || name.ends_with(b"Throwable")
    };
    named(text.len()) || memchr::memchr2_iter(b':', b'\r', text).any(named)
}

const PYTHON_HEAD: &[u8] = b"Traceback (most recent call last):";
const PYTHON_GROUP: &[u8] = b"+ Exception Group Traceback (most recent call last):";

fn python(place: Place, line: &[u8]) -> Option<Place> {
    let text = trim_start(line);
    let blank = text.is_empty();
    match place {
        Place::Frames if starts_blank(line) => Some(Place::Frames),
        Place::Frames if names_python_exception(line) => Some(Place::Named),
        Place::Group if starts_blank(line) => Some(Place::Group),
        Place::Named if blank => Some(Place::Named),
        // From here to the next head only blank lines are expected.
        Place::Named
            if line.starts_with(b"During handling of the above exception, another exception occurred:")
                || line.starts_with(b"The above exception was the direct cause of the following exception:") =>
        {
            Some(Place::Nested)
        }
        Place::Nested if blank => Some(Place::Nested),
        Place::Nested if text.starts_with(PYTHON_GROUP) => Some(Place::Group),
        Place::Nested if line.starts_with(PYTHON_HEAD) => Some(Place::Frames),
        _ => None,
    }
}

/// `package.Name` or `package.Name: text`, at the left margin.
fn names_python_exception(line: &[u8]) -> bool {
    let name = line
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'<' | b'>') || **byte >= 0x80)
        .count();
    name > 0 && !line.first().is_some_and(u8::is_ascii_digit) && matches!(line.get(name), None | Some(b':' | b'\r'))
}

/// `goroutine 1 [running]:`
fn is_goroutine(line: &[u8]) -> bool {
    line.starts_with(b"goroutine ") && line.trim_ascii_end().ends_with(b"]:")
}

fn continues_panic(line: &[u8]) -> bool {
    let Some(&first) = line.first() else { return true };
    match first {
        b' ' | b'\t' | b'\r' => true,
        b'[' => line.starts_with(b"[signal ") || line.starts_with(b"[recovered"),
        b'.' => line.starts_with(b"...additional frames elided..."),
        b'g' if line.starts_with(b"goroutine ") => true,
        b'c' if line.starts_with(b"created by ") => true,
        b'e' if line.starts_with(b"exit status ") => true,
        b'r' if line.starts_with(b"runtime stack:") => true,
        // A frame: `path/to/package.(*Type).Method(0x1, {0x2, 0x3}, ...)`: a call with no blank before its bracket.
        _ => {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let name_end = line.iter().position(|byte| matches!(byte, b'(' | b' ' | b'\t' | b':'));
            line.ends_with(b")") && name_end.is_some_and(|at| at > 0 && line.get(at) == Some(&b'('))
        }
    }
}

/// Behind `file:12:in 'method'`, where a line has it.
fn behind_ruby_frame(line: &[u8]) -> Option<&[u8]> {
    let at = memmem::find_iter(line, b":in ").find(|at| {
        let digits = line[..*at].iter().rev().take_while(|c| c.is_ascii_digit()).count();
        digits > 0 && line[..at - digits].ends_with(b":") && matches!(line.get(at + 4), Some(b'`' | b'\'' | b'"'))
    })?;
    let name = line.get(at + 5..)?;
    name.get(memchr::memchr(b'\'', name).map_or(name.len(), |end| end + 1)..)
}

/// `a.rb:1:in 'method': what happened (RuntimeError)`
fn ruby_uncaught(line: &[u8]) -> bool {
    !starts_blank(line) && behind_ruby_frame(line).is_some_and(|rest| rest.starts_with(b": "))
}

/// `NoMethodError (undefined method 'x' for nil):`
fn ruby_error(line: &[u8]) -> bool {
    let name = line.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b':').count();
    let word = line.get(..name).unwrap_or_default();
    line.first().is_some_and(u8::is_ascii_uppercase)
        && (word.ends_with(b"Error")
            || word.ends_with(b"Exception")
            || word.ends_with(b"Invalid")
            || word.ends_with(b"NotFound"))
        && line.get(name..).is_some_and(|rest| rest.starts_with(b" ("))
}

fn ruby(place: Place, line: &[u8]) -> Option<Place> {
    let blank = line.trim_ascii().is_empty();
    let levels = starts_blank(line) && trim_start(line).starts_with(b"... ");
    let goes_on = match behind_ruby_frame(line) {
        // Of a chain of causes each begins as an exception that nobody caught.
        Some(_) => place == Place::Frames || !ruby_uncaught(line),
        None => place == Place::Frames && (blank || levels),
    };
    goes_on.then_some(Place::Frames)
}

/// `Error: …`, `TypeError [ERR_CODE]: …`, `Uncaught ReferenceError: …`, at the left margin.
fn names_error(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"Uncaught ").unwrap_or(line);
    let name = line.iter().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.')).count();
    let (word, rest) = line.split_at(name);
    let code = memchr::memchr(b']', rest).filter(|_| rest.starts_with(b" [")).map_or(0, |end| end + 1);
    (word.ends_with(b"Error") || word.ends_with(b"Exception")) && matches!(rest.get(code), None | Some(b':' | b'\r'))
}

/// `/app/index.js:12` alone: where an exception that nobody caught was thrown.
fn is_source_place(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let digits = line.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let path = &line[..line.len() - digits];
    let rooted = [b"/".as_slice(), b"file://", b"node:", b"internal/"].iter().any(|root| path.starts_with(root))
        || matches!(path, [c, b':', b'\\', ..] if c.is_ascii_alphabetic());
    digits > 0 && path.ends_with(b":") && rooted && !path.contains(&b' ')
}

fn node(place: Place, line: &[u8]) -> Option<Place> {
    let text = trim_start(line);
    let indented = text.len() < line.len();
    if indented && (text.starts_with(b"at ") || text.starts_with(b"[cause]: ")) {
        // The members of the error follow.
        return Some(if line.trim_ascii_end().ends_with(b"{") || place == Place::Block {
            Place::Block
        } else {
            Place::Frames
        });
    }
    let blank = text.trim_ascii_end().is_empty();
    match place {
        Place::Source => Some(Place::Caret),
        Place::Caret => (indented || line.starts_with(b"^"))
            .then_some(())
            .filter(|()| {
                let marks = text.trim_ascii_end();
                !marks.is_empty() && marks.iter().all(|c| matches!(c, b'^' | b'~'))
            })
            .map(|()| Place::Message),
        Place::Message if blank => Some(Place::Message),
        Place::Message if names_error(line) => Some(Place::Named),
        Place::Named if line.starts_with(b"Require stack:") || line.starts_with(b"- /") => Some(Place::Named),
        Place::Block if indented => Some(Place::Block),
        Place::Block if line.trim_ascii_end() == b"}" => Some(Place::Frames),
        Place::Frames if blank => Some(Place::Nested),
        Place::Frames | Place::Nested if line.starts_with(b"Node.js v") => Some(Place::Frames),
        _ => None,
    }
}

fn php(place: Place, line: &[u8]) -> Option<Place> {
    let text = trim_start(line);
    let indented = text.len() < line.len();
    let numbered = text.strip_prefix(b"#").is_some_and(|rest| {
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        digits > 0 && rest.get(digits) == Some(&b' ')
    });
    let heading = text.ends_with(b"Stack trace:")
        || text.starts_with(b"[stacktrace]")
        || text.starts_with(b"[previous exception]")
        || text.starts_with(b"Call Stack:");
    let thrown = indented && text.starts_with(b"thrown in ");
    // `PHP   1. {main}() /a.php:0`, with a date in front.
    let logged = memmem::find(line, b"PHP  ").is_some_and(|at| {
        let rest = trim_start(&line[at + 3..]);
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        digits > 0 && rest[digits..].starts_with(b". ")
    });
    let within = place == Place::Frames
        && (line.starts_with(b"\"}")
            || line.starts_with(b"Next ")
            || (indented && text.first().is_some_and(u8::is_ascii_digit)));
    (numbered || heading || thrown || logged || within).then_some(Place::Frames)
}

fn is_rust_heading(line: &[u8]) -> bool {
    let headings = [b"stack backtrace:".as_slice(), b"Stack backtrace:", b"Caused by:", b"Location:"];
    headings.iter().any(|heading| line.starts_with(heading))
}

fn rust(place: Place, line: &[u8]) -> Option<Place> {
    let blank = line.trim_ascii().is_empty();
    match place {
        Place::Message if !is_dated(line) => Some(Place::Frames),
        Place::Frames if starts_blank(line) && !blank => Some(Place::Frames),
        Place::Frames if line.starts_with(b"note: ") => Some(Place::Frames),
        Place::Frames | Place::Named if blank => Some(Place::Named),
        Place::Frames | Place::Named if is_rust_heading(line) => Some(Place::Frames),
        _ => None,
    }
}

/// `fail: Category[13]` of ASP.NET's console; what it says stands indented below.
fn is_console_logger(line: &[u8]) -> bool {
    [b"fail: ".as_slice(), b"warn: ", b"info: ", b"crit: ", b"dbug: ", b"trce: "]
        .iter()
        .any(|head| line.starts_with(head))
        && line.trim_ascii_end().ends_with(b"]")
}

fn dotnet(place: Place, line: &[u8]) -> Option<Place> {
    let text = trim_start(line);
    let indented = text.len() < line.len();
    if place == Place::Message && line.starts_with(b"      ") {
        return Some(Place::Message);
    }
    let frame = indented && (text.starts_with(b"at ") || text.starts_with(b"--- End of "));
    let inner = text.starts_with(b"---> ") || line.starts_with(b"--- End of ");
    if frame || inner {
        return Some(Place::Nested);
    }
    (matches!(place, Place::Nested | Place::Dated) && indented && names_exception(text)).then_some(Place::Nested)
}

fn contains(line: &[u8], needle: &[u8]) -> bool {
    memmem::find(line, needle).is_some()
}

/// `needle` at the start of the line or after something that is no word character.
fn find_word(line: &[u8], needle: &[u8]) -> bool {
    memmem::find_iter(line, needle)
        .any(|at| at == 0 || line.get(at - 1).is_some_and(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_'))
}
