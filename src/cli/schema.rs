//! `tidegate schema` and `tidegate reference`: what can stand in a configuration.

use super::{Exit, print, report_page, say_line};
use crate::pipeline::{json_schema, reference};
use clap::Args;

/// Arguments of `reference`.
#[derive(Args, Debug)]
pub(super) struct ReferenceArgs {
    /// One type of component only, such as `redact`.
    component: Option<String>,
}

/// Prints the JSON Schema.
pub(super) fn schema() -> Exit {
    let schema = json_schema(crate::registry::built_in());
    // Alternate form is indented.
    match print(&report_page(&format!("{schema:#}\n"))) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failed,
    }
}

/// Prints the reference as Markdown.
pub(super) fn reference(args: &ReferenceArgs) -> Exit {
    let registry = crate::registry::built_in();
    match reference::markdown(registry, args.component.as_deref()) {
        Some(text) => match print(&report_page(&text)) {
            Ok(()) => Exit::Done,
            Err(_) => Exit::Failed,
        },
        None => {
            let mut names: Vec<&str> = registry.names().into_iter().map(|(_, name)| name).collect();
            names.sort_unstable();
            names.dedup();
            let wanted = args.component.as_deref().unwrap_or_default();
            say_line!("error: there is no component type `{wanted}`; there are {}", names.join(", "));
            Exit::Usage
        }
    }
}
