//! `json_schema`: events against a JSON Schema.

use std::io::Read;
use std::path::Path;

use super::finding::{Findings, Severity};
use crate::error::BuildError;
use crate::event::EventRef;

/// Largest schema file.
const MAX_SCHEMA_BYTES: u64 = 4 << 20;
/// Most violations reported of one event: a schema of many branches finds very many.
const MAX_VIOLATIONS: usize = 16;

/// A compiled schema.
pub(super) struct JsonSchema {
    validator: jsonschema::Validator,
}

impl JsonSchema {
    /// Reads and compiles a schema.
    ///
    /// Errors: what is wrong with the file, with its path.
    pub(super) fn load(path: &Path) -> Result<JsonSchema, BuildError> {
        let shown = path.display();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SCHEMA_BYTES + 1).read_to_string(&mut text))
            .map_err(|e| BuildError(format!("cannot read the JSON schema {shown}: {e}")))?;
        if text.len() as u64 > MAX_SCHEMA_BYTES {
            return Err(BuildError(format!("the JSON schema {shown} is larger than {} MiB", MAX_SCHEMA_BYTES >> 20)));
        }
        let schema: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| BuildError(format!("{shown} is not JSON: {e}")))?;
        match jsonschema::validator_for(&schema) {
            Ok(validator) => Ok(JsonSchema { validator }),
            Err(e) => Err(BuildError(format!("{shown} is not a JSON schema: {e}, at `{}`", e.instance_path()))),
        }
    }

    /// Notes how an event violates the schema. Values are not repeated: they may be long, or secret.
    pub(super) fn judge(&self, event: EventRef<'_>, findings: &mut Findings, text: &mut Vec<u8>) {
        text.clear();
        event.write_json(text);
        let rule = findings.last_rule();
        let instance: serde_json::Value = match serde_json::from_slice(text) {
            Ok(instance) => instance,
            Err(e) => return findings.add(Severity::Error, rule, &format!("cannot be judged: {e}")),
        };
        if self.validator.is_valid(&instance) {
            return;
        }
        for violation in self.validator.iter_errors(&instance).take(MAX_VIOLATIONS) {
            let path = violation.instance_path().to_string();
            let message = match path.as_str() {
                "" => violation.masked_with("the event").to_string(),
                path => format!("{path}: {}", violation.masked()),
            };
            findings.add(Severity::Error, rule, &message);
        }
    }
}
