//! `edit`: renames, copies, sets, removes and converts fields.
//!
//! ```yaml
//! tidy:
//!   type: edit
//!   inputs: [app]
//!   rename: {msg: message, "http.ua": userAgent}
//!   copy: {traceId: trace.id}
//!   set: {env: prod, title: "{{ method }} {{ path | default(\"/\") }}"}
//!   remove: [debug, request.cookies]
//!   convert: {duration: float, status: integer, at: timestamp}
//! ```
//!
//! Runs in that order, whatever the order of the keys; within one, as written. A field that is absent is neither renamed,
//! copied, removed nor converted. What is there under the new name is replaced. What cannot be done (a value that
//! is not a number, a way through something that is no object) leaves the event as it was and is counted (`convert`,
//! `edit_target`); only a template in `set` whose field is absent sends the event to `id.rejected`.

use super::assignments::{Assignments, FieldValue, Work, check_names, may_reject};
use crate::component::plan::TransformPlan;
use crate::component::trial::{alone, changes, tried, value_of_batch};
use crate::component::{BuildContext, Emitter, Notes, Rule, Transform};
use crate::condition::value_of;
use crate::error::BuildError;
use crate::event::{Batch, EventRef, FieldPath, Meta, Value, json};
use crate::settings::{Map, Reader, Spanned, config, config_enum};
use crate::time::{TimestampReader, Zone, write_rfc3339_utc};
use std::sync::Arc;

config_enum! {
    /// What a value is converted to.
    pub enum Conversion {
        /// Its text; objects and arrays as JSON.
        String = "string",
        /// A whole number, from its text.
        Integer = "integer",
        /// A number, from its text.
        Float = "float",
        /// `true`, `yes`, `on`, `1` and their opposites, in any case.
        Boolean = "boolean",
        /// RFC 3339 in UTC, from any spelling that `normalize` reads.
        Timestamp = "timestamp",
        /// The value that its text is as JSON.
        Json = "json",
    }
}

config! {
    /// Renames, copies, sets, removes and converts fields, in this order.
    pub struct EditConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// Fields and their new names.
        pub rename: Map<FieldPath> = Map::default(),
        /// Fields and where their values are copied to.
        pub copy: Map<FieldPath> = Map::default(),
        /// Fields and what they are set to: constants of any form, and templates.
        pub set: Map<FieldValue> = Map::default(),
        /// Fields to remove.
        pub remove: Vec<FieldPath> = Vec::new(),
        /// Fields and what they are converted to.
        pub convert: Map<Conversion> = Map::default(),
    }
}

impl TransformPlan for EditConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn outputs(&self) -> Vec<String> {
        if may_reject(&self.set) { vec!["rejected".into()] } else { Vec::new() }
    }

    fn check(&self, cx: &mut Reader<'_>) {
        check_names(&self.set, cx);
        for (name, to) in self.rename.0.iter().chain(&self.copy.0) {
            check_path(name, cx);
            if let Ok(from) = FieldPath::parse(&name.value) {
                cx.asks(Meta::names_in([&from]));
            }
            if to.meta().is_some() {
                cx.error(name.span, format!("`{to}` is metadata, which cannot be set"));
            }
        }
        for (name, _) in &self.convert.0 {
            check_path(name, cx);
        }
        for (name, _) in self.rename.0.iter().filter(|(name, _)| name.value.starts_with('@')) {
            cx.error(name.span, format!("`{}` is metadata, which can be copied but not renamed", name.value));
        }
    }

    fn reads_times(&self) -> bool {
        true
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let path =
            |text: &str| FieldPath::parse(text).map_err(|error| BuildError::config(format!("`{text}`: {error}")));
        let pairs = |map: &Map<FieldPath>| {
            map.0.iter().map(|(from, to)| Ok((path(&from.value)?, to.clone()))).collect::<Result<Vec<_>, BuildError>>()
        };
        let (top, deep): (Vec<&FieldPath>, Vec<&FieldPath>) =
            self.remove.iter().partition(|path| path.first().is_some() && path.rest().is_empty());
        let mut remove_keys = Vec::new();
        for key in top.iter().filter_map(|path| path.first()) {
            remove_keys.resize(remove_keys.len().max(key.index() + 1), false);
            remove_keys[key.index()] = true;
        }
        let convert = self.convert.0.iter().map(|(name, to)| Ok((path(&name.value)?, *to)));
        Ok(Box::new(Edit {
            shared: Arc::new(Shared {
                rename: pairs(&self.rename)?,
                copy: pairs(&self.copy)?,
                set: Assignments::of(&self.set)?,
                remove_keys,
                remove: deep.into_iter().cloned().collect(),
                removed: self.remove.clone(),
                convert: convert.collect::<Result<_, BuildError>>()?,
                times: TimestampReader::new(Zone::from_jiff(cx.timezone.clone()), Vec::new()),
            }),
            text: Vec::new(),
            work: Work::default(),
            scanner: json::Scanner::default(),
        }))
    }
}

fn check_path(name: &Spanned<String>, cx: &mut Reader<'_>) {
    if let Err(error) = FieldPath::parse(&name.value) {
        cx.error(name.span, format!("`{}` is not a field path: {error}", name.value));
    }
}

/// What is to be done, shared by all workers.
struct Shared {
    rename: Vec<(FieldPath, FieldPath)>,
    copy: Vec<(FieldPath, FieldPath)>,
    set: Assignments,
    /// By number of symbol: fields at the top that go.
    remove_keys: Vec<bool>,
    /// Other paths that go.
    remove: Vec<FieldPath>,
    /// Both, as written.
    removed: Vec<FieldPath>,
    convert: Vec<(FieldPath, Conversion)>,
    times: TimestampReader,
}

/// The running transform.
struct Edit {
    shared: Arc<Shared>,
    text: Vec<u8>,
    work: Work,
    scanner: json::Scanner,
}

impl Transform for Edit {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let shared = self.shared.clone();
        if shared.set.may_reject() {
            out.keep_originals(batch);
        }
        let mut occupied = 0;
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            for (from, to) in &shared.rename {
                occupied += u64::from(!self.rename(batch, row, from, to));
            }
            for (from, to) in &shared.copy {
                if self.hold(batch, row, from) {
                    occupied += u64::from(!batch.event_mut(row).set(to, json::value_of(&self.text)));
                }
            }
        }
        if !shared.set.is_empty() {
            shared.set.apply(batch, &mut self.work, "edit_target", out);
        }
        let mut failed = 0;
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            if !shared.remove_keys.is_empty() {
                batch
                    .event_mut(row)
                    .remove_fields(|key| key.is_some_and(|key| shared.remove_keys.get(key.index()) == Some(&true)));
            }
            for path in &shared.remove {
                batch.event_mut(row).remove(path);
            }
            for (path, to) in &shared.convert {
                failed += u64::from(!self.convert(batch, row, path, *to));
            }
        }
        out.error("edit_target", occupied);
        out.error("convert", failed);
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Edit {
            shared: self.shared.clone(),
            text: Vec::new(),
            work: Work::default(),
            scanner: json::Scanner::default(),
        })
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        self.tell(event, notes);
    }

    fn rules(&self) -> Vec<Rule> {
        let shared = &self.shared;
        let pairs = |key: &'static str, list: &[(FieldPath, FieldPath)]| -> Vec<Rule> {
            list.iter().map(|(from, _)| Rule::at(&[key, from.text()])).collect()
        };
        let mut out = pairs("rename", &shared.rename);
        out.extend(pairs("copy", &shared.copy));
        out.extend(shared.set.names().map(|name| Rule::at(&["set", name])));
        out.extend(Rule::each("remove", shared.removed.len()));
        out.extend(shared.convert.iter().map(|(path, _)| Rule::at(&["convert", path.text()])));
        out
    }
}

impl Edit {
    /// The transform that does one step alone.
    fn only(&self, step: impl FnOnce(&mut Shared)) -> Edit {
        let mut shared = Shared {
            rename: Vec::new(),
            copy: Vec::new(),
            set: Assignments::default(),
            remove_keys: Vec::new(),
            remove: Vec::new(),
            removed: Vec::new(),
            convert: Vec::new(),
            times: self.shared.times.clone(),
        };
        step(&mut shared);
        let (work, scanner) = (Work::default(), json::Scanner::default());
        Edit { shared: Arc::new(shared), text: Vec::new(), work, scanner }
    }

    /// Does to a copy of the event what is to be done, step by step, and tells what each comes to.
    fn tell(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let (shared, row) = (self.shared.clone(), event.row());
        let mut batch = alone(event);
        // What is left, and whether it was done.
        let take = |batch: &mut Batch, mut step: Edit| {
            let made = tried(&mut step, std::mem::replace(batch, event.batch().sibling()));
            *batch = made.batch;
            made.delta.errors.is_empty()
        };
        let occupied = |done: bool, to: &FieldPath| match done {
            true => String::new(),
            false => format!(": not done (edit_target), something on the way to `{to}` is no object"),
        };
        for pair @ (from, to) in &shared.rename {
            if batch.event(row).get(from).is_some() {
                let done = take(&mut batch, self.only(|only| only.rename.push(pair.clone())));
                let text = format!("`{from}` is called `{to}`{}", occupied(done, to));
                notes.hit(Rule::at(&["rename", from.text()]), text);
            }
        }
        for pair @ (from, to) in &shared.copy {
            if batch.event(row).get(from).is_some() {
                let done = take(&mut batch, self.only(|only| only.copy.push(pair.clone())));
                let text = format!("`{from}` is copied to `{to}`{}", occupied(done, to));
                notes.hit(Rule::at(&["copy", from.text()]), text);
            }
        }
        if !shared.set.is_empty() {
            let before = value_of_batch(&batch).unwrap_or_default();
            take(&mut batch, self.only(|only| only.set = shared.set.clone()));
            if !batch.is_live(row) {
                return notes.say("a template needs a field that the event has not: goes to `rejected` (template)");
            }
            self.tell_set(&before, &value_of_batch(&batch).unwrap_or_default(), notes);
        }
        for (n, path) in shared.removed.iter().enumerate() {
            if batch.event(row).get(path).is_some() {
                take(&mut batch, self.only(|only| only.remove.push(path.clone())));
                notes.hit(Rule::at(&["remove", &format!("[{n}]")]), format!("`{path}` is removed"));
            }
        }
        for pair @ (path, _) in &shared.convert {
            let Some(before) = value_of(batch.event(row), path) else { continue };
            let done = take(&mut batch, self.only(|only| only.convert.push(pair.clone())));
            let after = value_of(batch.event(row), path).unwrap_or_default();
            let text = match done {
                true => format!("`{path}` is converted: {before} becomes {after}"),
                false => format!("`{path}` cannot be converted (convert): {before} stays"),
            };
            notes.hit(Rule::at(&["convert", path.text()]), text);
        }
    }

    /// Tells what was set.
    fn tell_set(&self, before: &serde_json::Value, after: &serde_json::Value, notes: &mut Notes) {
        let found = changes(before, after);
        for name in self.shared.set.names() {
            let own = found.iter().filter(|change| {
                let place = change.place();
                place == *name || place.starts_with(&format!("{name}.")) || name.starts_with(&format!("{place}."))
            });
            let to = |change: &crate::component::trial::Change| {
                Some(format!("`{}` is set to {}", change.place(), change.shown()?))
            };
            let to: Vec<String> = own.filter_map(to).collect();
            let text =
                if to.is_empty() { format!("`{name}` has that value already, or no place") } else { to.join(", ") };
            notes.hit(Rule::at(&["set", name]), text);
        }
    }

    /// Puts the value at `path` into `text`, as JSON; `false` where there is none.
    fn hold(&mut self, batch: &Batch, row: usize, path: &FieldPath) -> bool {
        self.text.clear();
        batch.event(row).get(path).map(|value| value.append_json(&mut self.text)).is_some()
    }

    /// `false` where the new place cannot be written; then nothing was changed.
    fn rename(&mut self, batch: &mut Batch, row: usize, from: &FieldPath, to: &FieldPath) -> bool {
        if from == to {
            return true;
        }
        // A literal dotted key at the top is taken before the way into objects.
        let event = batch.event(row);
        let place = match from.whole().and_then(|whole| event.position(whole)) {
            Some(place) => Some(place),
            None if from.rest().is_empty() => from.first().and_then(|first| event.position(first)),
            None => None,
        };
        if let (Some(place), Some(to), true) = (place, to.first(), to.rest().is_empty()) {
            // Top level to top level: the field stays where it is. Others of either name go.
            let old = batch.event(row).key_at(place);
            batch.event_mut(row).rename_at(place, to);
            for i in (0..batch.event(row).len()).rev() {
                let key = batch.event(row).key_at(i);
                if i != place && (key == Some(to) || key == old) {
                    batch.event_mut(row).remove_at(i);
                }
            }
            return true;
        }
        if !self.hold(batch, row, from) {
            return true;
        }
        if !batch.event_mut(row).set(to, json::value_of(&self.text)) {
            return false;
        }
        batch.event_mut(row).remove(from);
        true
    }

    /// `false` where there is a value that cannot be converted; it is left as it is.
    fn convert(&mut self, batch: &mut Batch, row: usize, path: &FieldPath, to: Conversion) -> bool {
        let now = batch.received_at;
        let Some(value) = batch.event(row).get(path) else { return true };
        let text = &mut self.text;
        text.clear();
        let scalar = !matches!(value, Value::Null | Value::Object(_) | Value::Array(_));
        match to {
            Conversion::String if matches!(value, Value::Str(_)) => return true,
            Conversion::String => value.append_text(text),
            Conversion::Integer | Conversion::Float if !scalar => return false,
            Conversion::Boolean if matches!(value, Value::Bool(_)) => return true,
            Conversion::Boolean | Conversion::Timestamp if !scalar => return false,
            Conversion::Json if !matches!(value, Value::Str(_)) => return true,
            _ => value.append_text(text),
        }
        let text = text.trim_ascii();
        let new = match to {
            Conversion::String => Value::from(&*self.text),
            Conversion::Integer => match integer(text) {
                Some(value) => value,
                None => return false,
            },
            Conversion::Float => match float(text) {
                Some(value) => value,
                None => return false,
            },
            Conversion::Boolean => match boolean(text) {
                Some(value) => Value::Bool(value),
                None => return false,
            },
            Conversion::Timestamp => {
                let Some(stamp) = self.shared.times.read(text, now) else { return false };
                self.text.clear();
                write_rfc3339_utc(stamp.ns, stamp.digits.max(3), &mut self.text);
                Value::from(&*self.text)
            }
            Conversion::Json => {
                if text.is_empty() || !self.scanner.is_valid(text) {
                    return false;
                }
                json::value_of(text)
            }
        };
        batch.event_mut(row).set(path, new)
    }
}

/// A whole number in its own spelling, or one that is written with a fraction of zeros.
fn integer(text: &[u8]) -> Option<Value<'_>> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if json::is_number(text) && digits.iter().all(u8::is_ascii_digit) {
        return Some(Value::Number(text));
    }
    let bare = text.strip_prefix(b"+").unwrap_or(text);
    if let Some(n) = std::str::from_utf8(bare).ok().and_then(|text| text.parse::<i64>().ok()) {
        return Some(Value::I64(n));
    }
    let n: f64 = std::str::from_utf8(bare).ok()?.parse().ok()?;
    // Beyond 2^53 a double does not tell whole numbers apart.
    (n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0).then_some(Value::I64(n as i64))
}

/// A finite number, in its own spelling where JSON has it.
fn float(text: &[u8]) -> Option<Value<'_>> {
    if json::is_number(text) {
        return Some(Value::Number(text));
    }
    let n: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    n.is_finite().then_some(Value::F64(n))
}

fn boolean(text: &[u8]) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    match () {
        () if is(&["true", "yes", "on", "t", "y", "1"]) => Some(true),
        () if is(&["false", "no", "off", "f", "n", "0"]) => Some(false),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::harness::{build, plan, run};
    use super::*;

    fn edited(settings: &str, line: &str) -> String {
        let ran = run(&mut *build::<EditConfig>(&format!("inputs: [x]\n{settings}")).unwrap(), &[line]);
        assert_eq!(ran.delta.errors, []);
        ran.out.into_iter().next().unwrap()
    }

    #[test]
    fn fields_are_renamed_in_place_and_what_was_there_goes() {
        assert_eq!(edited("rename: {b: x}", r#"{"a":1,"b":1.10,"c":3}"#), r#"{"a":1,"x":1.10,"c":3}"#);
        assert_eq!(edited("rename: {b: c}", r#"{"a":1,"b":2,"c":3}"#), r#"{"a":1,"c":2}"#);
        assert_eq!(edited("rename: {b: x}", r#"{"b":1,"b":2}"#), r#"{"x":2}"#);
        assert_eq!(edited("rename: {b: b}", r#"{"b":1}"#), r#"{"b":1}"#);
        assert_eq!(edited("rename: {n: x}", r#"{"b":1}"#), r#"{"b":1}"#);
    }

    #[test]
    fn paths_reach_into_objects() {
        assert_eq!(edited("rename: {a.b: c}", r#"{"a":{"b":[1],"d":2}}"#), r#"{"a":{"d":2},"c":[1]}"#);
        assert_eq!(edited("rename: {a.b: c}", r#"{"a.b":1}"#), r#"{"c":1}"#);
        assert_eq!(edited("rename: {c: a.e.f}", r#"{"a":{"d":2},"c":"x\ty"}"#), r#"{"a":{"d":2,"e":{"f":"x\ty"}}}"#);
        assert_eq!(edited("copy: {a.b: c, '@source': src}", r#"{"a":{"b":1}}"#), r#"{"a":{"b":1},"c":1,"src":"s"}"#);
        assert_eq!(edited("remove: [a.b, c, none.x]", r#"{"a":{"b":1},"c":2,"d":3}"#), r#"{"a":{},"d":3}"#);
    }

    #[test]
    fn the_steps_run_in_their_order() {
        let settings =
            "convert: {n: integer}\nremove: [old]\nset: {n: '{{ b }}1', k: [1]}\ncopy: {b: old}\nrename: {a: b}";
        assert_eq!(edited(settings, r#"{"a":"4"}"#), r#"{"b":"4","n":41,"k":[1]}"#);
    }

    #[test]
    fn values_are_converted_and_numbers_keep_their_spelling() {
        let cases = [
            ("string", r#"1.10"#, r#""1.10""#),
            ("string", r#"{"a":1}"#, r#""{\"a\":1}""#),
            ("integer", r#"" 12345678901234567890 ""#, "12345678901234567890"),
            ("integer", r#""+7""#, "7"),
            ("integer", r#""007""#, "7"),
            ("integer", r#"5.0"#, "5"),
            ("float", r#""1.10""#, "1.10"),
            ("float", r#"".5""#, "0.5"),
            ("boolean", r#""Yes""#, "true"),
            ("boolean", r#"0"#, "false"),
            ("timestamp", r#"1750000000"#, r#""2025-06-15T15:06:40.000Z""#),
            ("timestamp", r#""2025-06-15T17:06:40.123456+02:00""#, r#""2025-06-15T15:06:40.123456Z""#),
            ("json", r#""{\"a\": [1, \"\\u00e9\"]}""#, r#"{"a": [1, "\u00e9"]}"#),
            ("json", r#""[1]""#, "[1]"),
            ("json", r#"{"a":1}"#, r#"{"a":1}"#),
        ];
        for (to, value, want) in cases {
            assert_eq!(
                edited(&format!("convert: {{v: {to}}}"), &format!(r#"{{"v":{value}}}"#)),
                format!(r#"{{"v":{want}}}"#),
                "{to}"
            );
        }
    }

    #[test]
    fn what_cannot_be_converted_is_left_and_counted() {
        for (to, value) in [
            ("integer", r#""x""#),
            ("integer", "1.5"),
            ("integer", "null"),
            ("float", r#""NaN""#),
            ("float", "[1]"),
            ("boolean", r#""maybe""#),
            ("timestamp", r#""soon""#),
            ("json", r#""{""#),
        ] {
            let line = format!(r#"{{"v":{value}}}"#);
            let ran = run(
                &mut *build::<EditConfig>(&format!("inputs: [x]\nconvert: {{v: {to}, none: integer}}")).unwrap(),
                &[&line],
            );
            assert_eq!((ran.out[0].as_str(), ran.errors("convert")), (line.as_str(), 1), "{to}");
        }
    }

    #[test]
    fn what_has_no_place_is_left_and_counted() {
        let mut transform = build::<EditConfig>("inputs: [x]\nrename: {a: b.c}\ncopy: {a: b.d}").unwrap();
        let ran = run(&mut *transform, &[r#"{"a":1,"b":2}"#]);
        assert_eq!((ran.out[0].as_str(), ran.errors("edit_target")), (r#"{"a":1,"b":2}"#, 2));
    }

    #[test]
    fn an_absent_field_of_a_template_rejects() {
        let ran = run(&mut *build::<EditConfig>("inputs: [x]\nset: {b: '{{ a }}'}").unwrap(), &["{}"]);
        assert!(ran.out.is_empty() && ran.rejected[0].contains("template"));
    }

    #[test]
    fn mistakes_are_found_when_the_file_is_read() {
        let report = plan::<EditConfig>(
            "inputs: [x]\nrename: {'a..b': c, '@file': d}\ncopy: {a: '@host'}\nset: {'b.': 1}\nconvert: {n: integre}",
        )
        .err()
        .unwrap();
        assert!(report.contains("did you mean `integer`"), "{report}");
        let report =
            plan::<EditConfig>("inputs: [x]\nrename: {'a..b': c, '@file': d}\ncopy: {a: '@host'}\nset: {'b.': 1}")
                .err()
                .unwrap();
        for part in ["`a..b` is not a field path", "not renamed", "`@host` is metadata", "`b.` is not a field path"] {
            assert!(report.contains(part), "{part}\n{report}");
        }
    }
}
