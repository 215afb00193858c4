//! Asking the far side of a sink, before anything runs.

use crate::error::BuildError;
use crate::settings::duration_text;
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Why the far side of a sink does not answer as it should. `Display` may be shown.
#[derive(Debug)]
pub enum ProbeError {
    /// What it takes to ask cannot be made.
    Build(BuildError),
    /// A request brought something else: which, where that says something, and what, without secrets.
    Request(Option<String>, String),
    /// Nothing came in this time.
    NoAnswer(Duration),
}

impl Display for ProbeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Build(error) => f.write_str(&error.words()),
            ProbeError::Request(Some(request), why) => write!(f, "{request}: {why}"),
            ProbeError::Request(None, why) => f.write_str(why),
            ProbeError::NoAnswer(patience) => write!(f, "no answer within {}", duration_text(*patience)),
        }
    }
}

impl Error for ProbeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let ProbeError::Build(error) = self { Some(error) } else { None }
    }
}
