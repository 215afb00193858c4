//! The `decode` setting of sources and of `parse`.

use super::{FrameDecoder, JsonDecoder, TextDecoder};
use crate::component::{BuildContext, BuildError};
use crate::config::config_choice;

config_choice! {
    /// How frames become events.
    pub enum DecodeSetting {
        /// Each frame is text, in `message`.
        Text = "text",
        /// Each frame is a JSON object whose members are the fields.
        Json = "json",
    }
}

impl DecodeSetting {
    /// The decoder it asks for.
    pub fn build(&self, _cx: &BuildContext) -> Result<Box<dyn FrameDecoder>, BuildError> {
        Ok(match self {
            DecodeSetting::Text => Box::new(TextDecoder),
            DecodeSetting::Json => Box::new(JsonDecoder::default()),
        })
    }
}
