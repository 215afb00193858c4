//! What statuses mean, for every server that has no opinion of its own.
//!
//! | Status | Class | What happens |
//! |---|---|---|
//! | 2xx | delivered | where the body says so too, which each sink reads itself |
//! | 408, 425 | not now | tried again with growing waits; counts for the circuit breaker (408) |
//! | 429 | too much | tried again, fewer requests at a time; `Retry-After` is obeyed |
//! | 500–599 | not now | tried again; counts for the circuit breaker; `Retry-After` is obeyed; 503 also means fewer at a time |
//! | no connection, broken connection, time-out | not now | as 5xx; a time-out also means fewer requests at a time |
//! | a connection used before, closed upon the request | nothing | the request goes out once more at once (see `client.rs`) |
//! | 400, 413, 422 | refused | halved down to the one record, which goes to the dead letter, or is dropped and counted |
//! | 415 | compression | zstd → gzip → none; with none left: configuration |
//! | 401, 403, 404, 405, 407 | configuration | tried again with growing waits, all requests wait, `/ready` fails, one error a minute |
//! | 3xx, other 4xx, 1xx | configuration | the same: nothing is lost, and someone has to look |

use super::protocol::Judgement;
use crate::http::Mask;
use crate::http::{Answer, Lost, LostKind};

/// Judges by status alone; `None` for 2xx.
pub fn judge_status(answer: &Answer, mask: &Mask) -> Option<Judgement> {
    let status = answer.status;
    if (200..300).contains(&status) {
        // Its body may be as long as the request's: it is not read for words.
        return None;
    }
    let words = mask.words(&answer.body);
    let detail = match words.as_str() {
        "" => format!("HTTP {status}"),
        words => format!("HTTP {status}: {words}"),
    };
    let retry =
        |kind, broken, pressure| Judgement::Retry { kind, detail: detail.clone(), broken, pressure, tries: None };
    let misconfigured = |help: &str| Judgement::Misconfigured { detail: format!("{detail}; {help}") };
    Some(match status {
        400 | 422 => Judgement::Halve { reason: "refused", detail },
        413 => Judgement::Halve { reason: "too_large", detail },
        415 => Judgement::Uncompressible { detail },
        408 => retry("http_408", true, true),
        425 => retry("http_425", false, false),
        429 => retry("http_429", false, true),
        503 => retry("http_503", true, true),
        500..=599 => retry("http_5xx", true, false),
        401 => misconfigured("check the credentials under `auth`"),
        403 => misconfigured("the credentials lack a permission"),
        404 => misconfigured("check `url` and what is in its path, such as the organization"),
        405 => misconfigured("check `url`: this address takes no such requests"),
        407 => misconfigured("the proxy wants credentials: `proxy: http://user:password@host:port`"),
        300..=399 => {
            let location = mask.text(answer.location.as_deref().unwrap_or("somewhere else"));
            let location = location.split(['?', '#']).next().unwrap_or_default().to_owned();
            Judgement::Misconfigured {
                detail: format!("HTTP {status}: redirected to {location}; set `url` to where the server is"),
            }
        }
        _ => misconfigured("the server does not take such requests"),
    })
}

/// Texts of an OpenObserve that has too much, wherever they stand.
const OVERLOAD: [&str; 3] = ["MemoryTableOverflowError", "MemoryCircuitBreakerError", "DiskCircuitBreakerError"];

/// Whether these words of a server say that it has too much.
pub fn is_overload(words: &str) -> bool {
    OVERLOAD.iter().any(|text| words.contains(text))
}

/// A server that has too much, by its own words.
pub fn overloaded(detail: String) -> Judgement {
    Judgement::Retry { kind: "overloaded", detail, broken: true, pressure: true, tries: None }
}

/// Judges an answer to Prometheus remote write; `None` for one that has taken everything. Some servers say with a 400 that
/// they have too much.
pub fn judge_remote_write(answer: &Answer, mask: &Mask) -> Option<Judgement> {
    if answer.status == 400 {
        let words = mask.words(&answer.body);
        if is_overload(&words) {
            return Some(overloaded(format!("HTTP 400: {words}")));
        }
    }
    judge_status(answer, mask)
}

/// Judges a request that brought no answer.
pub fn judge_lost(lost: &Lost) -> Judgement {
    Judgement::Retry {
        kind: lost.kind.name(),
        detail: lost.why.clone(),
        broken: true,
        pressure: lost.kind == LostKind::Timeout,
        tries: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn class(status: u16) -> &'static str {
        let answer = Answer { status, body: "why".into(), ..Answer::default() };
        match judge_status(&answer, &Mask::default()) {
            None => "delivered",
            Some(Judgement::Halve { detail, .. }) => {
                assert_eq!(detail, format!("HTTP {status}: why"));
                "refused"
            }
            Some(Judgement::Uncompressible { .. }) => "compression",
            Some(Judgement::Misconfigured { .. }) => "configuration",
            Some(Judgement::Retry { broken: true, pressure: true, .. }) => "retry, broken, pressure",
            Some(Judgement::Retry { broken: true, .. }) => "retry, broken",
            Some(Judgement::Retry { pressure: true, .. }) => "retry, pressure",
            Some(Judgement::Retry { .. }) => "retry",
            Some(_) => "other",
        }
    }

    #[test]
    fn every_status_has_its_class() {
        for (statuses, want) in [
            (&[200, 201, 202, 204, 206, 299][..], "delivered"),
            (&[400, 413, 422], "refused"),
            (&[415], "compression"),
            (&[401, 403, 404, 405, 407], "configuration"),
            (&[300, 301, 302, 304, 307, 308, 402, 406, 409, 410, 411, 414, 418, 431, 451, 101, 103], "configuration"),
            (&[408, 503], "retry, broken, pressure"),
            (&[429], "retry, pressure"),
            (&[425], "retry"),
            (&[500, 501, 502, 504, 507, 599], "retry, broken"),
        ] {
            for &status in statuses {
                assert_eq!(class(status), want, "{status}");
            }
        }
    }

    #[test]
    fn a_redirect_names_where_to_without_its_query() {
        let answer = Answer { status: 301, location: Some("https://o2/x?token=1".into()), ..Answer::default() };
        let Some(Judgement::Misconfigured { detail }) = judge_status(&answer, &Mask::default()) else {
            panic!("class")
        };
        assert_eq!(detail, "HTTP 301: redirected to https://o2/x; set `url` to where the server is");
    }
}
