//! Access lines that are not of the common formats: those of Amazon's storage and load balancers, of Envoy and of uvicorn.
//!
//! | who | what an event has beside the fields of the common formats |
//! | --- | --- |
//! | S3 | `bucket_owner, bucket, requester, request_id, operation, key, error_code, object_size, total_time, turn_around_time, version_id, host_id, signature_version, cipher_suite, authentication_type, tls_version, access_point_arn, acl_required` |
//! | ELB, classic | `elb, client_port, backend, request_processing_time, backend_processing_time, response_processing_time, backend_status_code, received_bytes, ssl_cipher, ssl_protocol` |
//! | ELB, application | the same with `type`, and `target` for `backend`; `target_group_arn, trace_id, domain_name, chosen_cert_arn, matched_rule_priority, request_creation_time, actions_executed, redirect_url, error_reason, target_port_list, target_status_code_list, classification, classification_reason, conn_trace_id` |
//! | Envoy, Istio | `response_flags, bytes_received, duration, upstream_service_time, forwarded_for, request_id, target_fqdn, upstream_addr` |
//! | uvicorn | `client_port`; it writes no time |
//!
//! `status` is what the balancer answered, `bytes` what it sent. `-` gives an absent field. Fields that a service has added behind the
//! ones that are known are `extra`, and lines of times when it had fewer are read.
//!
//! Source: Amazon S3 User Guide, "server access log format"; Elastic Load Balancing's guides, "access log entries"; Envoy's
//! "default format string"; uvicorn's `AccessFormatter`.

use super::{AccessDecoder, AccessLine, Cursor, looks_like_time, request_line, split_port};
use crate::event::{Batch, Sym, Value};
use crate::framing::span::Span;

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// This and nothing else.
    Literal(&'static [u8]),
    /// One of these words.
    OneOf(&'static [&'static [u8]]),
    Word,
    /// A number, `-1` too.
    Number,
    Quoted,
    /// In quotes, in their fields.
    Request,
    /// A time in brackets.
    Bracketed,
    /// A time of ISO 8601.
    Iso,
    /// `192.0.2.1:4711`
    Address,
}
use Kind::{Address, Bracketed, Iso, Literal, Number, OneOf, Quoted, Request, Word};

struct Format {
    fields: &'static [(&'static str, Kind)],
    /// So many have to be there.
    least: usize,
}

static FORMATS: [Format; 5] = [
    // Amazon S3.
    Format {
        fields: &[
            ("bucket_owner", Word),
            ("bucket", Word),
            ("time_local", Bracketed),
            ("client_ip", Word),
            ("requester", Word),
            ("request_id", Word),
            ("operation", Word),
            ("key", Word),
            ("request", Request),
            ("status", Number),
            ("error_code", Word),
            ("bytes", Number),
            ("object_size", Number),
            ("total_time", Number),
            ("turn_around_time", Number),
            ("referer", Quoted),
            ("user_agent", Quoted),
            ("version_id", Word),
            ("host_id", Word),
            ("signature_version", Word),
            ("cipher_suite", Word),
            ("authentication_type", Word),
            ("target_fqdn", Word),
            ("tls_version", Word),
            ("access_point_arn", Word),
            ("acl_required", Word),
        ],
        least: 17,
    },
    // An application load balancer.
    Format {
        fields: &[
            ("type", OneOf(&[b"http", b"https", b"h2", b"grpcs", b"ws", b"wss"])),
            ("time_local", Iso),
            ("elb", Word),
            ("client_ip", Address),
            ("target", Word),
            ("request_processing_time", Number),
            ("target_processing_time", Number),
            ("response_processing_time", Number),
            ("status", Number),
            ("target_status_code", Number),
            ("received_bytes", Number),
            ("bytes", Number),
            ("request", Request),
            ("user_agent", Quoted),
            ("ssl_cipher", Word),
            ("ssl_protocol", Word),
            ("target_group_arn", Word),
            ("trace_id", Quoted),
            ("domain_name", Quoted),
            ("chosen_cert_arn", Quoted),
            ("matched_rule_priority", Number),
            ("request_creation_time", Word),
            ("actions_executed", Quoted),
            ("redirect_url", Quoted),
            ("error_reason", Quoted),
            ("target_port_list", Quoted),
            ("target_status_code_list", Quoted),
            ("classification", Quoted),
            ("classification_reason", Quoted),
            ("conn_trace_id", Word),
        ],
        least: 16,
    },
    // A classic one.
    Format {
        fields: &[
            ("time_local", Iso),
            ("elb", Word),
            ("client_ip", Address),
            ("backend", Word),
            ("request_processing_time", Number),
            ("backend_processing_time", Number),
            ("response_processing_time", Number),
            ("status", Number),
            ("backend_status_code", Number),
            ("received_bytes", Number),
            ("bytes", Number),
            ("request", Request),
            ("user_agent", Quoted),
            ("ssl_cipher", Word),
            ("ssl_protocol", Word),
        ],
        least: 12,
    },
    // Envoy's default.
    Format {
        fields: &[
            ("time_local", Bracketed),
            ("request", Request),
            ("status", Number),
            ("response_flags", Word),
            ("bytes_received", Number),
            ("bytes", Number),
            ("duration", Number),
            ("upstream_service_time", Number),
            ("forwarded_for", Quoted),
            ("user_agent", Quoted),
            ("request_id", Quoted),
            ("target_fqdn", Quoted),
            ("upstream_addr", Quoted),
        ],
        least: 13,
    },
    // uvicorn.
    Format {
        fields: &[
            ("", Literal(b"INFO:")),
            ("client_ip", Address),
            ("", Literal(b"-")),
            ("request", Request),
            ("status", Number),
        ],
        least: 5,
    },
];

/// What a field holds.
#[derive(Clone, Copy)]
enum Said {
    Text(&'static str, Span),
    Number(&'static str, Span),
    Request(Span),
}

/// Decodes a line of one of these formats as an event; `None`, and nothing done, where it is of none.
#[cold]
pub(super) fn decode(
    decoder: &mut AccessDecoder,
    batch: &mut Batch,
    (start, end): (usize, usize),
    offset: u64,
) -> Option<()> {
    let text = batch.text().clone();
    let line = text[start..end].trim_ascii_end();
    let found = FORMATS.iter().find_map(|format| read(format, line))?;
    let row = batch.push_line(start, end, offset);
    for said in found {
        match said {
            Said::Text(name, span) => {
                decoder.text(batch, row, Sym::from_config(name), (start + span.start, start + span.end));
            }
            Said::Number(name, span) => number(decoder, batch, row, name, (start, span), line),
            Said::Request(span) => {
                let mut parts = AccessLine::default();
                request_line(line, span, &mut parts);
                let keys = decoder.keys;
                for (key, part) in [
                    (keys.request, parts.request),
                    (keys.method, parts.method),
                    (keys.path, parts.path),
                    (keys.http_version, parts.http_version),
                ] {
                    if let Some(part) = part {
                        decoder.text(batch, row, key, (start + part.start, start + part.end));
                    }
                }
            }
        }
    }
    Some(())
}

fn number(
    decoder: &mut AccessDecoder,
    batch: &mut Batch,
    row: usize,
    name: &'static str,
    (start, span): (usize, Span),
    line: &[u8],
) {
    let (key, digits) = (Sym::from_config(name), span.of(line));
    match std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(n) => {
            batch.event_mut(row).push(key, Value::I64(n));
        }
        None if super::is_decimal(digits) => {
            batch.event_mut(row).push(key, Value::Number(digits));
        }
        None => decoder.text(batch, row, key, (start + span.start, start + span.end)),
    }
}

/// The fields of a line, where it has the format's form.
fn read(format: &Format, line: &[u8]) -> Option<Vec<Said>> {
    let mut cursor = Cursor { line, at: 0 };
    let mut found = Vec::new();
    for (n, &(name, kind)) in format.fields.iter().enumerate() {
        cursor.blanks();
        if cursor.at >= line.len() {
            return (n >= format.least).then_some(found);
        }
        let before = cursor.at;
        match field(kind, name, &mut cursor, line) {
            Some(said) => found.extend(said.into_iter().flatten()),
            // Behind what has to be there a service may have put something else.
            None if n >= format.least => {
                cursor.at = before;
                break;
            }
            None => return None,
        }
    }
    cursor.blanks();
    if cursor.at < line.len() {
        found.push(Said::Text("extra", Span::new(cursor.at, line.len())));
    }
    Some(found)
}

/// One field; `None` where something else stands there.
fn field(kind: Kind, name: &'static str, cursor: &mut Cursor<'_>, line: &[u8]) -> Option<[Option<Said>; 2]> {
    let span = match kind {
        Quoted | Request if line.get(cursor.at) == Some(&b'"') => cursor.quoted()?,
        Bracketed => bracketed(cursor, line)?,
        _ => cursor.word()?,
    };
    let text = span.of(line);
    let said = span.unless_dash(line).map(|span| Said::Text(name, span));
    let fits = match kind {
        Literal(wanted) => return (text == wanted).then_some([None, None]),
        OneOf(words) => words.contains(&text),
        Word => !text.starts_with(b"\""),
        Quoted => said.is_none() || line.get(span.start.wrapping_sub(1)) == Some(&b'"'),
        Bracketed => looks_like_time(text),
        Iso => matches!(text, [b'0'..=b'9', _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', ..]),
        Number => {
            let digits = text.strip_prefix(b"-").unwrap_or(text);
            let is_number = text == b"-" || digits.len() < 19 && super::is_decimal(digits);
            return is_number.then(|| [span.unless_dash(line).map(|span| Said::Number(name, span)), None]);
        }
        Request => {
            let is_quoted = said.is_none() || line.get(span.start.wrapping_sub(1)) == Some(&b'"');
            return is_quoted.then(|| [span.unless_dash(line).map(Said::Request), None]);
        }
        Address => {
            let (address, port) = split_port(line, span)?;
            return Some([Some(Said::Text(name, address)), Some(Said::Number("client_port", port))]);
        }
    };
    fits.then_some([said, None])
}

fn bracketed(cursor: &mut Cursor<'_>, line: &[u8]) -> Option<Span> {
    let rest = line.get(cursor.at..)?.strip_prefix(b"[")?;
    let close = memchr::memchr(b']', rest)?;
    let span = Span::new(cursor.at + 1, cursor.at + 1 + close);
    cursor.at = span.end + 1;
    Some(span)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::testing::decode_line;
    use super::*;

    fn decoded(line: &str) -> Result<String, String> {
        decode_line(&mut AccessDecoder::default(), line.as_bytes())
    }

    #[test]
    fn lines_of_other_services_are_read() {
        for (line, want) in [
            (
                r#"79a5 my-bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::1:user/x 3E57427F3EXAMPLE REST.GET.OBJECT a%20b.txt "GET /my-bucket/a%20b.txt?x HTTP/1.1" 200 - 113 113 7 6 "-" "S3Console/0.4" - s9lz= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader my-bucket.s3.example TLSv1.2 - Yes"#,
                r#"{"bucket_owner":"79a5","bucket":"my-bucket","time_local":"06/Feb/2019:00:00:38 +0000","client_ip":"192.0.2.3","requester":"arn:aws:iam::1:user/x","request_id":"3E57427F3EXAMPLE","operation":"REST.GET.OBJECT","key":"a%20b.txt","method":"GET","path":"/my-bucket/a%20b.txt?x","http_version":"1.1","status":200,"bytes":113,"object_size":113,"total_time":7,"turn_around_time":6,"user_agent":"S3Console/0.4","host_id":"s9lz=","signature_version":"SigV4","cipher_suite":"ECDHE-RSA-AES128-GCM-SHA256","authentication_type":"AuthHeader","target_fqdn":"my-bucket.s3.example","tls_version":"TLSv1.2","acl_required":"Yes"}"#,
            ),
            (
                r#"2015-05-13T23:39:43.945958Z my-lb 192.168.131.39:2817 10.0.0.1:80 0.000086 0.001048 0.001337 200 201 0 57 "GET https://www.example.com:443/ HTTP/1.1" "curl/7.38.0" DHE-RSA-AES128-SHA TLSv1.2"#,
                r#"{"time_local":"2015-05-13T23:39:43.945958Z","elb":"my-lb","client_ip":"192.168.131.39","client_port":2817,"backend":"10.0.0.1:80","request_processing_time":0.000086,"backend_processing_time":0.001048,"response_processing_time":0.001337,"status":200,"backend_status_code":201,"received_bytes":0,"bytes":57,"method":"GET","path":"https://www.example.com:443/","http_version":"1.1","user_agent":"curl/7.38.0","ssl_cipher":"DHE-RSA-AES128-SHA","ssl_protocol":"TLSv1.2"}"#,
            ),
            (
                r#"http 2018-11-30T22:23:00.186641Z app/my-lb/50dc 192.168.131.39:2817 - -1 -1 -1 502 - 34 366 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.46.0" - - arn:aws:elasticloadbalancing:x "Root=1-58337364" "-" "-" 0 2018-11-30T22:22:48.364000Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_1234 new "thing""#,
                r#"{"type":"http","time_local":"2018-11-30T22:23:00.186641Z","elb":"app/my-lb/50dc","client_ip":"192.168.131.39","client_port":2817,"request_processing_time":-1,"target_processing_time":-1,"response_processing_time":-1,"status":502,"received_bytes":34,"bytes":366,"method":"GET","path":"http://www.example.com:80/","http_version":"1.1","user_agent":"curl/7.46.0","target_group_arn":"arn:aws:elasticloadbalancing:x","trace_id":"Root=1-58337364","matched_rule_priority":0,"request_creation_time":"2018-11-30T22:22:48.364000Z","actions_executed":"forward","target_port_list":"10.0.0.1:80","target_status_code_list":"200","conn_trace_id":"TID_1234","extra":"new \"thing\""}"#,
            ),
            (
                r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0" "locations" "tcp://10.0.2.1:80""#,
                r#"{"time_local":"2016-04-15T20:17:00.310Z","method":"POST","path":"/api/v1/locations","http_version":"2","status":204,"bytes_received":154,"bytes":0,"duration":226,"upstream_service_time":100,"forwarded_for":"10.0.35.28","user_agent":"nsq2http","request_id":"cc21d9b0","target_fqdn":"locations","upstream_addr":"tcp://10.0.2.1:80"}"#,
            ),
            (
                r#"INFO:     127.0.0.1:51234 - "GET /items?q=a HTTP/1.1" 404 Not Found"#,
                r#"{"client_ip":"127.0.0.1","client_port":51234,"method":"GET","path":"/items?q=a","http_version":"1.1","status":404,"extra":"Not Found"}"#,
            ),
        ] {
            assert_eq!(decoded(line).as_deref(), Ok(want), "{line}");
        }
    }

    #[test]
    fn what_is_near_them_is_refused() {
        for line in [
            r#"79a5 my-bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 x 3E REST.GET.OBJECT a "GET / HTTP/1.1" ok - 113 113 7 6 "-" "S3""#,
            r#"79a5 my-bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 x 3E REST.GET.OBJECT a "GET / HTTP/1.1" 200 - 113 113 7 6 "-""#,
            r#"smtp 2018-11-30T22:23:00.186641Z app/my-lb/50dc 192.168.131.39:2817 - -1 -1 -1 502 - 34 366 "GET / HTTP/1.1" "c" - -"#,
            r#"2015-05-13T23:39:43.945958Z my-lb 192.168.131.39 10.0.0.1:80 0 0 0 200 200 0 57 "GET / HTTP/1.1" "c" - -"#,
            "INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)",
            r#"INFO:     127.0.0.1 - "GET / HTTP/1.1" 200 OK"#,
            r#"INFO:     127.0.0.1:1 - "WebSocket /ws" [accepted]"#,
        ] {
            assert!(decoded(line).is_err(), "{line}");
        }
    }
}
