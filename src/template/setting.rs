//! Templates as settings: mistakes point into the text.

use super::{NameTemplate, Template, TemplateError};
use crate::event::Meta;
use crate::settings::{Node, Reader, text_setting};

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
        Ok(template) => {
            cx.asks(Meta::names_in(template.paths()));
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
