//! Fields to set: constants and templates, as `enrich: {fields: …}` and `edit: {set: …}` take them.

use std::sync::Arc;

use crate::component::Emitter;
use crate::error::BuildError;
use crate::event::{Batch, FieldPath, Places, Value, json};
use crate::settings::{Map, Node, Reader, SchemaBuilder, Setting};
use crate::template::Template;

/// A constant, or a template.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// The same for every event, as JSON.
    Constant(serde_json::Value),
    /// Text with values in it.
    Template(Template),
    /// Members, each a constant or a template.
    Members(Vec<(String, FieldValue)>),
}

impl Setting for FieldValue {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        if let Some(entries) = node.as_map().filter(|entries| !entries.is_empty()) {
            let members = entries.iter().map(|entry| {
                cx.under(entry, |cx| FieldValue::read(&entry.value, cx)).map(|value| (entry.key.clone(), value))
            });
            return members.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(FieldValue::Members);
        }
        if node.as_str().is_some_and(|text| text.contains("{{")) {
            let template = Template::read(node, cx)?;
            return Some(match template.as_literal() {
                Some(text) => FieldValue::Constant(text.into()),
                None => FieldValue::Template(template),
            });
        }
        serde_json::Value::read(node, cx).map(FieldValue::Constant)
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::Value::schema(g)
    }

    fn describe() -> String {
        "a constant of any form, or a template".into()
    }

    fn default_text(&self) -> Option<String> {
        None
    }

    fn accepts(_: &Node) -> bool {
        true
    }
}

impl FieldValue {
    /// Whether an event may lack what it needs.
    fn may_fail(&self) -> bool {
        match self {
            FieldValue::Constant(_) => false,
            FieldValue::Template(_) => true,
            FieldValue::Members(members) => members.iter().any(|(_, value)| value.may_fail()),
        }
    }

    fn steps(&self, path: &str, steps: &mut Vec<(FieldPath, Filling)>) -> Result<(), BuildError> {
        let filling = match self {
            FieldValue::Constant(value) => Filling::Constant(value.to_string().into()),
            FieldValue::Template(template) => Filling::Template(template.clone()),
            FieldValue::Members(members) => {
                for (name, value) in members {
                    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
                    value.steps(&format!("{path}.\"{name}\""), steps)?;
                }
                return Ok(());
            }
        };
        let path = FieldPath::parse(path).map_err(|error| BuildError::config(format!("`{path}`: {error}")))?;
        steps.push((path, filling));
        Ok(())
    }
}

/// Whether a template's field may be absent, which sends an event to `rejected`.
pub(super) fn may_reject(fields: &Map<FieldValue>) -> bool {
    fields.0.iter().any(|(_, value)| value.may_fail())
}

/// Notes names that are no paths of fields.
pub(super) fn check_names(fields: &Map<FieldValue>, cx: &mut Reader<'_>) {
    for (name, _) in &fields.0 {
        match FieldPath::parse(&name.value) {
            Ok(path) if path.meta().is_some() => {
                cx.error(name.span, format!("`{}` is metadata, which cannot be set", name.value));
            }
            Ok(_) => {}
            Err(error) => {
                cx.error(name.span, format!("`{}` is not a field path: {error}", name.value));
            }
        }
    }
}

/// Fields that are looked for one by one; of more, the places are noted first.
const FEW: usize = 8;

/// Work space of [`Assignments::apply`], kept between batches.
#[derive(Default)]
pub(super) struct Work {
    /// What a template gave.
    text: Vec<u8>,
    places: Places,
}

/// Fields and what they are set to, in written order.
#[derive(Debug, Clone, Default)]
pub(super) struct Assignments(Arc<[(FieldPath, Filling)]>, Arc<[String]>);

#[derive(Debug)]
enum Filling {
    /// Ready-made JSON.
    Constant(Box<str>),
    Template(Template),
}

impl Assignments {
    /// Errors: a name that [`check_names`] would have noted.
    pub(super) fn of(fields: &Map<FieldValue>) -> Result<Assignments, BuildError> {
        let mut fillings = Vec::new();
        for (name, value) in &fields.0 {
            value.steps(&name.value, &mut fillings)?;
        }
        Ok(Assignments(fillings.into(), fields.names().map(str::to_owned).collect()))
    }

    /// The names of the fields, as written.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.1.iter().map(String::as_str)
    }

    /// Whether there is nothing to set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an event may lack what is to be assigned.
    pub(super) fn may_reject(&self) -> bool {
        self.0.iter().any(|(_, filling)| matches!(filling, Filling::Template(_)))
    }

    /// Sets the fields of every event of a batch; what cannot be set, because something on the way to it is no object,
    /// is counted as `kind`. An event that lacks what a template needs is rejected.
    pub(super) fn apply(&self, batch: &mut Batch, work: &mut Work, kind: &'static str, out: &mut Emitter<'_>) {
        let Work { text, places } = work;
        let mut occupied = 0;
        let by_place = self.0.len() > FEW;
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            if by_place {
                places.look(batch.event(row));
            }
            let mut set = |batch: &mut Batch, path: &FieldPath, value: Value<'_>| match path.first() {
                Some(key) if by_place && path.rest().is_empty() => {
                    places.set(&mut batch.event_mut(row), key, value);
                    true
                }
                _ => {
                    let before = batch.event(row).len();
                    let done = batch.event_mut(row).set(path, value);
                    if by_place && batch.event(row).len() != before {
                        places.look(batch.event(row));
                    }
                    done
                }
            };
            for (path, filling) in &*self.0 {
                let done = match filling {
                    Filling::Constant(text) => set(batch, path, json::value_of(text.as_bytes())),
                    Filling::Template(template) => {
                        text.clear();
                        if let Err(missing) = template.render(batch.event(row), text) {
                            let detail = missing.to_string();
                            out.reject(batch, row, "template", &detail);
                            break;
                        }
                        set(batch, path, Value::from(&**text))
                    }
                };
                occupied += u64::from(!done);
            }
        }
        out.error(kind, occupied);
    }
}
