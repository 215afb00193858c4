//! `parse`: takes the text of a field apart, as `decode` of a source does with its frames.
//!
//! ```yaml
//! inner: {type: parse, inputs: [containers], from: message, decode: json}
//! line:  {type: parse, inputs: [web], decode: {regex: {pattern: '^(?<verb>\w+) (?<rest>.*)$'}}, into: request}
//! ```
//!
//! The fields found are set in the event itself, or in the object that `into` names; the field they came from stays,
//! unless one of them has its name. An event without that field, or where it is no text, passes as it is. Text that
//! cannot be taken apart: `on_error: keep` passes the event marked with `decode_error`, `reject` sends it to
//! `id.rejected`, `drop` drops it; counted in each case. Works on each event alone.

use crate::ack::Ack;
use crate::component::plan::TransformPlan;
use crate::component::trial::{alone, changes, tried, value_of_batch, value_of_event};
use crate::component::{BuildContext, Emitter, Notes, Rule, Transform};
use crate::decoding::{DecodeSetting, FrameDecoder, OnDecodeError};
use crate::error::BuildError;
use crate::event::{Batch, EventRef, FieldPath, Places, SlabPool, Sym, Value};
use crate::settings::{Reader, Spanned, config};

config! {
    /// Takes the text of a field apart: JSON, logfmt, syslog, access logs, patterns.
    pub struct ParseConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// The field whose text is taken apart.
        pub from: FieldPath = FieldPath::of_key("message"),
        /// How it is taken apart.
        pub decode: DecodeSetting,
        /// The object that takes the fields; the event itself where left out.
        pub into: Option<FieldPath>,
        /// What becomes of an event whose text cannot be taken apart.
        pub on_error: OnDecodeError = OnDecodeError::Keep,
    }
}

impl TransformPlan for ParseConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn outputs(&self) -> Vec<String> {
        if self.on_error == OnDecodeError::Reject { vec!["rejected".into()] } else { Vec::new() }
    }

    fn check(&self, cx: &mut Reader<'_>) {
        if let Some(path) = self.into.as_ref().filter(|path| path.meta().is_some()) {
            cx.error_at("into", format!("`into: {path}` is metadata, which cannot be set"));
        }
    }

    fn reads_times(&self) -> bool {
        self.decode.reads_times()
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let decoder = self.decode.build(&cx.timezone)?;
        Ok(Box::new(Parse {
            from: self.from,
            into: self.into,
            on_error: self.on_error,
            decoder,
            texts: SlabPool::new(TEXT_BYTES, 1),
            spans: Vec::new(),
            json: Vec::new(),
            places: Places::default(),
        }))
    }
}

/// Bytes of text of one batch that are kept for the next.
const TEXT_BYTES: usize = 256 << 10;

/// Fields that are looked for one by one; of more, the places are noted first.
const FEW: usize = 8;

/// The running transform.
struct Parse {
    from: FieldPath,
    into: Option<FieldPath>,
    on_error: OnDecodeError,
    decoder: Box<dyn FrameDecoder>,
    texts: SlabPool,
    /// Rows of the batch and where their texts are.
    spans: Vec<(usize, usize, usize)>,
    json: Vec<u8>,
    places: Places,
}

impl Transform for Parse {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let mut text = self.texts.take();
        self.spans.clear();
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            if let Some(Value::Str(value)) = batch.event(row).get(&self.from) {
                let start = text.len();
                value.append_text(&mut text);
                self.spans.push((row, start, text.len()));
            }
        }
        let text = self.texts.freeze(text);
        let mut found = Batch::recycled(text, batch.origin.clone(), batch.received_at, Ack::none());
        let mut errors = 0;
        for n in 0..self.spans.len() {
            let (row, start, end) = self.spans[n];
            let first = found.rows();
            match self.decoder.decode(&mut found, start, end, 0) {
                Ok(()) => {
                    if found.rows() > first {
                        self.take_over(batch, row, &found, first);
                    }
                }
                Err(why) => {
                    errors += 1;
                    if errors == 1 {
                        out.example("decode", &found.text()[start..end]);
                    }
                    match self.on_error {
                        OnDecodeError::Keep => batch.event_mut(row).set_field(Sym::DECODE_ERROR, Value::from(why)),
                        OnDecodeError::Reject => out.reject(batch, row, "decode", why),
                        OnDecodeError::Drop => {
                            batch.drop_row(row);
                            out.dropped("decode_error", 1);
                        }
                    }
                }
            }
        }
        out.error("decode", errors);
        found.recycle();
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Parse {
            from: self.from.clone(),
            into: self.into.clone(),
            on_error: self.on_error,
            decoder: self.decoder.fork(),
            texts: SlabPool::new(TEXT_BYTES, 1),
            spans: Vec::new(),
            json: Vec::new(),
            places: Places::default(),
        })
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        if !matches!(event.get(&self.from), Some(Value::Str(_))) {
            notes.say(format!("there is no text at `{}`: passes as it is", self.from));
            return;
        }
        let found = tried(&mut *self.fork(), alone(event));
        if found.delta.errors.is_empty() {
            let after = value_of_batch(&found.batch).unwrap_or_default();
            let set: Vec<String> =
                changes(&value_of_event(event), &after).iter().map(|change| format!("`{}`", change.place())).collect();
            let what = if set.is_empty() { "changes nothing".to_owned() } else { format!("gives {}", set.join(", ")) };
            notes.hit(Rule::at(&["decode"]), format!("the text of `{}` is taken apart: {what}", self.from));
            return;
        }
        let fate = match self.on_error {
            OnDecodeError::Keep => "passes, marked with `decode_error`",
            OnDecodeError::Reject => "goes to `rejected` (decode)",
            OnDecodeError::Drop => "dropped (decode_error)",
        };
        notes.hit(Rule::at(&["on_error"]), format!("the text of `{}` cannot be taken apart: {fate}", self.from));
    }

    fn rules(&self) -> Vec<Rule> {
        vec![Rule::at(&["decode"])]
    }
}

impl Parse {
    /// Sets what was found in row `from` of `found`.
    fn take_over(&mut self, batch: &mut Batch, row: usize, found: &Batch, from: usize) {
        let fields = found.event(from);
        if let Some(into) = &self.into {
            self.json.clear();
            fields.write_json(&mut self.json);
            batch.event_mut(row).set(into, Value::Object(self.json.trim_ascii()));
            return;
        }
        let by_place = fields.len() > FEW;
        if by_place {
            self.places.look(batch.event(row));
        }
        for i in 0..fields.len() {
            let value = fields.value_at(i);
            if let Some(key) = fields.key_at(i) {
                match by_place {
                    true => self.places.set(&mut batch.event_mut(row), key, value),
                    false => batch.event_mut(row).set_field(key, value),
                }
                continue;
            }
            // A name that the table of names has no room for.
            let name = fields.key_text_at(i);
            let known = (0..batch.event(row).len()).rev().find(|i| batch.event(row).key_text_at(*i) == name);
            match known {
                Some(i) => batch.event_mut(row).set_at(i, value),
                None => {
                    batch.event_mut(row).push_text(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::harness::{build, plan, run};
    use super::*;

    fn parsed(settings: &str, lines: &[&str]) -> Vec<String> {
        let mut transform = build::<ParseConfig>(&format!("inputs: [x]\n{settings}")).unwrap();
        let first = run(&mut *transform, lines).out;
        // Tables and texts are used again, and by forks.
        assert_eq!(run(&mut *transform, lines).out, first);
        assert_eq!(run(&mut *transform.fork(), lines).out, first);
        first
    }

    #[test]
    fn fields_are_set_in_the_event_or_in_an_object() {
        assert_eq!(
            parsed("decode: json", &[r#"{"message":"{\"a\":1.10,\"k\":\"\\u00e9\",\"message\":\"m\"}","k":0}"#]),
            [r#"{"message":"m","k":"\u00e9","a":1.10}"#]
        );
        assert_eq!(
            parsed("from: a.b\ninto: c.d\ndecode: logfmt", &[r#"{"a":{"b":"x=1 y=\"q q\" z"}}"#]),
            [r#"{"a":{"b":"x=1 y=\"q q\" z"},"c":{"d":{"x":"1","y":"q q","z":true}}}"#]
        );
        assert_eq!(
            parsed(
                "decode: {regex: {pattern: '(?<n>\\d+) (?<w>\\w+)'}}",
                &[r#"{"message":"5 x"}"#, r#"{"message":"7 yy"}"#]
            ),
            [r#"{"message":"5 x","n":"5","w":"x"}"#, r#"{"message":"7 yy","n":"7","w":"yy"}"#]
        );
    }

    #[test]
    fn events_without_text_pass_as_they_are() {
        let lines = ["{}", r#"{"message":{"a":1}}"#, r#"{"message":null}"#];
        assert_eq!(parsed("decode: json", &lines), lines);
    }

    #[test]
    fn what_cannot_be_taken_apart_goes_as_it_is_told() {
        let lines = [r#"{"message":"nope"}"#, r#"{"message":"{}"}"#];
        let ran = |on_error: &str| {
            run(
                &mut *build::<ParseConfig>(&format!("inputs: [x]\ndecode: json\non_error: {on_error}")).unwrap(),
                &lines,
            )
        };
        let kept = ran("keep");
        assert_eq!(kept.out, [r#"{"message":"nope","decode_error":"not valid JSON"}"#, lines[1]]);
        assert_eq!(kept.errors("decode"), 1);
        let rejected = ran("reject");
        assert_eq!(rejected.out, lines[1..]);
        assert!(rejected.rejected[0].contains(r#""reason":"decode","detail":"not valid JSON""#));
        assert_eq!(ran("drop").dropped("decode_error"), 1);
    }

    #[test]
    fn mistakes_are_found_when_the_file_is_read() {
        assert!(plan::<ParseConfig>("inputs: [x]\nfrom: a").err().unwrap().contains("`decode`"));
        assert!(plan::<ParseConfig>("inputs: [x]\ndecode: json\ninto: '@file'").err().unwrap().contains("metadata"));
    }
}
