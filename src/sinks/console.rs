//! The `console` sink: events on standard output, for people and for pipes.
//!
//! Terminals are never sent control characters from data. In text they are always written as `\x1b` and the like (line
//! ends and tabs stay); in JSON, which has none below 0x20 to begin with, DEL and the C1 controls are escaped where the
//! output is a terminal.

use crate::buffer::Received;
use crate::component::common::SinkCommon;
use crate::component::plan::{Preview, SinkPlan};
use crate::component::{BuildContext, Input, SinkRun};
use crate::encoding::{Encoder, Encoding};
use crate::error::{BuildError, RunError};
use crate::event::{Batch, EventRef};
use crate::settings::{config, config_enum};
use crate::text::escape::{self, Form};
use std::io::{IsTerminal, Write};
use std::time::Duration;

config_enum! {
    /// How events are shown.
    pub enum ConsoleEncoding {
        /// One JSON object a line.
        Json = "json",
        /// The plain text of `message`; an event without one as JSON.
        Text = "text",
        /// JSON over several lines, indented.
        Pretty = "pretty",
    }
}

config_enum! {
    /// Where to.
    pub enum ConsoleTarget {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error, where the agent's own log goes too.
        Stderr = "stderr",
    }
}

config! {
    /// Writes events to standard output.
    pub struct ConsoleConfig {
        /// How events are shown.
        pub encoding: ConsoleEncoding = ConsoleEncoding::Json,
        /// Where to.
        pub target: ConsoleTarget = ConsoleTarget::Stdout,
        /// What all sinks have.
        flatten pub common: SinkCommon,
    }
}

impl SinkPlan for ConsoleConfig {
    fn common(&self) -> &SinkCommon {
        &self.common
    }

    fn preview(&self, _zone: &jiff::tz::TimeZone) -> Option<Box<dyn Preview>> {
        Some(Box::new(Screen::new(self.encoding, false)))
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<SinkRun, BuildError> {
        let encoding = self.encoding;
        Ok(match self.target {
            ConsoleTarget::Stdout => {
                let terminal = std::io::stdout().is_terminal();
                SinkRun::Thread(Box::new(move |input| run(&input, encoding, terminal, &mut std::io::stdout())))
            }
            ConsoleTarget::Stderr => {
                let terminal = std::io::stderr().is_terminal();
                SinkRun::Thread(Box::new(move |input| run(&input, encoding, terminal, &mut std::io::stderr())))
            }
        })
    }
}

/// Runs until the input ends or `out` is closed.
fn run(input: &Input, encoding: ConsoleEncoding, terminal: bool, out: &mut dyn Write) -> Result<(), RunError> {
    input.health().working();
    let mut screen = Screen::new(encoding, terminal);
    loop {
        let mut batch = match input.recv_timeout(Duration::from_secs(3600)) {
            Received::Batch(batch) => batch,
            Received::Timeout => continue,
            Received::Closed => return Ok(()),
        };
        input.call().begin();
        let bytes = screen.show(&batch);
        let written = out.write_all(bytes).and_then(|()| out.flush());
        input.call().end();
        if let Err(error) = written {
            // It was not delivered: it is given to the sink again, should it begin again.
            input.give_back(batch);
            return Err(RunError::io("cannot write to the console")(error));
        }
        input.delivered(batch.ack.take(), batch.len() as u64, bytes.len() as u64, batch.received_at);
        batch.recycle();
    }
}

/// Turns batches into what may be shown.
struct Screen {
    encoding: ConsoleEncoding,
    terminal: bool,
    encoder: Encoder,
    raw: Vec<u8>,
    shown: Vec<u8>,
}

impl Screen {
    fn new(encoding: ConsoleEncoding, terminal: bool) -> Self {
        let encoder = Encoder::new(match encoding {
            ConsoleEncoding::Text => Encoding::Text,
            ConsoleEncoding::Json | ConsoleEncoding::Pretty => Encoding::Json,
        });
        Screen { encoding, terminal, encoder, raw: Vec::new(), shown: Vec::new() }
    }

    fn show(&mut self, batch: &Batch) -> &[u8] {
        self.raw.clear();
        self.shown.clear();
        match self.encoding {
            ConsoleEncoding::Json | ConsoleEncoding::Text => self.encoder.batch(batch, &mut self.raw),
            ConsoleEncoding::Pretty => {
                for event in batch.iter() {
                    let start = self.raw.len();
                    event.write_json(&mut self.raw);
                    let pretty = serde_json::from_slice::<serde_json::Value>(&self.raw[start..])
                        .and_then(|value| serde_json::to_vec_pretty(&value));
                    if let Ok(pretty) = pretty {
                        self.raw.truncate(start);
                        self.raw.extend_from_slice(&pretty);
                    }
                    self.raw.push(b'\n');
                }
            }
        }
        match self.encoding {
            ConsoleEncoding::Text => escape::append(&self.raw, Form::Text, &mut self.shown),
            _ if self.terminal => escape::append(&self.raw, Form::Json, &mut self.shown),
            _ => return &self.raw,
        }
        &self.shown
    }
}

impl Preview for Screen {
    fn show(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<Option<String>, String> {
        self.encoder.event(event, out);
        out.pop();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ack::Ack;
    use crate::event::{EventKind, Origin, Slab, Sym, Value};

    fn batch(message: &str) -> Batch {
        let mut batch = Batch::new(Slab::default(), Origin::of_source("s"), 0, Ack::none());
        let row = batch.push_event(EventKind::Log);
        batch.event_mut(row).push(Sym::MESSAGE, Value::from(message));
        batch
    }

    fn show(encoding: ConsoleEncoding, terminal: bool, message: &str) -> String {
        String::from_utf8(Screen::new(encoding, terminal).show(&batch(message)).to_vec()).unwrap()
    }

    const EVIL: &str = "a\u{1b}]0;x\u{7}\r\u{9b}31m\tb\u{7f}é\u{a0}\nc";

    #[test]
    fn text_never_carries_control_characters() {
        for terminal in [true, false] {
            let shown = show(ConsoleEncoding::Text, terminal, EVIL);
            assert_eq!(shown, "a\\x1b]0;x\\x07\\x0d\\x9b31m\tb\\x7fé\u{a0}\nc\n");
        }
    }

    #[test]
    fn json_on_a_terminal_is_the_same_json_without_control_characters() {
        let plain = show(ConsoleEncoding::Json, false, EVIL);
        let shown = show(ConsoleEncoding::Json, true, EVIL);
        assert!(plain.contains('\u{9b}'));
        assert!(!shown.trim_end().chars().any(char::is_control), "{shown:?}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&plain), read(&shown));
        assert_eq!(read(&shown)["message"], EVIL);
    }

    #[test]
    fn pretty_is_indented() {
        assert_eq!(show(ConsoleEncoding::Pretty, false, "x"), "{\n  \"message\": \"x\"\n}\n");
    }
}
