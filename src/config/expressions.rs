//! Settings in small languages of their own: field paths, templates, timestamp formats, time zones. Mistakes point into
//! the text.

use serde_json::{Value, json};

use super::node::Node;
use super::reader::Reader;
use super::scalars::read_string;
use super::schema::SchemaBuilder;
use super::setting::Setting;
use crate::template::{NameTemplate, Template, TemplateError};

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

#[cfg(test)]
mod tests {
    use super::super::macros::config;
    use super::super::read_text;
    use super::*;
    use crate::event::FieldPath;
    use crate::time::{InputFormat, Zone};
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
        let text = "from: '@file'\npath: 'out/%F/{{ a }}'\nformats: ['%F %T']\ntimezone: Europe/Berlin\n";
        let (value, report) = read_text::<Expressions>("t.yaml", text, &BTreeMap::<String, String>::new());
        assert_eq!(report.render(), "");
        let formats = value.map(|v| v.formats.len());
        assert_eq!(formats, Some(1));
    }
}
