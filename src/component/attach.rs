//! Metadata copied into fields.

use crate::event::{Batch, FieldPath, Sym, Value};

/// Copies metadata into fields, as `attach: [file, host]` asks.
pub fn attach(batch: &mut Batch, attach: &[(FieldPath, Sym)]) {
    if attach.is_empty() {
        return;
    }
    let mut text = Vec::new();
    for row in 0..batch.rows() {
        if !batch.is_live(row) {
            continue;
        }
        for (path, field) in attach {
            text.clear();
            match batch.event(row).get(path) {
                None => continue,
                Some(Value::I64(n)) => {
                    batch.event_mut(row).set_field(*field, Value::I64(n));
                    continue;
                }
                Some(value) => value.append_text(&mut text),
            }
            batch.event_mut(row).set_field(*field, Value::from(&text[..]));
        }
    }
}
