//! `tidegate backup list | show | verify | delete | prune`: without a server.

use super::store::{Manifest, State, Store, Stream, hash_file};
use super::{size_text, time_text};
use crate::cli::openobserve::{Failed, out};
use crate::cli::{Exit, say_line};
use crate::openobserve::time_of;
use crate::settings::parse_duration;
use crate::text::escape::Page;
use crate::time::{clock, parse_rfc3339};
use std::collections::BTreeSet;

fn word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Completed => "completed",
        State::Failed => "failed",
    }
}

/// One line each.
pub(super) fn list(store: &Store) -> Result<Exit, Failed> {
    let (all, bad) = store.all()?;
    let mut page = Page::new();
    for one in &all {
        let (streams, rows, size) = (one.streams.len(), one.rows(), size_text(one.bytes()));
        let state = word(one.state);
        writeln!(page, "{}  {state:<9}  {:<11}  {streams} streams, {rows} rows, {size}", one.id, one.kind);
    }
    bad.iter().for_each(|why| writeln!(page, "WRONG   {why}"));
    if all.is_empty() && bad.is_empty() {
        say_line!("there are no backups");
    }
    out(&page)?;
    Ok(if bad.is_empty() { Exit::Done } else { Exit::Failed })
}

/// What is in one.
pub(super) fn show(store: &Store, id: &str) -> Result<Exit, Failed> {
    let one = store.read(id)?;
    let mut page = Page::new();
    let (url, organization) = one.server.split_once(' ').unwrap_or((&one.server, ""));
    writeln!(page, "{}: {}, {}", one.id, one.kind, word(one.state));
    if let Some(why) = &one.reason {
        writeln!(page, "because: {why}");
    }
    writeln!(page, "of {url}, organization {organization}, OpenObserve {}", one.server_version);
    writeln!(page, "begun {}, ended {}", one.started_at, one.ended_at.as_deref().unwrap_or("not yet"));
    for stream in &one.streams {
        let (rows, parts, size) = (stream.rows, stream.parts.len(), size_text(stream.bytes));
        let times = format!("{} to {}", time_text(stream.from), time_text(stream.until));
        let base = stream.base.as_ref().map(|base| format!(", upon {base}")).unwrap_or_default();
        let open = if stream.done { "" } else { ", not all of it" };
        writeln!(page, "{}: {rows} rows, {size} in {parts} parts, {times}{base}{open}", stream.shown());
    }
    let (rows, size) = (one.rows(), size_text(one.bytes()));
    writeln!(page, "{rows} rows, {size} on disk; dashboards, alerts and settings: {}/resources.json", one.id);
    out(&page).map(|()| Exit::Done)
}

/// Reads all of it.
pub(super) fn verify(store: &Store, id: Option<&str>) -> Result<Exit, Failed> {
    let (all, mut wrong) = match id {
        Some(id) => match store.read(id) {
            Ok(one) => (vec![one], Vec::new()),
            Err(why) => (Vec::new(), vec![why]),
        },
        None => store.all()?,
    };
    let mut page = Page::new();
    for one in &all {
        let mut found = check(store, one);
        match found.is_empty() {
            true => writeln!(page, "ok      {}: {} rows, {}", one.id, one.rows(), size_text(one.bytes())),
            false => wrong.append(&mut found),
        }
    }
    wrong.iter().for_each(|why| writeln!(page, "WRONG   {why}"));
    out(&page)?;
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::Failed })
}

/// What is wrong with a backup.
fn check(store: &Store, one: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    let id = &one.id;
    if one.state != State::Completed {
        let why = one.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        wrong.push(format!("{id}: it is not completed but {}{why}", word(one.state)));
    }
    let pieces = one.streams.iter().flat_map(|stream| &stream.parts).map(|part| &part.piece).chain(&one.resources);
    let mut damaged = BTreeSet::new();
    for piece in pieces {
        let what = match hash_file(&store.path(id).join(&piece.file)) {
            Ok((hash, bytes)) if hash == piece.sha256 && bytes == piece.bytes => continue,
            Ok((_, bytes)) if bytes != piece.bytes => {
                format!("it has {bytes} bytes and not {}", piece.bytes)
            }
            Ok(_) => "its hash does not fit".to_owned(),
            Err(error) => error.to_string(),
        };
        wrong.push(format!("{id}/{}: {what}", piece.file));
        damaged.insert(piece.file.as_str());
    }
    for stream in &one.streams {
        if let Err(why) = count(store, id, stream, &damaged) {
            wrong.push(format!("{id}: {}: {why}", stream.shown()));
        }
    }
    for base in one.bases().collect::<BTreeSet<_>>() {
        if let Err(why) = store.read(base) {
            wrong.push(format!("{id}: what it was made upon: {why}"));
        }
    }
    wrong
}

/// Reads the rows of a stream, but for parts that are known to be damaged.
fn count(store: &Store, id: &str, stream: &Stream, damaged: &BTreeSet<&str>) -> Result<(), String> {
    let mut rows = 0;
    let mut before = stream.from;
    for part in &stream.parts {
        if damaged.contains(part.piece.file.as_str()) {
            rows += part.rows;
            continue;
        }
        let mut lines = store.lines(id, part)?;
        let mut here = 0;
        while let Some(row) = lines.next()? {
            let time = time_of(row).ok_or_else(|| format!("{}: a row has no time", part.piece.file))?;
            if time < before || time >= stream.until {
                return Err(format!("{}: a row of {} is out of order", part.piece.file, time_text(time)));
            }
            before = time;
            here += 1;
        }
        if here != part.rows {
            return Err(format!("{}: it has {here} rows and not {}", part.piece.file, part.rows));
        }
        rows += here;
    }
    if rows == stream.rows { Ok(()) } else { Err(format!("it has {rows} rows and not {}", stream.rows)) }
}

/// Removes one.
pub(super) fn delete(store: &Store, id: &str, force: bool) -> Result<Exit, Failed> {
    let _lock = store.lock()?;
    let upon: Vec<String> =
        store.all()?.0.iter().filter(|o| o.bases().any(|b| b == id)).map(|o| o.id.clone()).collect();
    if !upon.is_empty() && !force {
        return Err(format!("made upon it: {}; --force removes it all the same", upon.join(", ")));
    }
    store.remove(id)?;
    say_line!("removed {id}");
    Ok(Exit::Done)
}

/// Removes old ones.
pub(super) fn prune(store: &Store, keep: usize, older: &str, dry_run: bool) -> Result<Exit, Failed> {
    let age = parse_duration(older).ok_or_else(|| format!("`{older}` is not a time such as `30d`"))?;
    let oldest = clock::now_ns().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
    let _lock = store.lock()?;
    let (all, bad) = store.all()?;
    bad.iter().for_each(|why| say_line!("warning: {why}"));
    let newest = all.iter().rev().filter(|one| one.state == State::Completed).take(keep);
    let mut kept: BTreeSet<&str> = newest.map(|one| one.id.as_str()).collect();
    // One that was ended and is the newest is gone on with.
    let begun = all.iter().rev().take_while(|one| one.state != State::Completed);
    kept.extend(begun.map(|one| one.id.as_str()));
    let is_young = |one: &&Manifest| parse_rfc3339(one.started_at.as_bytes()).is_none_or(|at| at.ns > oldest);
    kept.extend(all.iter().filter(is_young).map(|one| one.id.as_str()));
    // What is kept keeps what it was made upon; that is older, so one way back is enough.
    for one in all.iter().rev() {
        if kept.contains(one.id.as_str()) {
            kept.extend(one.bases());
        }
    }
    let mut page = Page::new();
    let mut removed = 0;
    // The newest first, so that at any time all that is there can be put back.
    for one in all.iter().rev().filter(|one| !kept.contains(one.id.as_str())) {
        if !dry_run {
            store.remove(&one.id)?;
        }
        removed += 1;
        writeln!(page, "{} {}", if dry_run { "would remove" } else { "removed" }, one.id);
    }
    writeln!(page, "{removed} removed, {} kept", all.len() - removed);
    out(&page).map(|()| Exit::Done)
}
