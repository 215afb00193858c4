//! MySQL's and MariaDB's error log, their general log, and the slow log.
//!
//! ```text
//! 2024-05-01T10:00:00.123456Z 0 [Warning] [MY-010068] [Server] CA certificate ca.pem is self signed.    8.0
//! 2024-05-01T10:00:00.123456Z 0 [Note] InnoDB: Using atomics                                             5.7
//! 2024-05-01 10:00:00 0 [Note] InnoDB: Using Linux native AIO                                            MariaDB
//! 160802 20:14:29 [Note] Plugin 'FEDERATED' is disabled.                                                 5.5
//! 2024-05-01T10:00:00.123456Z        8 Query     select 1                                                the general log
//! 191015  9:46:45     13 Query   SHOW STATUS                                                             the same, MariaDB
//!                      13 Query   select 2                                                                of the same second
//! ```
//!
//! An entry of the slow log is several lines (`# Time: …` to the query), which `multiline: {start: '^# (Time|User@Host)', …}`
//! makes one frame of. Lines without a time (`Version: …`) are not of the format.
//!
//! Source: `sql/log.cc` of 5.5 to 8.4, MariaDB's `sql/log.cc`.

use super::{Cursor, Found, Name, Second, Span};

const REFUSED: &str = "not a line of MySQL's log";

pub(super) fn parse(line: &[u8], found: &mut Found) -> Result<(), &'static str> {
    let parsed = if line.starts_with(b"# Time: ") || line.starts_with(b"# User@Host: ") {
        slow(line, found)
    } else if line.starts_with(b"\t") {
        same_second(line, found)
    } else {
        head(line, found)
    };
    parsed.ok_or(REFUSED)
}

fn head(line: &[u8], found: &mut Found) -> Option<()> {
    let mut cursor = Cursor::new(line);
    let day = cursor.word()?;
    match day.of(line) {
        // `2024-05-01T10:00:00.123456Z`
        [b'0'..=b'9', _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', ..] => found.at(day.of(line)),
        // `2024-05-01 10:00:00`, `160802 20:14:29`, ` 9:46:45`
        [b'0'..=b'9', _, _, _, b'-', _, _, b'-', _, _] | [b'0'..=b'9', _, _, _, _, _] => {
            let time = cursor.word()?;
            if !matches!(time.of(line), [_, b':', ..] | [_, _, b':', ..]) {
                return None;
            }
            found.at(day.of(line));
            found.at(if time.len() < 8 { b" 0" } else { b" " });
            found.at(time.of(line));
        }
        _ => return None,
    }
    let before = cursor.at;
    if let Some(thread) = cursor.digits() {
        if cursor.rest().starts_with(b" ") {
            cursor.blanks();
            found.number(Name::Thread, line, thread);
            if command(&mut cursor, found).is_some() {
                found.second = Second::Begins;
                return Some(());
            }
        } else {
            cursor.at = before;
        }
    }
    if let Some(level) = level(line, &mut cursor) {
        found.text(Name::Level, level);
        if let Some(code) = cursor.brackets() {
            // What the official images say of themselves: `[Note] [Entrypoint]: text`.
            if code.of(line) == b"Entrypoint" && cursor.eat(b":").is_some() {
                found.text(Name::Subsystem, code);
                cursor.blanks();
                found.text(Name::Message, cursor.rest_span());
                return Some(());
            }
            found.text(Name::ErrorCode, code);
            if let Some(subsystem) = cursor.brackets() {
                found.text(Name::Subsystem, subsystem);
            }
        }
    }
    found.text(Name::Message, cursor.rest_span());
    Some(())
}

fn level(line: &[u8], cursor: &mut Cursor<'_>) -> Option<Span> {
    let before = cursor.at;
    let level = cursor.brackets()?;
    let known = [b"Note".as_slice(), b"Warning", b"ERROR", b"Error", b"System", b"Warn", b"Info", b"Information"];
    let is_known = known.contains(&level.of(line));
    if !is_known {
        cursor.at = before;
    }
    is_known.then_some(level)
}

/// `\t\t   13 Query\tselect 2` of the general log: MariaDB, and MySQL up to 5.6, write the time once a second.
fn same_second(line: &[u8], found: &mut Found) -> Option<()> {
    let mut cursor = Cursor::new(line);
    cursor.blanks();
    let thread = cursor.digits()?;
    cursor.eat(b" ")?;
    cursor.blanks();
    found.number(Name::Thread, line, thread);
    command(&mut cursor, found)?;
    found.second = Second::GoesOn;
    Some(())
}

/// `Query\tselect 1` of the general log.
fn command(cursor: &mut Cursor<'_>, found: &mut Found) -> Option<()> {
    const COMMANDS: [&[u8]; 33] = [
        b"Query",
        b"Connect",
        b"Quit",
        b"Execute",
        b"Prepare",
        b"Init DB",
        b"Close stmt",
        b"Ping",
        b"Statistics",
        b"Field List",
        b"Change user",
        b"Reset stmt",
        b"Reset Connection",
        b"Reset connection",
        b"Fetch",
        b"Long Data",
        b"Set option",
        b"Kill",
        b"Create DB",
        b"Drop DB",
        b"Refresh",
        b"Shutdown",
        b"Processlist",
        b"Debug",
        b"Time",
        b"Sleep",
        b"Daemon",
        b"Connect Out",
        b"Binlog Dump",
        b"Binlog Dump GTID",
        b"Register Slave",
        b"Register Replica",
        b"Table Dump",
    ];
    let rest = cursor.rest();
    let command = COMMANDS
        .iter()
        .find(|command| rest.starts_with(command) && matches!(rest.get(command.len()), None | Some(b'\t')))?;
    found.text(Name::Command, Span::new(cursor.at, cursor.at + command.len()));
    cursor.at += command.len();
    cursor.blanks();
    found.text(Name::Message, cursor.rest_span());
    Some(())
}

/// Lines with `#` in front, and the query behind them.
fn slow(line: &[u8], found: &mut Found) -> Option<()> {
    let (mut at, mut timed) = (0, false);
    while line[at..].starts_with(b"#") {
        let end = memchr::memchr(b'\n', &line[at..]).map_or(line.len(), |end| at + end);
        let mut cursor = Cursor { line: &line[..end], at: at + 1 };
        cursor.blanks();
        if cursor.eat(b"Time: ").is_some() {
            found.at(slow_time(cursor.rest()).as_slice());
        } else if cursor.eat(b"User@Host: ").is_some() {
            user(line, &mut cursor, found);
        } else {
            timed |= pairs(line, &mut cursor, found);
        }
        at = (end + 1).min(line.len());
        if end == line.len() {
            break;
        }
    }
    // Where events begin at `# User@Host: `, the time of the next stands behind the query.
    let mut end = line.len();
    if let Some(next) = memchr::memmem::rfind(&line[at..], b"\n# Time: ")
        && !line[at + next + 1..].contains(&b'\n')
    {
        end = at + next;
    }
    // `use db;` and `SET timestamp=…;` belong to the query as they are.
    found.text(Name::Message, Span::new(at, end));
    if found.time.is_empty()
        && let Some(set) = memchr::memmem::find(&line[at..end], b"SET timestamp=")
    {
        let from = at + set + b"SET timestamp=".len();
        let digits = line[from..end].iter().take_while(|c| c.is_ascii_digit()).count();
        found.at(&line[from..from + digits]);
    }
    timed.then_some(())
}

/// `160802  9:14:29` with a zero for the blank.
fn slow_time(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    match memchr::memmem::find(text, b"  ") {
        Some(at) => [&text[..at], b" 0", &text[at + 2..]].concat(),
        None => text.to_vec(),
    }
}

/// `root[root] @ localhost [127.0.0.1]  Id:   182`
fn user(line: &[u8], cursor: &mut Cursor<'_>, found: &mut Found) {
    let Some(name) = cursor.until(b"[") else { return };
    found.text(Name::User, name);
    if cursor.until(b"] @ ").is_none() {
        return;
    }
    let Some(host) = cursor.until(b"[") else { return };
    found.text(Name::Host, Span::new(host.start, host.start + host.of(line).trim_ascii_end().len()));
    if let Some(address) = cursor.until(b"]") {
        found.text(Name::ClientIp, address);
    }
    cursor.blanks();
    if cursor.eat(b"Id:").is_some() {
        cursor.blanks();
        if let Some(thread) = cursor.digits() {
            found.number(Name::Thread, line, thread);
        }
    }
}

/// `Query_time: 2.746607  Lock_time: 0.000138 …`; whether the first is among them.
fn pairs(line: &[u8], cursor: &mut Cursor<'_>, found: &mut Found) -> bool {
    let mut timed = false;
    while let (Some(key), Some(value)) = (cursor.word(), cursor.word()) {
        let name = match key.of(line) {
            b"Query_time:" => Name::QueryTime,
            b"Lock_time:" => Name::LockTime,
            b"Rows_sent:" => Name::RowsSent,
            b"Rows_examined:" => Name::RowsExamined,
            b"Schema:" => Name::Schema,
            b"Thread_id:" => Name::Thread,
            _ => continue,
        };
        timed |= name == Name::QueryTime;
        match name {
            Name::Schema => found.text(name, value),
            _ => found.decimal(name, line, value),
        }
    }
    timed
}
