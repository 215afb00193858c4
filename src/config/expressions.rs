//! Settings in small languages of their own: field paths, templates, timestamp formats, time zones. Mistakes point into
//! the text.

use serde_json::{Value, json};

use super::node::Node;
use super::reader::Reader;
use super::scalars::read_string;
use super::schema::SchemaBuilder;
use super::setting::Setting;
use crate::event::FieldPath;
use crate::template::{NameTemplate, Template, TemplateError};
use crate::time::{InputFormat, Zone};

/// What these settings have in common: a string with a text to show again.
macro_rules! text_setting {
    ($type:ty, $description:literal, |$text:ident, $node:ident, $cx:ident| $read:expr, |$value:ident| $shown:expr) => {
        impl Setting for $type {
            fn read($node: &Node, $cx: &mut Reader<'_>) -> Option<Self> {
                let $text = read_string($node, $cx, &Self::describe())?;
                $read
            }

            fn schema(_: &mut SchemaBuilder) -> Value {
                json!({"type": "string"})
            }

            fn describe() -> String {
                $description.into()
            }

            fn default_text(&self) -> Option<String> {
                let $value = self;
                Some($shown)
            }

            fn accepts(node: &Node) -> bool {
                node.as_str().is_some()
            }

            fn lone() -> bool {
                true
            }
        }
    };
}

text_setting!(
    FieldPath,
    "a field path such as `a.b[0]` or `@file`",
    |text, node, cx| match FieldPath::parse(text) {
        Ok(path) => Some(path),
        Err(e) => {
            // The whole rest is shown; at the end there is only the last character to point at.
            let start = if e.at < text.len() { e.at } else { text.char_indices().next_back().map_or(0, |(i, _)| i) };
            let message = format!("bad field path for {}: {e}", cx.subject());
            cx.error_in(node, start..text.len(), message);
            None
        }
    },
    |path| path.text().to_owned()
);

text_setting!(
    Template,
    "a text that may hold `{{ field }}`",
    |text, node, cx| template(Template::parse(text), node, cx),
    |template| template.text().to_owned()
);

text_setting!(
    NameTemplate,
    "a text that may hold `{{ field }}` and `%Y-%m-%d`",
    |text, node, cx| template(Template::with_time(text), node, cx).map(NameTemplate),
    |template| template.text().to_owned()
);

fn template(parsed: Result<Template, TemplateError>, node: &Node, cx: &mut Reader<'_>) -> Option<Template> {
    match parsed {
        Ok(template) => Some(template),
        Err(e) => {
            let message = format!("bad template for {}: {e}", cx.subject());
            let diagnostic = cx.error_in(node, e.at, message);
            diagnostic.helps.extend(e.help);
            None
        }
    }
}

text_setting!(
    InputFormat,
    "a timestamp format such as `%d/%m/%Y %H:%M:%S`",
    |text, node, cx| match InputFormat::parse(text) {
        Ok(format) => Some(format),
        Err(e) => {
            let message = format!("bad timestamp format for {}: {e}", cx.subject());
            cx.error_in(node, e.at, message);
            None
        }
    },
    |format| format.as_str().to_owned()
);

text_setting!(
    Zone,
    "a time zone such as `UTC`, `+02:00` or `Europe/Berlin`",
    |text, node, cx| match Zone::parse(text) {
        Ok(zone) => Some(zone),
        Err(e) => {
            cx.error(node.span, format!("{e}, for {}", cx.subject()));
            None
        }
    },
    |zone| zone.to_string()
);

#[cfg(test)]
mod tests {
    use super::super::macros::config;
    use super::super::read_text;
    use super::*;
    use std::collections::BTreeMap;

    config! {
        /// Expressions.
        pub struct Expressions {
            /// A path.
            pub from: Option<FieldPath>,
            /// A template.
            pub message: Option<Template>,
            /// A name.
            pub path: Option<NameTemplate>,
            /// Formats.
            pub formats: Vec<InputFormat> = Vec::new(),
            /// A zone.
            pub timezone: Zone = Zone::UTC,
        }
    }

    #[test]
    fn mistakes_point_into_the_text() {
        let text = "from: a..b\nmessage: \"x {{ y | upper }}\"\npath: 'out/%Q/{{ a }}'\nformats: ['%F %T', '%Y %q']\n\
                    timezone: Europe/Atlantis\n";
        let (value, report) = read_text::<Expressions>("t.yaml", text, &BTreeMap::<String, String>::new());
        assert!(value.is_none());
        insta::assert_snapshot!(report.render());
    }

    #[test]
    fn what_is_right_is_read() {
        let text = "from: '@file'\npath: 'out/%F/{{ a }}'\nformats: '%F %T'\ntimezone: Europe/Berlin\n";
        let (value, report) = read_text::<Expressions>("t.yaml", text, &BTreeMap::<String, String>::new());
        assert_eq!(report.render(), "");
        let formats = value.map(|v| v.formats.len());
        assert_eq!(formats, Some(1));
    }
}
