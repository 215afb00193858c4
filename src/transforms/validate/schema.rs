//! `json_schema`: events against a JSON Schema.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::finding::{Findings, Severity};
use crate::error::BuildError;
use crate::event::EventRef;

/// Largest schema file.
const MAX_SCHEMA_BYTES: u64 = 4 << 20;
/// Most violations reported of one event: a schema of many branches finds very many.
const MAX_VIOLATIONS: usize = 16;

/// Why a file cannot be used as a schema.
#[derive(Debug)]
pub(super) enum SchemaError {
    /// It cannot be read.
    Read(PathBuf, std::io::Error),
    /// It is too large.
    TooLarge(PathBuf),
    /// It is not JSON.
    NotJson(PathBuf, serde_json::Error),
    /// It is JSON and not a schema: why, and where.
    NotSchema(PathBuf, String),
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaError::Read(path, _) => write!(f, "cannot read the JSON schema {}", path.display()),
            SchemaError::TooLarge(path) => {
                write!(f, "the JSON schema {} is larger than {} MiB", path.display(), MAX_SCHEMA_BYTES >> 20)
            }
            SchemaError::NotJson(path, _) => write!(f, "{} is not JSON", path.display()),
            SchemaError::NotSchema(path, why) => write!(f, "{} is not a JSON schema: {why}", path.display()),
        }
    }
}

impl std::error::Error for SchemaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SchemaError::Read(_, source) => Some(source),
            SchemaError::NotJson(_, source) => Some(source),
            SchemaError::TooLarge(_) | SchemaError::NotSchema(..) => None,
        }
    }
}

impl From<SchemaError> for BuildError {
    fn from(error: SchemaError) -> BuildError {
        BuildError::host(error)
    }
}

/// A compiled schema.
pub(super) struct JsonSchema {
    validator: jsonschema::Validator,
}

impl JsonSchema {
    /// Reads and compiles a schema.
    ///
    /// Errors: what is wrong with the file, with its path.
    pub(super) fn load(path: &Path) -> Result<JsonSchema, SchemaError> {
        let shown = || path.to_owned();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SCHEMA_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| SchemaError::Read(shown(), error))?;
        if text.len() as u64 > MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLarge(shown()));
        }
        let schema: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| SchemaError::NotJson(shown(), error))?;
        match jsonschema::validator_for(&schema) {
            Ok(validator) => Ok(JsonSchema { validator }),
            Err(e) => Err(SchemaError::NotSchema(shown(), format!("{e}, at `{}`", e.instance_path()))),
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
