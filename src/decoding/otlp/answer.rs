//! Answers, in the encoding of the request.

use super::{Encoding, Signal};
use crate::decoding::records::Summary;
use crate::event::json;
use crate::wire::protobuf::{push_bytes, push_message, push_number};

/// `google.rpc.Code`, which failures are named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request cannot be read; not to be sent again.
    InvalidArgument = 3,
    /// No or wrong credentials.
    Unauthenticated = 16,
    /// Too large, or too much at once.
    ResourceExhausted = 8,
    /// Not now; to be sent again.
    Unavailable = 14,
}

/// The body of an answer that is no success: a `google.rpc.Status`.
pub fn failure(encoding: Encoding, status: Status, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        Encoding::Protobuf => {
            push_number(1, status as u64, &mut out);
            push_bytes(2, message.as_bytes(), &mut out);
        }
        Encoding::Json => {
            out.extend_from_slice(format!("{{\"code\":{},\"message\":\"", status as u8).as_bytes());
            json::escape(message.as_bytes(), &mut out);
            out.extend_from_slice(b"\"}");
        }
    }
    out
}

/// `Export…ServiceResponse`: empty, or with what was refused.
pub(super) fn success(signal: Signal, encoding: Encoding, summary: &Summary) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        Encoding::Protobuf if summary.refused == 0 => {}
        Encoding::Protobuf => push_message(1, &mut out, |out| {
            push_number(1, summary.refused, out);
            push_bytes(2, summary.why.as_bytes(), out);
        }),
        Encoding::Json if summary.refused == 0 => out.extend_from_slice(b"{}"),
        Encoding::Json => {
            let what = match signal {
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
                Signal::Traces => "rejectedSpans",
            };
            let text = format!("{{\"partialSuccess\":{{\"{what}\":\"{}\",\"errorMessage\":\"", summary.refused);
            out.extend_from_slice(text.as_bytes());
            json::escape(summary.why.as_bytes(), &mut out);
            out.extend_from_slice(b"\"}}");
        }
    }
    out
}
