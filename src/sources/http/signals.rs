//! OTLP and Prometheus remote write: the bodies are read by [`decoding::otlp`](crate::decoding::otlp) and
//! [`decoding::remote_write`](crate::decoding::remote_write), here they get their answers.

use super::elasticsearch::with_variables;
use super::format::{Answer, BodyPart, Format, Head, Refusal, Request, Taken};
use super::openobserve;
use crate::decoding::otlp::{self, Encoding, Signal, Status};
use crate::decoding::remote_write::{self, Families};
use hyper::StatusCode;
use hyper::header;
use std::sync::Arc;

/// `POST /v1/logs`, `/v1/metrics`, `/v1/traces`.
pub(super) struct Otlp(pub(super) Signal);

/// The same where OpenObserve has it: the header `stream-name` is `@http.stream`.
pub(super) struct OpenObserveOtlp(pub(super) Signal);

fn encoding(head: &Head) -> Option<Encoding> {
    Encoding::of_content_type(head.header(header::CONTENT_TYPE).unwrap_or_default())
}

/// A failure in the encoding of the request; JSON where that is none.
fn failure(head: &Head, http: StatusCode, status: Status, message: &str) -> Answer {
    let encoding = encoding(head).unwrap_or(Encoding::Json);
    Answer::of(http, encoding.content_type(), otlp::failure(encoding, status, message))
}

impl Format for Otlp {
    fn read(&self, request: Request) -> Result<Taken, Answer> {
        let Request { head, body, origin, received_at, max_event, .. } = request;
        let Some(encoding) = encoding(&head) else {
            let message = "the content type is neither application/x-protobuf nor application/json";
            return Err(failure(&head, StatusCode::UNSUPPORTED_MEDIA_TYPE, Status::InvalidArgument, message));
        };
        let request = otlp::Request::read(self.0, encoding, body, max_event)
            .map_err(|bad| failure(&head, StatusCode::BAD_REQUEST, Status::InvalidArgument, &bad.to_string()))?;
        let answer = Answer::of(StatusCode::OK, encoding.content_type(), request.answer());
        let summary = request.summary().clone();
        let parts = request.into_batches(origin, received_at).map(BodyPart::Events);
        let taken = Taken { dropped: summary.dropped, refused: summary.refused, ..Taken::parts(parts, move || answer) };
        Ok(Taken { invalid_utf8: summary.invalid_utf8, ..taken })
    }

    fn refuse(&self, head: &Head, refusal: &Refusal) -> Answer {
        let status = match refusal {
            Refusal::Unauthorized { .. } => Status::Unauthenticated,
            Refusal::TooLarge(_) => Status::ResourceExhausted,
            Refusal::Encoding(_) | Refusal::Corrupt(_) => Status::InvalidArgument,
            Refusal::Slow | Refusal::Busy | Refusal::NotDelivered | Refusal::Stopping => Status::Unavailable,
        };
        failure(head, refusal.status(), status, &refusal.to_string())
    }
}

impl Format for OpenObserveOtlp {
    fn read(&self, mut request: Request) -> Result<Taken, Answer> {
        let stream = request.head.header("stream-name").unwrap_or("default").to_owned();
        request.origin = with_variables(&request.origin, &[("stream", &stream)]);
        Otlp(self.0).read(request)
    }

    fn refuse(&self, head: &Head, refusal: &Refusal) -> Answer {
        match refusal {
            Refusal::Unauthorized { .. } | Refusal::Encoding(_) | Refusal::TooLarge(_) => openobserve::refuse(refusal),
            _ => Otlp(self.0).refuse(head, refusal),
        }
    }
}

/// Whose remote write it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteWriteApi {
    Prometheus,
    OpenObserve,
}

/// `POST /api/v1/write`.
pub(super) struct RemoteWrite {
    api: RemoteWriteApi,
    families: Arc<Families>,
}

impl RemoteWrite {
    pub(super) fn new(api: RemoteWriteApi) -> Self {
        RemoteWrite { api, families: Arc::default() }
    }

    fn mistake(&self, status: StatusCode, message: &str) -> Answer {
        match self.api {
            RemoteWriteApi::Prometheus => Answer::text(status, message),
            RemoteWriteApi::OpenObserve => openobserve::code(StatusCode::BAD_REQUEST, message),
        }
    }
}

impl Format for RemoteWrite {
    fn read(&self, request: Request) -> Result<Taken, Answer> {
        let Request { head, body, origin, received_at, max_event, .. } = request;
        let whole = head.header(header::CONTENT_TYPE).unwrap_or_default();
        if whole.contains("write.v2") || !matches!(&*head.content_type(), "application/x-protobuf" | "") {
            let message = "remote write 1.0 is taken: application/x-protobuf with snappy";
            return Err(self.mistake(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let request = remote_write::Request::read(body, max_event, &self.families)
            .map_err(|bad| self.mistake(StatusCode::BAD_REQUEST, &bad.to_string()))?;
        let status = match self.api {
            RemoteWriteApi::Prometheus => StatusCode::NO_CONTENT,
            RemoteWriteApi::OpenObserve => StatusCode::OK,
        };
        let summary = request.summary().clone();
        let parts = request.into_batches(origin, received_at).map(BodyPart::Events);
        let taken = Taken::parts(parts, move || Answer::empty(status));
        Ok(Taken { dropped: summary.dropped, refused: summary.refused, invalid_utf8: summary.invalid_utf8, ..taken })
    }

    fn takes_snappy(&self) -> bool {
        true
    }

    fn refuse(&self, _head: &Head, refusal: &Refusal) -> Answer {
        match (self.api, refusal) {
            // Every failure is a 400 there; its clients know these words for "later".
            (RemoteWriteApi::OpenObserve, Refusal::Busy | Refusal::NotDelivered | Refusal::Stopping) => {
                openobserve::code(StatusCode::BAD_REQUEST, "Error# MemoryTableOverflowError")
            }
            (RemoteWriteApi::OpenObserve, _) => openobserve::refuse(refusal),
            (RemoteWriteApi::Prometheus, _) => Answer::text(refusal.status(), &refusal.to_string()),
        }
    }
}

/// `GET /-/healthy` and `/-/ready`.
pub(super) fn prometheus_health(_: &Head) -> Answer {
    Answer::text(StatusCode::OK, "Prometheus Server is Healthy.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::plain::tests::{request, said};
    use super::*;

    const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"1700000000000000000","severityText":"WARN","body":{"stringValue":"hello"}}]}]}]}"#;

    fn events(taken: Taken) -> (Vec<String>, (u16, String)) {
        let mut out = Vec::new();
        for part in taken.parts {
            let BodyPart::Events(batch) = part else { panic!("events") };
            for event in batch.iter() {
                let mut json = Vec::new();
                event.write_json(&mut json);
                let stream = batch.origin.http.iter().find(|(n, _)| &**n == "stream");
                out.push(format!("{}{}", stream.map_or("", |s| &*s.1), String::from_utf8(json).unwrap()));
            }
        }
        (out, said((taken.answer)()))
    }

    #[test]
    fn logs_in_json_become_events_and_the_answer_is_in_json() {
        let taken = Otlp(Signal::Logs).read(request("application/json; charset=utf-8", LOGS.as_bytes())).map_err(said);
        let (out, answer) = events(taken.unwrap());
        assert!(out[0].contains(r#""level":"WARN","service":"shop","message":"hello""#), "{out:?}");
        assert_eq!(answer, (200, "{}".into()));
        let (out, _) = events(
            OpenObserveOtlp(Signal::Logs).read(request("application/json", LOGS.as_bytes())).map_err(said).unwrap(),
        );
        assert!(out[0].starts_with("default{"), "{out:?}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_the_encoding_it_came_in() {
        let refused = |kind: &str, body: &[u8]| said(Otlp(Signal::Traces).read(request(kind, body)).err().unwrap());
        assert_eq!(refused("text/plain", b"x").0, 415);
        let (status, text) = refused("application/json", b"{\"resourceSpans\":[{]}");
        assert_eq!(status, 400);
        assert!(text.starts_with("{\"code\":3,"), "{text}");
        assert_eq!(refused("application/x-protobuf", b"\xff\xff").0, 400);
    }

    #[test]
    fn remote_write_takes_version_one_and_nothing_else() {
        // One series `up{job="a"} 1` at 1700000000000 ms.
        let label = |name: &str, value: &str| {
            let inner =
                [&[0x0a, name.len() as u8][..], name.as_bytes(), &[0x12, value.len() as u8], value.as_bytes()].concat();
            [&[0x0a, inner.len() as u8][..], &inner].concat()
        };
        let mut sample = vec![0x09];
        sample.extend_from_slice(&1f64.to_le_bytes());
        sample.extend_from_slice(&[0x10, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]);
        let series =
            [label("__name__", "up"), label("job", "a"), [&[0x12, sample.len() as u8][..], &sample].concat()].concat();
        let body = [&[0x0a, series.len() as u8][..], &series].concat();
        let format = RemoteWrite::new(RemoteWriteApi::Prometheus);
        assert!(format.takes_snappy());
        let (out, answer) = events(format.read(request("application/x-protobuf", &body)).map_err(said).unwrap());
        assert!(
            out[0].starts_with(r#"{"name":"up","value":1"#) && out[0].contains(r#""labels":{"job":"a"}"#),
            "{out:?}"
        );
        assert_eq!(answer, (204, String::new()));
        assert_eq!(said(format.read(request("application/x-protobuf", b"\xff")).err().unwrap()).0, 400);
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        assert_eq!(said(format.read(request(v2, &body)).err().unwrap()).0, 415);
    }
}
