//! Settings in small languages of their own: mistakes point into the text.
#![allow(dead_code, reason = "settings that are only read")]
use crate::condition::Condition;
use crate::event::FieldPath;
use crate::settings::{config, read_text};
use crate::template::{NameTemplate, Template};
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
