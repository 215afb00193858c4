//! Settings in small languages of their own: templates and conditions. Mistakes point into the text.

use serde_json::{Value, json};

use super::node::Node;
use super::reader::Reader;
use super::scalars::read_string;
use super::schema::SchemaBuilder;
use super::setting::Setting;
use crate::condition::Condition;
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

text_setting!(
    Condition,
    "a condition such as `level == \"ERROR\"`",
    |text, node, cx| match Condition::parse(text) {
        Ok(condition) => {
            cx.asks(condition.paths());
            for (at, word) in condition.suspects() {
                let message = format!("`{word}` in the condition for {} is read as the name of a field", cx.subject());
                cx.warn_in(node, at.clone(), message).help(format!("a text stands in quotes: \"{word}\""));
            }
            Some(condition)
        }
        Err(e) => {
            let message = format!("bad condition for {}: {e}", cx.subject());
            let diagnostic = cx.error_in(node, e.at, message);
            diagnostic.helps.extend(e.help);
            None
        }
    },
    |condition| condition.text().to_owned()
);

fn template(parsed: Result<Template, TemplateError>, node: &Node, cx: &mut Reader<'_>) -> Option<Template> {
    match parsed {
        Ok(template) => {
            cx.asks(template.paths());
            Some(template)
        }
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
    #![allow(dead_code, reason = "settings that are only read")]
    use super::super::macros::config;
    use super::super::read_text;
    use super::*;
    use crate::event::FieldPath;
    use crate::time::{InputFormat, Zone};
    use std::collections::BTreeMap;

    config! {
        /// Expressions.
        pub(super) struct Expressions {
            /// A path.
            pub(super) from: Option<FieldPath>,
            /// A condition.
            pub(super) when: Option<Condition>,
            /// A template.
            pub(super) message: Option<Template>,
            /// A name.
            pub(super) path: Option<NameTemplate>,
            /// Formats.
            pub(super) formats: Vec<InputFormat> = Vec::new(),
            /// A zone.
            pub(super) timezone: Zone = Zone::UTC,
        }
    }

    #[test]
    fn mistakes_point_into_the_text() {
        let text = "from: a..b\nwhen: 'level == \"a\" and ok'\nmessage: \"x {{ y | upper }}\"\npath: 'out/%Q/{{ a }}'\nformats: ['%F %T', '%Y %q']\n\
                    timezone: Europe/Atlantis\n";
        let (value, report) = read_text::<Expressions>("t.yaml", text, &BTreeMap::<String, String>::new());
        assert!(value.is_none());
        insta::assert_snapshot!(report.render());
    }

    #[test]
    fn what_is_right_is_read() {
        let text = "from: '@file'\nwhen: \"@file.endsWith('.err')\"\npath: 'out/%F/{{ a }}'\nformats: ['%F %T']\ntimezone: Europe/Berlin\n";
        let (value, report) = read_text::<Expressions>("t.yaml", text, &BTreeMap::<String, String>::new());
        assert_eq!(report.render(), "");
        let formats = value.map(|v| v.formats.len());
        assert_eq!(formats, Some(1));
    }
}
