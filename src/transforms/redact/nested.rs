//! Walks a nested object or array and writes it anew where something in it is dropped, replaced or found.

use super::event::{Scope, Scratch, Shared, Whole, replace_whole};
use super::find::secrets::{self, Named, Word};
use super::paths::Purposes;
use crate::event::Value;
use crate::event::json::{self, Token, Tokens};

/// An open object or array.
#[derive(Debug)]
struct Level {
    object: bool,
    scope: Scope,
    /// Where its places begin in [`Walker::places`]; they end where those of the next level begin.
    places: usize,
    /// Elements seen, in arrays.
    count: usize,
    /// A member was kept.
    kept: bool,
    /// Behind the last member's value.
    prev_end: usize,
    /// First byte of members that were dropped before any was kept: they go up to the next member.
    pending: Option<usize>,
}

/// Work space for walks, used again.
#[derive(Debug, Default)]
pub(super) struct Walker {
    levels: Vec<Level>,
    places: Vec<u16>,
    here: Vec<u16>,
    key: Vec<u8>,
    out: Vec<u8>,
    /// Values that belong to the name of a secret or to an option, in order, and the next of them.
    named: Vec<Named>,
    next_named: usize,
    /// Up to where the text has been copied to `out`.
    copied: usize,
}

/// Who writes the quotes around a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// They are there.
    There,
    /// They are written with it.
    Written,
}

impl Walker {
    /// What the last text became.
    pub(super) fn json(&self) -> &[u8] {
        &self.out
    }

    /// Walks `text`, a valid object or array, at `places` of the paths; `false` where nothing is to be changed.
    pub(super) fn walk(
        &mut self,
        text: &[u8],
        places: &[u16],
        scope: Scope,
        shared: &Shared,
        scratch: &mut Scratch,
    ) -> bool {
        self.levels.clear();
        self.places.clear();
        self.places.extend_from_slice(places);
        self.out.clear();
        self.copied = 0;
        self.named.clear();
        if shared.rules.secrets_rule().is_some() {
            secrets::named_values(text, |named| self.named.push(named));
            self.named.sort_unstable_by_key(|n| n.start);
            self.next_named = 0;
        }
        let mut tokens = Tokens::new(text);
        let Some((Token::Open { object }, _, first)) = tokens.next() else { return false };
        self.open(object, scope, 0, first);
        let mut key = None;
        while let Some((token, from, to)) = tokens.next() {
            match token {
                Token::Close => {
                    let Some(level) = self.levels.pop() else { break };
                    if let Some(pending) = level.pending {
                        self.replace(text, pending, level.prev_end, &[]);
                    }
                    self.places.truncate(level.places);
                    match self.levels.last_mut() {
                        Some(parent) => parent.prev_end = to,
                        None => break,
                    }
                }
                Token::Key => key = Some((from, to)),
                _ => self.value(text, key.take(), (token, from, to), &mut tokens, shared, scratch),
            }
        }
        let changed = self.copied > 0;
        if changed {
            self.out.extend_from_slice(&text[self.copied..]);
        }
        changed
    }

    fn open(&mut self, object: bool, scope: Scope, places: usize, first: usize) {
        self.levels.push(Level { object, scope, places, count: 0, kept: false, prev_end: first, pending: None });
    }

    /// Copies what was not yet copied before `from`, then puts `new` in place of `from..to`.
    fn replace(&mut self, text: &[u8], from: usize, to: usize, new: &[u8]) {
        self.out.extend_from_slice(&text[self.copied..from]);
        self.out.extend_from_slice(new);
        self.copied = to;
    }

    fn replace_string(&mut self, text: &[u8], from: usize, to: usize, new: &[u8], quotes: Quotes) {
        self.out.extend_from_slice(&text[self.copied..from]);
        if quotes == Quotes::Written {
            self.out.push(b'"');
        }
        json::escape(new, &mut self.out);
        if quotes == Quotes::Written {
            self.out.push(b'"');
        }
        self.copied = to;
    }

    /// Steps the paths into the member; its places are left at the end of `places`.
    fn step(&mut self, text: &[u8], key: Option<(usize, usize)>, shared: &Shared) -> (Purposes, usize) {
        let Some(level) = self.levels.last_mut() else { return (0, 0) };
        let mark = self.places.len();
        self.here.clear();
        self.here.extend_from_slice(&self.places[level.places..]);
        let ends = match key.filter(|_| level.object) {
            Some((from, to)) => {
                self.key.clear();
                json::unescape(&text[from..to], &mut self.key);
                shared.paths.key(&self.here, &self.key, &mut self.places)
            }
            None => {
                let n = level.count;
                level.count += 1;
                shared.paths.index(&self.here, n, &mut self.places)
            }
        };
        (ends, mark)
    }

    /// Where in the string `from..to` a secret begins that is a part of it: `-px`, `DB_PASSWORD=x`.
    fn part_of(&self, from: usize, to: usize) -> Option<usize> {
        let next = self.named.get(self.next_named)?;
        (next.part && (from..to).contains(&next.start)).then_some(next.start)
    }

    /// Replaces what stands from `secret` on in the string `from..to`, and what is found before it.
    #[cold]
    fn replace_part(
        &mut self,
        text: &[u8],
        (from, to): (usize, usize),
        secret: usize,
        shared: &Shared,
        scratch: &mut Scratch,
    ) {
        if scratch.search_str(json::str_of(&text[from..secret])).is_some() {
            self.replace_string(text, from, secret, &scratch.out, Quotes::There);
        }
        let value = Value::Str(json::str_of(&text[secret..to]));
        if replace_whole(shared, Whole::Secret(Word::Plain), value, scratch) {
            self.replace_string(text, secret, to, &scratch.out, Quotes::There);
        }
    }

    /// What becomes of a whole value, as its key says, when its name and its text are known too.
    fn settled(
        &mut self,
        whole: Option<Whole>,
        scope: Scope,
        (token, from, to): (Token, usize, usize),
        text: &[u8],
    ) -> Option<Whole> {
        while self.named.get(self.next_named).is_some_and(|n| n.start < from) {
            self.next_named += 1;
        }
        let within = |n: &Named| !n.part && (n.start == from || (token == Token::Str && n.start < to));
        let named = scope.searched() && self.named.get(self.next_named).is_some_and(within);
        match (whole, token) {
            (None, _) if named => Some(Whole::Secret(Word::Plain)),
            // What a container holds may describe the secret.
            (Some(Whole::Secret(word)), Token::Open { .. }) => {
                let none = word == Word::Random || secrets::describes(&text[from..]);
                whole.filter(|_| !none)
            }
            (Some(_), Token::Open { .. }) => whole,
            (Some(w), _) => {
                // Strings with their quotes.
                let quote = usize::from(token == Token::Str);
                whole.filter(|_| !Shared::is_none(w, &json::value_of(&text[from - quote..to + quote])))
            }
            (None, _) => None,
        }
    }

    fn value(
        &mut self,
        text: &[u8],
        key: Option<(usize, usize)>,
        (token, from, to): (Token, usize, usize),
        tokens: &mut Tokens<'_>,
        shared: &Shared,
        scratch: &mut Scratch,
    ) {
        let (ends, mark) = self.step(text, key, shared);
        let Some(level) = self.levels.last_mut() else { return };
        // Strings with their quotes.
        let (start, mut end) = if token == Token::Str { (from - 1, to + 1) } else { (from, to) };
        let member = key.map_or(start, |(from, _)| from - 1);
        let pending = level.pending.take();
        let scope = level.scope.enter(ends);
        let whole = shared.whole(ends, scope.searched(), key.map(|_| self.key.as_slice()));
        let whole = self.settled(whole, scope, (token, from, to), text);
        let Some(level) = self.levels.last_mut() else { return };
        if whole.is_some() && matches!(token, Token::Open { .. }) {
            end = close(tokens, end);
        }
        if let Some(whole) = whole.filter(|&w| shared.removes(w)) {
            scratch.counts[shared.action(whole).1] += 1;
            self.places.truncate(mark);
            level.pending = pending;
            let before = level.prev_end;
            level.prev_end = end;
            if level.kept {
                self.replace(text, before, end, &[]);
            } else {
                level.pending.get_or_insert(member);
            }
            return;
        }
        level.kept = true;
        let parent = level.scope.searched();
        if let Some(pending) = pending {
            self.replace(text, pending, member, &[]);
        }
        if let Some((from, to)) = key.filter(|_| parent && scope.searched() && shared.rules.in_key(&self.key)) {
            let name = std::mem::take(&mut self.key);
            if scratch.search(&name) {
                self.replace_string(text, from, to, &scratch.out, Quotes::There);
            }
            self.key = name;
        }
        if let Some(whole) = whole {
            if replace_whole(shared, whole, json::value_of(&text[start..end]), scratch) {
                self.replace_string(text, start, end, &scratch.out, Quotes::Written);
            }
        } else {
            match token {
                Token::Open { object } => {
                    if scope.searched() || shared.paths.goes_on(&self.places[mark..]) {
                        self.open(object, scope, mark, end);
                        return;
                    }
                    end = close(tokens, end);
                }
                Token::Str if scope.searched() => match self.part_of(from, to) {
                    Some(secret) => self.replace_part(text, (from, to), secret, shared, scratch),
                    None => {
                        if scratch.search_str(json::str_of(&text[from..to])).is_some() {
                            self.replace_string(text, start, end, &scratch.out, Quotes::Written);
                        }
                    }
                },
                Token::Number if scope.searched() && shared.rules.in_numbers() && scratch.search(&text[from..to]) => {
                    self.replace_string(text, start, end, &scratch.out, Quotes::Written);
                }
                _ => {}
            }
        }
        self.places.truncate(mark);
        if let Some(level) = self.levels.last_mut() {
            level.prev_end = end;
        }
    }
}

/// Skips to the end of the container that was just opened.
fn close(tokens: &mut Tokens<'_>, mut end: usize) -> usize {
    let mut depth = 1u32;
    for (token, _, to) in tokens {
        end = to;
        match token {
            Token::Open { .. } => depth += 1,
            Token::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    end
}
