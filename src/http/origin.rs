//! Whom a request over HTTP is meant for, and whether a page in a browser sent it.
//!
//! A browser lets any page send to any address that it can reach, those of this host included, and only keeps the answer
//! from the page. Promises: a `Host` that is an address, `localhost` or one that was allowed is ours, and nothing that
//! merely begins so; what a page of another origin sends is told from what programs send, by what browsers add to it.

use hyper::header::{self, HeaderMap};

/// Name and port of a `Host` header; `None` where it is none. Brackets of an IPv6 address are taken off.
fn parts(host: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            match port {
                "" => (address, None),
                port => (address, Some(port.strip_prefix(':')?)),
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let fine = !name.is_empty() && !name.contains(['/', '@', '?', '#', '\\', ' ', ']']);
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    fine.then_some((name, port))
}

/// Whether a `Host` header names this agent: an address, `localhost`, or one of `allowed` (with or without its port).
pub fn host_is_ours(host: &str, allowed: &[String]) -> bool {
    let Some((name, _)) = parts(host) else { return false };
    name.parse::<std::net::IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|a| a.eq_ignore_ascii_case(name) || a.eq_ignore_ascii_case(host))
}

/// Whether a page of another origin sent this. `loopback`: it came to an address that only this host reaches, so its
/// `Host` must be ours as well; elsewhere a name says nothing.
pub fn is_of_foreign_page(headers: &HeaderMap, loopback: bool) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return matches!(text("sec-fetch-site"), Some(site) if !matches!(site, "same-origin" | "none"));
    };
    let host = text(header::HOST.as_str()).unwrap_or_default();
    let (default, authority) = match origin.split_once("://") {
        Some(("http", authority)) => (80, authority),
        Some(("https", authority)) => (443, authority),
        // `null`, and what is no page of a server.
        _ => return true,
    };
    let (Some(from), Some(to)) = (parts(authority), parts(host)) else { return true };
    let same = from.0.eq_ignore_ascii_case(to.0) && from.1.unwrap_or(default) == to.1.unwrap_or(default);
    !same || loopback && !host_is_ours(host, &[])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_host_is_ours_as_a_whole_or_not_at_all() {
        let allowed = ["agent.example".to_owned()];
        for ours in [
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
            "localhost",
            "LocalHost:9",
            "192.0.2.7:1",
            "agent.example",
            "agent.example:8686",
            "AGENT.EXAMPLE",
        ] {
            assert!(host_is_ours(ours, &allowed), "{ours}");
        }
        for foreign in [
            "[::1].evil",
            "[::1]evil:80",
            "[::1]:80.evil",
            "[::1",
            "::1",
            "127.0.0.1.evil",
            "127.0.0.1:80.evil",
            "localhost.evil",
            "localhost:80@evil",
            "evil",
            "",
            ":80",
            "agent.example.evil",
            "[agent.example]",
            "[evil]:80",
            "127.0.0.1:99999",
        ] {
            assert!(!host_is_ours(foreign, &allowed), "{foreign}");
        }
    }

    #[test]
    fn what_pages_of_others_send_is_told_from_what_programs_send() {
        let of = |list: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in list {
                headers.insert(header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            headers
        };
        let programs: [&[(&str, &str)]; 4] = [
            &[("host", "127.0.0.1:8080")],
            &[("host", "logs.example")],
            &[("host", "localhost:80"), ("origin", "http://localhost"), ("sec-fetch-site", "same-origin")],
            &[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")],
        ];
        for headers in programs {
            assert!(!is_of_foreign_page(&of(headers), true), "{headers:?}");
        }
        let pages: [&[(&str, &str)]; 8] = [
            &[("host", "127.0.0.1:8080"), ("origin", "https://evil.example")],
            &[("host", "127.0.0.1:8080"), ("origin", "null")],
            &[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:3000")],
            &[("host", "127.0.0.1:8080"), ("sec-fetch-site", "cross-site")],
            &[("host", "127.0.0.1:8080"), ("sec-fetch-site", "same-site")],
            // A name of theirs that leads to this host: to the browser it is their own origin.
            &[("host", "evil.example:8080"), ("origin", "http://evil.example:8080"), ("sec-fetch-site", "same-origin")],
            &[("host", "[::1].evil"), ("origin", "http://[::1].evil")],
            &[("host", "127.0.0.1:8080"), ("origin", "chrome-extension://abc")],
        ];
        for headers in pages {
            assert!(is_of_foreign_page(&of(headers), true), "{headers:?}");
        }
        let behind_a_name = [("host", "logs.example"), ("origin", "https://logs.example")];
        assert!(!is_of_foreign_page(&of(&behind_a_name), false));
    }
}
