//! The transform: which fields of an event are dropped, replaced or searched.

use super::find::secrets::{self, PairKey, Word};
use super::nested::Walker;
use super::paths::{DROP, EXCEPT, HASH, IN, KEEP_LAST, MASK as MASK_FIELDS, PathGlob, Paths, Purposes, WrittenPaths};
use super::scanner::{Action, HashKey, Hit, Rules, Scanner};
use crate::component::trial::{tried, value_of_batch};
use crate::component::{Emitter, Notes, Rule, Transform};
use crate::event::{Batch, EventMut, EventRef, Form, Str, Sym, Value, json};
use std::sync::Arc;

/// What a [`Redact`] is to do.
#[derive(Debug)]
pub struct RedactOptions {
    /// What is looked for, and what becomes of it.
    pub rules: Rules,
    /// Fields that are removed.
    pub drop: Vec<PathGlob>,
    /// Fields that are masked.
    pub mask: Vec<PathGlob>,
    /// Fields that are hashed, and the key.
    pub hash: (Vec<PathGlob>, Option<HashKey>),
    /// Fields of which the last characters stay, and how many.
    pub keep_last: (Vec<PathGlob>, usize),
    /// Search only below these; everywhere when empty.
    pub within: Vec<PathGlob>,
    /// Do not search below these.
    pub except: Vec<PathGlob>,
}

impl RedactOptions {
    /// These rules everywhere.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            drop: Vec::new(),
            mask: Vec::new(),
            hash: (Vec::new(), None),
            keep_last: (Vec::new(), 0),
            within: Vec::new(),
            except: Vec::new(),
        }
    }
}

/// What becomes of a whole field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Drop,
    /// Place of its action in [`Shared::field_actions`], which is also that of its counter.
    Replace(u8),
    /// It holds a secret, as its key says.
    Secret(Word),
}

/// Where in the counters those of `fields` begin, behind the rules: drop, mask, hash, keep_last.
const FIELD_RULES: [&str; 4] = ["fields.drop", "fields.mask", "fields.hash", "fields.keep_last"];

/// What all workers share.
pub(super) struct Shared {
    pub(super) rules: Arc<Rules>,
    pub(super) paths: Paths,
    field_actions: [Action; 4],
    /// Names of the counters: rules, then fields.
    names: Vec<Arc<str>>,
    /// The paths of `fields`, for explanations.
    written: WrittenPaths,
}

impl Shared {
    /// What becomes of a field of this name for which these paths end here.
    pub(super) fn whole(&self, ends: Purposes, searched: bool, key: Option<&[u8]>) -> Option<Whole> {
        if ends & (DROP | MASK_FIELDS | HASH | KEEP_LAST) != 0 {
            // The strictest first.
            let place = (ends & (DROP | MASK_FIELDS | HASH | KEEP_LAST)).trailing_zeros() as u8;
            return Some(if place == 0 { Whole::Drop } else { Whole::Replace(place) });
        }
        if !searched || self.rules.secrets_rule().is_none() {
            return None;
        }
        key.and_then(secrets::secret_key).map(Whole::Secret)
    }

    /// Whether the value says that it is no secret, whatever its key is: `"auth":"ok"`.
    pub(super) fn is_none(whole: Whole, value: &Value<'_>) -> bool {
        match (whole, value) {
            (Whole::Secret(_), Value::Bool(_) | Value::Str(Str { bytes: [], .. })) => true,
            (Whole::Secret(word), Value::Str(s)) => secrets::no_secret(word, s.bytes),
            (Whole::Secret(word), Value::Number(text)) => secrets::no_secret(word, text),
            (Whole::Secret(Word::Pin), Value::I64(n)) => !(1000..100_000_000).contains(n),
            (Whole::Secret(Word::Plural), Value::I64(n)) => (0..10_000).contains(n),
            (Whole::Secret(Word::Pin | Word::Uuid | Word::Random), _) => true,
            (Whole::Secret(_), Value::Object(raw) | Value::Array(raw)) => secrets::describes(raw),
            _ => false,
        }
    }

    /// Whether the field goes with its key.
    pub(super) fn removes(&self, whole: Whole) -> bool {
        whole == Whole::Drop || (matches!(whole, Whole::Secret(_)) && matches!(self.rules.action(), Action::Remove))
    }

    /// The action on a whole field, and its counter.
    pub(super) fn action(&self, whole: Whole) -> (&Action, usize) {
        let fields = self.names.len() - FIELD_RULES.len();
        match whole {
            Whole::Drop => (&self.field_actions[0], fields),
            Whole::Replace(n) => (&self.field_actions[usize::from(n)], fields + usize::from(n)),
            Whole::Secret(_) => (self.rules.action(), usize::from(self.rules.secrets_rule().unwrap_or_default())),
        }
    }
}

/// What is searched at and below a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    inside: bool,
    excepted: bool,
}

impl Scope {
    fn root(paths: &Paths) -> Self {
        Self { inside: !paths.restricted(), excepted: false }
    }

    /// The scope of a member where these paths end.
    pub(super) fn enter(self, ends: Purposes) -> Self {
        Self { inside: self.inside || ends & IN != 0, excepted: self.excepted || ends & EXCEPT != 0 }
    }

    pub(super) fn searched(self) -> bool {
        self.inside && !self.excepted
    }
}

/// What is to be done with a top-level field of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    whole: Option<Whole>,
    scope: Scope,
    places: Vec<u16>,
    /// What it may be of a pair of name and value.
    pair: Option<PairKey>,
    /// Paths go on below, so that an object is worth looking into even where nothing is searched.
    goes_on: bool,
    /// The name without what was found in it, and by which rules.
    rename: Option<(Vec<u8>, Vec<u16>)>,
}

impl Plan {
    fn idle(&self) -> bool {
        // What may be of a pair is searched as well.
        self.whole.is_none() && !self.scope.searched() && !self.goes_on && self.rename.is_none()
    }
}

/// In [`Redact::by_symbol`]: not known yet, nothing to do; plans follow.
const UNKNOWN: u32 = 0;
const IDLE: u32 = 1;
const PLANS: u32 = 2;
/// Bits of [`PairKey`].
const NAME: u8 = 1;
const VALUE: u8 = 2;
const BOTH: u8 = 3;
/// Most different plans that are kept: mostly there is a handful, unless names from input hold what is looked for.
const MAX_PLANS: usize = 1024;

/// Work space of one worker.
pub(super) struct Scratch {
    pub(super) scanner: Scanner,
    pub(super) hits: Vec<Hit>,
    /// Plain text of a value that was written with escapes.
    pub(super) text: Vec<u8>,
    /// The same with the escapes of JSON inside it undone.
    inner: Vec<u8>,
    spare: Vec<u8>,
    /// What a value becomes.
    pub(super) out: Vec<u8>,
    /// Hits by counter.
    pub(super) counts: Vec<u64>,
}

impl Scratch {
    /// Searches `text`; where something is found, counts it, puts what the text becomes into `out` and says so.
    #[inline]
    pub(super) fn search(&mut self, text: &[u8]) -> bool {
        self.hits.clear();
        self.scanner.scan(text, &mut self.hits);
        if self.hits.is_empty() {
            return false;
        }
        self.out.clear();
        self.scanner.rewrite(text, &self.hits, &mut self.out);
        for hit in &self.hits {
            self.counts[usize::from(hit.rule)] += 1;
        }
        true
    }

    /// As [`search`](Self::search) for a string; gives the form of what is in `out`.
    #[inline]
    pub(super) fn search_str(&mut self, s: Str<'_>) -> Option<Form> {
        match s.form {
            Form::Clean => {
                let found = self.search(s.bytes);
                found.then(|| if json::is_clean(&self.out) { Form::Clean } else { Form::Plain })
            }
            Form::Plain => self.search_plain(s.bytes).then_some(Form::Plain),
            Form::Escaped => {
                let mut text = std::mem::take(&mut self.text);
                text.clear();
                json::unescape(s.bytes, &mut text);
                let found = self.search_plain(&text);
                self.text = text;
                found.then_some(Form::Plain)
            }
        }
    }

    /// As [`search`](Self::search) for text that may hold JSON, in which `token\u003dx` says `token=x`.
    fn search_plain(&mut self, text: &[u8]) -> bool {
        let escapes = |text: &[u8]| memchr::memmem::find(text, b"\\u").is_some();
        if !escapes(text) {
            return self.search(text);
        }
        let mut inner = std::mem::take(&mut self.inner);
        inner.clear();
        undo_escapes(text, &mut inner);
        // What an escape says may be part of an escape one level further in.
        for _ in 0..MAX_LEVELS {
            if !escapes(&inner) {
                break;
            }
            self.spare.clear();
            undo_escapes(&inner, &mut self.spare);
            if self.spare == inner {
                break;
            }
            std::mem::swap(&mut self.spare, &mut inner);
        }
        let found = self.search(&inner);
        self.inner = inner;
        found
    }

    /// As [`search`](Self::search) for the JSON of a value.
    pub(super) fn search_number(&mut self, value: Value<'_>) -> bool {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        value.append_json(&mut text);
        let found = self.search(&text);
        self.text = text;
        found
    }
}

/// Redacts events; see the module's docs.
pub struct Redact {
    shared: Arc<Shared>,
    scratch: Scratch,
    walker: Walker,
    /// By symbol number: the place of the plan.
    by_symbol: Vec<u32>,
    plans: Vec<Plan>,
    /// What is to be done with the fields of an event, from the last one: their places and plans.
    todo: Vec<(u16, u32)>,
    /// The keys of the event that `todo` is of, all of which are known; empty where it may not be used for another.
    shape: Vec<u32>,
    /// What of pairs is among the fields of that event.
    pairs: u8,
}

impl Redact {
    /// A transform with these options.
    ///
    /// Errors: a hash without key, or more paths than fit.
    pub fn new(options: RedactOptions) -> Result<Self, String> {
        let RedactOptions { rules, drop, mask, hash, keep_last, within, except } = options;
        let hash_action = match (hash.1, hash.0.is_empty()) {
            (Some(key), _) => Action::Hash(key),
            (None, true) => Action::Mask,
            (None, false) => return Err("`fields.hash` needs a key".into()),
        };
        let paths = Paths::new([
            (&drop[..], DROP),
            (&mask, MASK_FIELDS),
            (&hash.0, HASH),
            (&keep_last.0, KEEP_LAST),
            (&within, IN),
            (&except, EXCEPT),
        ])
        .ok_or("the paths have more than 65,535 names in all")?;
        let names = rules.names().iter().map(|n| Arc::from(n.as_str())).chain(FIELD_RULES.map(Arc::from)).collect();
        let field_actions = [Action::Remove, Action::Mask, hash_action, Action::KeepLast(keep_last.1)];
        let written = WrittenPaths([drop, mask, hash.0, keep_last.0]);
        Ok(Self::of(Arc::new(Shared { rules: Arc::new(rules), paths, field_actions, names, written })))
    }

    /// The paths of `fields`.
    pub(super) fn written(&self) -> &WrittenPaths {
        &self.shared.written
    }

    /// How many of the counters are those of patterns, and how many those of patterns and kinds.
    pub(super) fn rule_counts(&self) -> (usize, usize) {
        (self.shared.rules.pattern_count(), self.shared.rules.names().len())
    }

    /// The name of a counter.
    pub(super) fn rule_name(&self, counter: usize) -> &str {
        &self.shared.names[counter]
    }

    /// What another instance makes of a batch of one event, and by which counters. It is the transform as it runs, so that the work
    /// itself has one caller.
    pub(super) fn made_of(&self, batch: Batch) -> (Option<serde_json::Value>, Vec<usize>) {
        let made = tried(&mut Self::of(self.shared.clone()), batch);
        let of_name = |name: &Arc<str>| self.shared.names.iter().position(|known| known == name);
        let mut hits: Vec<usize> = made.delta.rules.iter().filter_map(|(_, name, _)| of_name(name)).collect();
        hits.sort_unstable();
        (value_of_batch(&made.batch), hits)
    }

    fn of(shared: Arc<Shared>) -> Self {
        let scratch = Scratch {
            scanner: Scanner::new(shared.rules.clone()),
            hits: Vec::new(),
            text: Vec::new(),
            inner: Vec::new(),
            spare: Vec::new(),
            out: Vec::new(),
            counts: vec![0; shared.names.len()],
        };
        Self {
            shared,
            scratch,
            walker: Walker::default(),
            by_symbol: Vec::new(),
            plans: Vec::new(),
            todo: Vec::new(),
            shape: Vec::new(),
            pairs: 0,
        }
    }

    #[inline]
    fn event(&mut self, batch: &mut Batch, row: usize) {
        // Most events have the keys of the one before.
        let same = !self.shape.is_empty() && batch.event(row).has_keys(&self.shape);
        if !same {
            self.prepare(batch.event(row));
        }
        let pair = self.pairs == BOTH && self.pair(batch.event(row));
        // From the last one: a field that is removed moves only those behind it.
        for n in (0..self.todo.len()).rev() {
            let (i, known) = self.todo[n];
            let i = usize::from(i);
            let event = batch.event(row);
            if pair && PairKey::of(event.key_text_at(i)) == Some(PairKey::Value) {
                self.secret_field(&mut batch.event_mut(row), i);
                continue;
            }
            if known >= PLANS {
                self.field(&mut batch.event_mut(row), i, (known - PLANS) as usize);
                continue;
            }
            match event.key_at(i).map_or(UNKNOWN, |sym| self.learn(sym)) {
                IDLE => {}
                plan if plan >= PLANS => self.field(&mut batch.event_mut(row), i, (plan - PLANS) as usize),
                _ => {
                    // No room for its plan, or a key past the bound of the table of symbols.
                    let plan = self.plan(event.key_text_at(i));
                    if !plan.idle() {
                        self.plans.push(plan);
                        self.field(&mut batch.event_mut(row), i, self.plans.len() - 1);
                        self.plans.pop();
                    }
                }
            }
        }
    }

    /// What is to be done with the fields of an event.
    fn prepare(&mut self, event: EventRef<'_>) {
        self.todo.clear();
        self.shape.clear();
        // Names and values of pairs, or keys that are not known yet.
        self.pairs = 0;
        let mut known = true;
        for (i, (key, _)) in event.key_indexes().enumerate() {
            let plan = self.by_symbol.get(key).copied().unwrap_or(UNKNOWN);
            known &= plan != UNKNOWN;
            self.shape.push(key as u32);
            if plan != IDLE {
                self.todo.push((i as u16, plan));
                self.pairs |= self.pairs_of(plan);
            }
        }
        if !known {
            self.shape.clear();
        }
    }

    #[inline]
    fn pairs_of(&self, plan: u32) -> u8 {
        match plan.checked_sub(PLANS).map(|p| self.plans[p as usize].pair) {
            None => BOTH,
            Some(None) => 0,
            Some(Some(PairKey::Name)) => NAME,
            Some(Some(PairKey::Value)) => VALUE,
        }
    }

    /// Whether one of the fields is the name of a secret, whose value others are: `{"name":"password","value":"x"}`.
    #[cold]
    fn pair(&self, event: EventRef<'_>) -> bool {
        let named = |i: usize| {
            PairKey::of(event.key_text_at(i)) == Some(PairKey::Name)
                && matches!(event.value_at(i), Value::Str(s) if secrets::secret_key(s.bytes).is_some_and(|w| w != Word::Pin))
        };
        let root = Scope::root(&self.shared.paths);
        self.shared.rules.secrets_rule().is_some() && root.searched() && (0..event.len()).any(named)
    }

    /// A field that holds a secret, whatever its key.
    #[cold]
    fn secret_field(&mut self, event: &mut EventMut<'_>, i: usize) {
        let whole = Whole::Secret(Word::Plain);
        if self.shared.removes(whole) {
            self.scratch.counts[self.shared.action(whole).1] += 1;
            event.remove_at(i);
        } else if replace_whole(&self.shared, whole, event.as_ref().value_at(i), &mut self.scratch) {
            event.set_at(i, Value::Str(Str::plain(&self.scratch.out)));
        }
    }

    #[cold]
    fn learn(&mut self, sym: Sym) -> u32 {
        let plan = self.plan(sym.text().as_bytes());
        let known = self.plans.iter().position(|p| *p == plan);
        if known.is_none() && self.plans.len() >= MAX_PLANS && !plan.idle() {
            return UNKNOWN;
        }
        if self.by_symbol.len() <= sym.index() {
            self.by_symbol.resize(sym.index() + 1, UNKNOWN);
        }
        let place = if plan.idle() {
            IDLE
        } else {
            PLANS
                + known.unwrap_or_else(|| {
                    self.plans.push(plan);
                    self.plans.len() - 1
                }) as u32
        };
        self.by_symbol[sym.index()] = place;
        place
    }

    fn plan(&mut self, key: &[u8]) -> Plan {
        let paths = &self.shared.paths;
        let mut places = Vec::new();
        let ends = paths.key(paths.start(), key, &mut places);
        let scope = Scope::root(paths).enter(ends);
        let whole = self.shared.whole(ends, scope.searched(), Some(key));
        // The name itself is searched where everything is.
        self.scratch.hits.clear();
        let mut rename = None;
        if Scope::root(paths).searched() && scope.searched() {
            self.scratch.scanner.scan(key, &mut self.scratch.hits);
            if !self.scratch.hits.is_empty() {
                let mut name = Vec::new();
                self.scratch.scanner.rewrite(key, &self.scratch.hits, &mut name);
                rename = Some((name, self.scratch.hits.iter().map(|h| h.rule).collect()));
            }
        }
        let pair = if self.shared.rules.secrets_rule().is_some() && scope.searched() { PairKey::of(key) } else { None };
        Plan { whole, scope, pair, goes_on: paths.goes_on(&places), places, rename }
    }

    #[inline]
    fn field(&mut self, event: &mut EventMut<'_>, i: usize, plan: usize) {
        let plan = &self.plans[plan];
        let scratch = &mut self.scratch;
        let value = event.as_ref().value_at(i);
        if let Some(whole) = plan.whole.filter(|&w| !Shared::is_none(w, &value)) {
            if self.shared.removes(whole) {
                scratch.counts[self.shared.action(whole).1] += 1;
                event.remove_at(i);
                return;
            }
            if replace_whole(&self.shared, whole, value, scratch) {
                event.set_at(i, Value::Str(Str::plain(&scratch.out)));
            }
        } else if plan.scope.searched() || plan.goes_on {
            let numbers = plan.scope.searched() && self.shared.rules.in_numbers();
            let form = match value {
                Value::Str(s) if plan.scope.searched() => scratch.search_str(s),
                Value::Number(raw) if numbers => scratch.search(raw).then_some(Form::Plain),
                Value::I64(_) | Value::F64(_) if numbers => scratch.search_number(value).then_some(Form::Plain),
                Value::Object(raw) | Value::Array(raw) => {
                    if self.walker.walk(raw, &plan.places, plan.scope, &self.shared, scratch) {
                        event.set_at(i, json::value_of(self.walker.json()));
                    }
                    None
                }
                _ => None,
            };
            if let Some(form) = form {
                event.set_at(i, Value::Str(Str { bytes: &scratch.out, form }));
            }
        }
        if let Some((name, rules)) = &plan.rename {
            for &rule in rules {
                scratch.counts[usize::from(rule)] += 1;
            }
            event.rename_text_at(i, name);
        }
    }
}

/// Appends `text` with each `\uXXXX`, at whatever level of escaping, as the character it says, so that JSON in it means the
/// same as before.
///
/// Quotes and backslashes stay escaped by backslashes, line ends and tabs by their letters. Other control characters and
/// halves of pairs stay as they are.
fn undo_escapes(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &text[at..]) {
        let slash = at + found;
        out.extend_from_slice(&text[at..slash]);
        let slashes = text[slash..].iter().take_while(|&&b| b == b'\\').count();
        let mut end = slash + slashes;
        match escaped_char(text, end).filter(|_| (1..MAX_SLASHES).contains(&slashes)) {
            Some('"') => {
                out.extend(std::iter::repeat_n(b'\\', quotes_of(slashes)));
                out.push(b'"');
                end += 5;
            }
            Some('\\') => {
                out.extend(std::iter::repeat_n(b'\\', backslashes_of(slashes)));
                end += 5;
            }
            Some(c @ ('\n' | '\r' | '\t')) => {
                // White space of JSON has short escapes.
                out.extend(std::iter::repeat_n(b'\\', slashes));
                out.push(match c {
                    '\n' => b'n',
                    '\r' => b'r',
                    _ => b't',
                });
                end += 5;
            }
            Some(c) => {
                out.extend(std::iter::repeat_n(b'\\', letters_of(slashes)));
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                end += 5;
            }
            None => out.extend(std::iter::repeat_n(b'\\', slashes)),
        }
        at = end;
    }
    out.extend_from_slice(&text[at..]);
}

/// How many levels of escapes within escapes are undone.
const MAX_LEVELS: usize = 8;
/// More backslashes than this are no escape of JSON in JSON.
const MAX_SLASHES: usize = 256;

/// The character that `uXXXX` at `at` says; none where it is a control character or half of a pair.
fn escaped_char(text: &[u8], at: usize) -> Option<char> {
    let digits = text.get(at..at + 5)?.strip_prefix(b"u")?;
    let code = digits.iter().try_fold(0, |code, &b| Some(code * 16 + char::from(b).to_digit(16)?))?;
    char::from_u32(code).filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}

/// How many backslashes stand before a quote that says the same as `u0022` behind so many.
fn quotes_of(slashes: usize) -> usize {
    if slashes % 2 == 1 { slashes } else { 2 * quotes_of(slashes / 2) + 1 }
}

/// How many backslashes stand before a character that says the same as its `uXXXX` behind so many.
fn letters_of(slashes: usize) -> usize {
    if slashes % 2 == 1 { slashes - 1 } else { 2 * letters_of(slashes / 2) }
}

/// How many backslashes say the same as `u005c` behind so many.
fn backslashes_of(slashes: usize) -> usize {
    if slashes % 2 == 1 { slashes + 1 } else { 2 * backslashes_of(slashes / 2) }
}

/// Puts what stands in for a whole field into `scratch.out`; `false` for null, which says nothing and stays.
pub(super) fn replace_whole(shared: &Shared, whole: Whole, value: Value<'_>, scratch: &mut Scratch) -> bool {
    if value == Value::Null {
        return false;
    }
    let (action, counter) = shared.action(whole);
    scratch.text.clear();
    value.append_text(&mut scratch.text);
    scratch.out.clear();
    match (action, value) {
        // The end of an object says nothing.
        (Action::KeepLast(_), Value::Object(_) | Value::Array(_)) => Action::Mask.write(&[], &mut scratch.out),
        (action, _) => action.write(&scratch.text, &mut scratch.out),
    }
    scratch.counts[counter] += 1;
    true
}

impl Transform for Redact {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        for row in 0..batch.rows() {
            if batch.is_live(row) {
                self.event(batch, row);
            }
        }
        for (count, name) in self.scratch.counts.iter_mut().zip(&self.shared.names) {
            out.count_rule("redacted", name, std::mem::take(count));
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Self::of(self.shared.clone()))
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        self.tell(event, notes);
    }

    fn rules(&self) -> Vec<Rule> {
        self.deciding()
    }

    fn redacts(&self) -> bool {
        true
    }
}
