//! Log records.

use super::OtlpEncoder;
use super::attributes::{any, field_len};
use super::ids::severity;
use super::roles::{Found, Role};
use crate::event::Value;
use crate::wire::protobuf::{push_bytes, push_fixed32, push_fixed64, push_message, push_number, push_varint};

impl OtlpEncoder {
    pub(super) fn log(&mut self, event: &Found<'_>, time: i64, out: &mut Vec<u8>) {
        push_fixed64(1, time.max(0) as u64, out);
        let level = event.get(Role::Level);
        let number = match event.has_any([Role::SeverityNumber]) {
            true => event.int(Role::SeverityNumber).filter(|n| (1..=24).contains(n)),
            false => None,
        };
        if let Some(number) = number.or_else(|| severity(level?.as_str()?)) {
            push_number(2, number as u64, out);
        }
        self.text(level, 3, out);
        match event.get(Role::Body) {
            None => {}
            Some(Value::Str(text)) => {
                let mut plain = std::mem::take(&mut self.plain);
                let text = text.text(&mut plain);
                push_varint(5 << 3 | 2, out);
                push_varint(field_len(text.len()) as u64, out);
                push_bytes(1, text, out);
                self.plain = plain;
            }
            Some(body) => push_message(5, out, |out| any(body, &mut self.plain, out)),
        }
        let (trace, span) = (event.id::<16>(Role::TraceId), event.id::<8>(Role::SpanId));
        let place = |role: Role, is_id: bool| if is_id { event.place(role) } else { 0 };
        self.attributes(event, [place(Role::TraceId, trace.is_some()), place(Role::SpanId, span.is_some())], out);
        let rare = event.has_any([Role::Dropped, Role::Flags, Role::Observed, Role::EventName]);
        if rare {
            self.number(event, Role::Dropped, 7, out);
        }
        if rare && let Some(flags) = event.int(Role::Flags) {
            push_fixed32(8, flags as u32, out);
        }
        if let Some(trace) = trace {
            push_bytes(9, &trace, out);
        }
        if let Some(span) = span {
            push_bytes(10, &span, out);
        }
        if !rare {
            return;
        }
        if let Some(observed) = event.time(Role::Observed, &self.reader) {
            push_fixed64(11, observed.max(0) as u64, out);
        }
        self.text(event.get(Role::EventName), 12, out);
    }
}
