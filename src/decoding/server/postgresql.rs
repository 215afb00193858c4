//! PostgreSQL's text log, with the usual `log_line_prefix`es.
//!
//! ```text
//! 2024-05-01 10:00:00.585 CEST [4974] LOG:  database system is ready                              %m [%p]
//! 2024-05-01 10:00:00.585 CEST [4983] joe@shop ERROR:  relation "x" does not exist               %m [%p] %q%u@%d
//! 2024-05-01 10:00:00 UTC:10.0.0.1(52834):joe@shop:[20175]:ERROR:  no                            %t:%r:%u@%d:[%p]:
//! < 2024-05-01 10:00:00.123 CET >LOG:  ready                                                     < %m >
//! 2024-05-01 10:00:00 UTC-65641234.4d2-LOG:  ready                                               %t-%c- (Azure)
//! 2024-05-01 10:00:00.123 UTC [7] shop psql joe 10.0.0.1 65641234.4d2 LOG:  ready                %m [%p] %d %a %u %h %c (Datadog)
//! 2024-05-01 10:00:00.123 UTC [7] LOG C-0x55d01: shop/joe@10.0.0.1:5432 login attempt            PgBouncer
//! 2024-05-01 10:00:00 UTC [1234]: [3-1] user=joe,db=shop,app=psql,client=10.0.0.1 LOG:  duration: 37.118 ms  statement: select 1
//! ```
//!
//! Lines behind an error that belong to it (`DETAIL`, `HINT`, `STATEMENT`, …) are events of their own, with that word in
//! `part` and no level. What of the prefix is not known is `prefix`. Words of levels in other languages are not known.
//!
//! Source: `elog.c`; the manual's section on `log_line_prefix`; the prefixes of Debian, pgBadger and Amazon RDS.

use super::{Cursor, Found, Name, Span};

const REFUSED: &str = "not a line of PostgreSQL's log";

const LEVELS: [&[u8]; 13] = [
    b"LOG", b"ERROR", b"FATAL", b"PANIC", b"WARNING", b"NOTICE", b"INFO", b"DEBUG", b"DEBUG1", b"DEBUG2", b"DEBUG3",
    b"DEBUG4", b"DEBUG5",
];
const PARTS: [&[u8]; 7] = [b"DETAIL", b"HINT", b"STATEMENT", b"CONTEXT", b"QUERY", b"LOCATION", b"BACKTRACE"];

pub(super) fn parse(line: &[u8], found: &mut Found) -> Result<(), &'static str> {
    head(line, found).or_else(|| bouncer(line, found)).ok_or(REFUSED)
}

/// PgBouncer's: a level without a colon, and the connection it is about.
#[cold]
fn bouncer(line: &[u8], found: &mut Found) -> Option<()> {
    const BOUNCER: [&[u8]; 6] = [b"LOG", b"WARNING", b"ERROR", b"FATAL", b"DEBUG", b"NOISE"];
    found.time.clear();
    found.fields.clear();
    let mut cursor = Cursor { line, at: time_len(line)? };
    cursor.blanks();
    let pid = match cursor.brackets() {
        Some(pid) => pid,
        None => cursor.word()?,
    };
    let is_pid = pid.of(line).iter().all(u8::is_ascii_digit);
    let level = cursor.word().filter(|level| is_pid && BOUNCER.contains(&level.of(line)))?;
    cursor.rest_span().non_empty()?;
    found.at(&line[..time_len(line)?]);
    found.number(Name::Pid, line, pid);
    found.text(Name::Level, level);
    let from = cursor.at;
    if let [b'C' | b'S', b'-', b'0', b'x', ..] = cursor.rest()
        && let Some(connection) = cursor.until(b": ")
        && let Some(who) = cursor.word()
        && let Some(slash) = memchr::memchr(b'/', who.of(line))
        && let Some(at) = memchr::memrchr(b'@', who.of(line)).filter(|at| *at > slash)
    {
        found.text(Name::Connection, connection);
        let known = |span: Span| match span.of(line) {
            b"(nodb)" | b"(nouser)" => Span::default(),
            _ => span,
        };
        found.text(Name::Database, known(Span::new(who.start, who.start + slash)));
        found.text(Name::User, known(Span::new(who.start + slash + 1, who.start + at)));
        found.client(line, Span::new(who.start + at + 1, who.end));
    } else {
        cursor.at = from;
    }
    found.text(Name::Message, cursor.rest_span());
    Some(())
}

/// The first word that is a level or a part, with its colon and a blank behind it.
fn severity(line: &[u8]) -> Option<(Span, bool)> {
    let within = &line[..line.len().min(512)];
    memchr::memmem::find_iter(within, b": ").find_map(|colon| {
        let letters = line[..colon].iter().rev().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).count();
        let word = Span::new(colon - letters, colon);
        let apart = word.start == 0
            || matches!(line[word.start - 1], b' ' | b':' | b']' | b'>' | b',' | b'|' | b';' | b'-' | b')');
        let is_part = PARTS.contains(&word.of(line));
        (apart && (is_part || LEVELS.contains(&word.of(line)))).then_some((word, is_part))
    })
}

fn head(line: &[u8], found: &mut Found) -> Option<()> {
    let (word, is_part) = severity(line)?;
    let prefix = &line[..word.start];
    // Most often it stands in front.
    let (before, behind) = match time_len(prefix) {
        Some(len) => (0, len),
        None => (1..prefix.len())
            .filter(|at| !prefix[at - 1].is_ascii_alphanumeric())
            .find_map(|at| time_len(&prefix[at..]).map(|len| (at, at + len)))
            .unwrap_or((0, 0)),
    };
    found.at(&prefix[before..behind]);
    // Without a time, the two blanks that PostgreSQL writes must do.
    if behind == 0 && !line[word.end..].starts_with(b":  ") {
        return None;
    }
    let in_front = prefix_fields(line, Span::new(0, before), found);
    let mut rest = prefix_fields(line, Span::new(behind, word.start), found);
    if in_front.is_some() {
        rest = Span::new(0, prefix.trim_ascii_end().len()).non_empty();
    }
    found.text(if is_part { Name::Part } else { Name::Level }, word);
    let mut cursor = Cursor { line, at: word.end + 1 };
    cursor.blanks();
    // `log_error_verbosity = verbose`
    if let [a, b, c, d, e, b':', b' ', ..] = cursor.rest()
        && [a, b, c, d, e].iter().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
        && a.is_ascii_digit() | matches!(a, b'X' | b'P' | b'H' | b'F')
    {
        found.text(Name::Sqlstate, Span::new(cursor.at, cursor.at + 5));
        cursor.at += 7;
    }
    found.text(Name::Message, cursor.rest_span());
    duration(line, &mut cursor, found);
    if let Some(rest) = rest.take() {
        found.text(Name::Prefix, rest);
    }
    Some(())
}

/// How long the time is that a text begins with, with its zone; `None` where it begins with none.
fn time_len(text: &[u8]) -> Option<usize> {
    // `2024-05-01 10:00:00`, or an epoch.
    if !matches!(text, [b'0'..=b'9', _, _, _, b'-', _, _, b'-', _, _, b' ' | b'T', _, _, b':', _, _, b':', _, _, ..]) {
        let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
        let fraction = text.get(digits) == Some(&b'.');
        let end = || digits + 1 + text[digits + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
        return (digits == 10 && fraction).then(end);
    }
    let mut end = 19;
    if matches!(text.get(end), Some(b'.' | b',')) {
        end += 1 + text[end + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
    }
    // `CEST`, `+03`, `Z`.
    let rest = &text[end..];
    let zone = match rest {
        [b'Z', ..] => 1,
        [b' ', more @ ..] => {
            let letters = more.iter().take_while(|c| c.is_ascii_alphabetic()).count();
            let len = match letters {
                0 => more.iter().take_while(|c| matches!(c, b'+' | b'-') || c.is_ascii_digit()).count(),
                _ => letters,
            };
            let word = &more[..len];
            let ends = !more.get(len).is_some_and(u8::is_ascii_alphanumeric);
            let named =
                (2..=5).contains(&len) && ends && word.iter().all(u8::is_ascii_uppercase) && !LEVELS.contains(&word);
            let offset = matches!(word, [b'+' | b'-', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
            if named || offset { len + 1 } else { 0 }
        }
        [b'+' | b'-', more @ ..] => 1 + more.iter().take_while(|c| c.is_ascii_digit() || **c == b':').count(),
        _ => 0,
    };
    Some(end + zone)
}

/// What else stands in the prefix; all of it where something is not known.
fn prefix_fields(line: &[u8], span: Span, found: &mut Found) -> Option<Span> {
    let mut unknown = false;
    let separator = |c: &u8| matches!(c, b' ' | b'<' | b'>' | b'|' | b';');
    let mut at = span.start;
    while at < span.end {
        let rest = &line[at..span.end];
        let skipped = rest.iter().take_while(|c| separator(c) || matches!(**c, b':' | b',' | b']' | b'-')).count();
        at += skipped;
        let rest = &line[at..span.end];
        if rest.is_empty() || rest == b"[" {
            break;
        }
        // When the session began, or the time once more.
        if let Some(len) = time_len(rest) {
            (at, unknown) = (at + len, true);
            continue;
        }
        if matches!(rest, [b'[', first, ..] if !first.is_ascii_digit()) && rest.contains(&b'=') {
            at += 1;
            continue;
        }
        if let Some(end) = application(line, Span::new(at, span.end), found) {
            at = end;
            continue;
        }
        if positional(line, Span::new(at, span.end), found).is_some() {
            break;
        }
        let len = match rest {
            [b'[', ..] => memchr::memchr(b']', rest).map_or(rest.len(), |end| end + 1),
            // Colons stand between the parts where no blanks do, and in addresses.
            _ => rest
                .iter()
                .position(|c| separator(c) || (*c == b':' && rest.contains(&b'@') && !rest.contains(&b'=')))
                .unwrap_or(rest.len()),
        };
        unknown |= !token(line, Span::new(at, at + len), found);
        at += len;
    }
    let from = span.start + line[span.start..span.end].iter().take_while(|c| separator(c) || **c == b':').count();
    let all = Span::new(from, from + line[from..span.end].trim_ascii_end().len());
    unknown.then_some(all).and_then(Span::non_empty)
}

/// `65641234.4d2`: when the session began, and its process, in hexadecimal digits.
fn is_session(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.len() <= 8 && part.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    memchr::memchr(b'.', text)
        .is_some_and(|dot| dot >= 6 && dot + 1 < text.len() && hex(&text[..dot]) && hex(&text[dot + 1..]))
}

/// `shop psql joe 10.0.0.1 65641234.4d2`, as Datadog wants it: database, application, user, client and session. The application's
/// name may have blanks: it is what is left.
fn positional(line: &[u8], span: Span, found: &mut Found) -> Option<()> {
    let text = span.of(line).trim_ascii_end();
    let last = memchr::memrchr(b' ', text)?;
    if text.starts_with(b"[") || !is_session(&text[last + 1..]) {
        return None;
    }
    let behind = |end: usize| memchr::memrchr(b' ', &text[..end]).map(|blank| blank + 1);
    let host = behind(last)?;
    let user = behind(host - 1)?;
    let database = memchr::memchr(b' ', text).filter(|blank| *blank + 1 < user)?;
    let part = |from: usize, end: usize| {
        let span = Span::new(span.start + from, span.start + end);
        if span.of(line) == b"[unknown]" { Span::default() } else { span }
    };
    let address = &text[host..last];
    let is_address = std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    if !is_address && address != b"[local]" {
        return None;
    }
    found.text(Name::Database, part(0, database));
    found.text(Name::Application, part(database + 1, user - 1));
    found.text(Name::User, part(user, host - 1));
    client(line, part(host, last), found);
    found.text(Name::Session, part(last + 1, text.len()));
    Some(())
}

/// An address, or what stands for a Unix socket.
fn client(line: &[u8], span: Span, found: &mut Found) {
    match span.of(line) {
        b"[local]" => found.word(Name::Client, "unix"),
        _ => found.text(Name::ClientIp, span),
    }
}

/// One word of the prefix: `[123]`, `[123-1]`, `joe@shop`, `10.0.0.1(4711)`, `user=joe,db=shop`.
fn token(line: &[u8], span: Span, found: &mut Found) -> bool {
    let text = span.of(line);
    if let [b'[', inner @ .., b']'] = text {
        let digits = inner.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 || inner.get(digits..).is_none_or(|rest| !rest.is_empty() && !rest.starts_with(b"-")) {
            if inner == b"local" {
                found.word(Name::Client, "unix");
            }
            return inner == b"local" || inner == b"unknown";
        }
        let name = if found.fields.iter().any(|(name, _)| *name == Name::Pid) { Name::SessionLine } else { Name::Pid };
        found.number(name, line, Span::new(span.start + 1, span.start + 1 + digits));
        if name == Name::Pid && digits < inner.len() {
            let dash = span.start + 2 + digits;
            found.number(Name::SessionLine, line, Span::new(dash, span.end - 1));
        }
        return true;
    }
    if text.contains(&b'=') {
        return pairs(line, span, found);
    }
    let session = text.trim_suffix_all(b"-");
    if is_session(session) {
        found.text(Name::Session, Span::new(span.start, span.start + session.len()));
        return true;
    }
    if let Some(open) = memchr::memchr(b'(', text).filter(|_| text.ends_with(b")")) {
        found.text(Name::ClientIp, Span::new(span.start, span.start + open));
        found.number(Name::ClientPort, line, Span::new(span.start + open + 1, span.end - 1));
        return true;
    }
    if let Some(at) = memchr::memchr(b'@', text) {
        let end = at + memchr::memchr(b'/', &text[at..]).unwrap_or(text.len() - at);
        let known = |span: Span| (span.of(line) != b"[unknown]").then_some(span);
        for (name, part) in [
            (Name::User, known(Span::new(span.start, span.start + at))),
            (Name::Database, known(Span::new(span.start + at + 1, span.start + end))),
        ] {
            if let Some(part) = part {
                found.text(name, part);
            }
        }
        return true;
    }
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    // `%p` without brackets: not `%x` and `%e`, which begin with 0.
    if digits == text.len()
        && digits < 9
        && text.first().is_some_and(|c| *c != b'0')
        && !found.fields.iter().any(|(name, _)| *name == Name::Pid)
    {
        found.number(Name::Pid, line, span);
        return true;
    }
    false
}

/// What an application calls itself, which a client chooses: it may have blanks and commas, and look like anything else. It ends at
/// the last name for a client behind it, else at the end of the prefix; where user and database are not known yet, at a blank.
/// `app=PostgreSQL JDBC Driver,client=…` or `joe@shop/PostgreSQL JDBC Driver`; where it ends.
fn application(line: &[u8], span: Span, found: &mut Found) -> Option<usize> {
    let text = span.of(line);
    let has = |found: &Found, name: Name| found.fields.iter().any(|(n, _)| *n == name);
    let word = text.iter().position(|c| *c == b' ').unwrap_or(text.len());
    let equals = memchr::memchr(b'=', &text[..word]);
    let Some(equals) = equals else {
        let slash =
            memchr::memchr(b'@', &text[..word]).and_then(|at| Some(at + memchr::memchr(b'/', &text[at..word])?))?;
        token(line, Span::new(span.start, span.start + slash), found);
        let name = text[slash + 1..].trim_ascii_end();
        found.text(Name::Application, Span::new(span.start + slash + 1, span.start + slash + 1 + name.len()));
        return Some(span.end);
    };
    let keys: [&[u8]; 3] = [b"app=", b"application=", b"a="];
    let begins = |at: usize| at == 0 || text[at - 1] == b',';
    let (at, key) = (0..=equals)
        .find_map(|at| {
            let key = keys.iter().find(|key| begins(at) && text[at..].starts_with(key))?;
            Some((at, key.len()))
        })
        .or_else(|| {
            // Behind other pairs of the same word.
            keys.iter().find_map(|key| {
                let at = memchr::memmem::find_iter(&text[..word], key).find(|at| begins(*at))?;
                Some((at, key.len()))
            })
        })?;
    pairs(line, Span::new(span.start, span.start + at), found);
    let value = &text[at + key..];
    let client = [b"client=".as_slice(), b"host=", b"remote=", b"h="]
        .iter()
        .filter_map(|key| memchr::memmem::rfind(value, key).filter(|n| *n > 0 && matches!(value[n - 1], b',' | b' ')))
        .max();
    let whole = has(found, Name::User) || has(found, Name::Database);
    let len = match client {
        Some(client) => client - 1,
        None if whole => value.trim_ascii_end().trim_suffix_all(b"]:>,").len(),
        None => value.iter().position(|c| matches!(c, b' ' | b',')).unwrap_or(value.len()),
    };
    let from = span.start + at + key;
    if value[..len].trim_ascii() != b"[unknown]" {
        found.text(Name::Application, Span::new(from, from + len));
    }
    Some(from + len)
}

/// Bytes without those at their end.
trait TrimSuffix {
    fn trim_suffix_all(&self, marks: &[u8]) -> &[u8];
}

impl TrimSuffix for [u8] {
    fn trim_suffix_all(&self, marks: &[u8]) -> &[u8] {
        let kept = self.iter().rposition(|c| !marks.contains(c)).map_or(0, |at| at + 1);
        &self[..kept]
    }
}

/// `user=joe,db=shop,app=psql,client=10.0.0.1`
fn pairs(line: &[u8], span: Span, found: &mut Found) -> bool {
    let (mut at, mut all) = (span.start, true);
    for pair in span.of(line).split(|c| *c == b',') {
        let (from, end) = (at, at + pair.len());
        at = end + 1;
        if pair.is_empty() {
            continue;
        }
        let Some(equals) = memchr::memchr(b'=', pair) else {
            all = false;
            continue;
        };
        let value = Span::new(from + equals + 1, end);
        if matches!(value.of(line), b"" | b"[unknown]") {
            continue;
        }
        match &pair[..equals] {
            b"user" | b"u" | b"usr" => found.text(Name::User, value),
            b"db" | b"database" | b"d" => found.text(Name::Database, value),
            b"app" | b"application" | b"a" => found.text(Name::Application, value),
            b"client" | b"host" | b"h" | b"remote" => {
                let text = value.of(line);
                match memchr::memchr(b'(', text).filter(|_| text.ends_with(b")")) {
                    Some(open) => {
                        found.text(Name::ClientIp, Span::new(value.start, value.start + open));
                        found.number(Name::ClientPort, line, Span::new(value.start + open + 1, value.end - 1));
                    }
                    None => client(line, value, found),
                }
            }
            b"pid" | b"p" => found.number(Name::Pid, line, value),
            _ => all = false,
        }
    }
    all
}

/// `duration: 37.118 ms  statement: select 1`, `duration: 1 ms  execute S_1: select 1`.
fn duration(line: &[u8], cursor: &mut Cursor<'_>, found: &mut Found) {
    let timed = cursor.eat(b"duration: ").is_some();
    if timed {
        let Some(milliseconds) = cursor.word() else { return };
        found.decimal(Name::Duration, line, milliseconds);
        if cursor.eat(b"ms").is_none() {
            return;
        }
        cursor.blanks();
    }
    let known = [b"statement: ".as_slice(), b"execute ", b"parse ", b"bind "];
    let Some(word) = known.iter().find(|word| cursor.rest().starts_with(word)) else { return };
    cursor.at += word.len();
    if !word.ends_with(b": ") && cursor.until(b": ").is_none() {
        return;
    }
    found.text(Name::Statement, cursor.rest_span());
}
