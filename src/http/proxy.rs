//! Which proxy a server is reached over: `proxy` where it is set, whatever the environment says; else what that says.
//!
//! `http_proxy`, `https_proxy` and `all_proxy`, in small letters first, then in capitals; `HTTP_PROXY` is not looked at in a CGI
//! program, where a header of a request could set it. `no_proxy` lists, with commas or blanks between, the servers that are
//! reached directly: `*` for all, a domain with everything below it (`example.com`, `.example.com`, `*.example.com`), an address,
//! a network (`10.0.0.0/8`), each with a port behind it (`example.com:8443`) or not.

use crate::settings::Network;
use reqwest::{Proxy, Url};
use std::net::IpAddr;

/// The proxy at this address, without a scheme one of http; `None` where it is not an address.
pub(super) fn proxy_at(text: &str) -> Option<Proxy> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    Proxy::all(whole).ok()
}

/// The proxy that the environment names for `url`, and the variable it stands in.
pub(super) fn from_environment(url: &Url, var: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let set = |name: &'static str| var(name).map(|value| (name, value)).filter(|(_, value)| !value.trim().is_empty());
    let of_scheme = match url.scheme() {
        "https" => set("https_proxy").or_else(|| set("HTTPS_PROXY")),
        _ => set("http_proxy").or_else(|| set("HTTP_PROXY").filter(|_| var("REQUEST_METHOD").is_none())),
    };
    let found = of_scheme.or_else(|| set("all_proxy")).or_else(|| set("ALL_PROXY"))?;
    let direct = set("no_proxy").or_else(|| set("NO_PROXY")).map(|(_, list)| list).unwrap_or_default();
    (!is_direct(url, &direct)).then_some(found)
}

/// Whether a list as in `NO_PROXY` names the server.
fn is_direct(url: &Url, list: &str) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
    let (address, port) = (host.parse::<IpAddr>().ok(), url.port_or_known_default());
    let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| {
        if entry == "*" {
            return true;
        }
        let (name, of_port) = split_port(entry);
        if of_port.is_some() && of_port != port {
            return false;
        }
        match address {
            Some(address) => Network::parse(name).is_some_and(|network| network.contains(address)),
            None => {
                let name = name.strip_prefix('*').unwrap_or(name).trim_matches('.');
                let tail = host.len().checked_sub(name.len());
                let (before, end) = match tail.and_then(|at| host.split_at_checked(at)) {
                    Some(split) => split,
                    None => return false,
                };
                !name.is_empty() && end.eq_ignore_ascii_case(name) && (before.is_empty() || before.ends_with('.'))
            }
        }
    })
}

/// An entry without its port, and the port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        // An address of version 6 has no port without brackets.
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let var = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        from_environment(&url.parse().unwrap(), var).map(|(name, value)| format!("{name} {value}"))
    }

    #[test]
    fn variables_are_looked_at_by_scheme_and_in_their_order() {
        let all = [("http_proxy", "a"), ("HTTP_PROXY", "A"), ("HTTPS_PROXY", "B"), ("ALL_PROXY", "C")];
        assert_eq!(found("http://x/", &all).unwrap(), "http_proxy a");
        assert_eq!(found("http://x/", &all[1..]).unwrap(), "HTTP_PROXY A");
        assert_eq!(found("https://x/", &all).unwrap(), "HTTPS_PROXY B");
        assert_eq!(found("https://x/", &[("https_proxy", " "), ("ALL_PROXY", "C")]).unwrap(), "ALL_PROXY C");
        assert_eq!(found("http://x/", &[("HTTP_PROXY", "A"), ("REQUEST_METHOD", "GET")]), None);
        assert_eq!(found("http://x/", &[("HTTPS_PROXY", "B")]), None);
    }

    #[test]
    fn servers_that_no_proxy_names_are_reached_directly() {
        let direct = |url: &str, list: &str| found(url, &[("ALL_PROXY", "p"), ("NO_PROXY", list)]).is_none();
        for (url, list) in [
            ("http://a.example.com/", "*"),
            ("http://10.1.2.3/", "x, *"),
            ("http://example.com/", "example.com"),
            ("http://a.example.com/", "other,example.com"),
            ("http://A.Example.com./", ".EXAMPLE.com"),
            ("http://a.example.com/", "*.example.com"),
            ("http://example.com:8080/", "example.com:8080"),
            ("https://example.com/", "example.com:443"),
            ("http://10.1.2.3:80/", "10.0.0.0/8"),
            ("http://10.1.2.3/", "10.1.2.3"),
            ("http://10.1.2.3:81/", "10.1.2.3:81"),
            ("http://[fd00::1]:81/", "[fd00::1]:81"),
            ("http://[fd00::1]/", "fd00::/8"),
            ("http://localhost:5080/", "127.0.0.1 localhost"),
        ] {
            assert!(direct(url, list), "{url} {list}");
        }
        for (url, list) in [
            ("http://example.com/", ""),
            ("http://badexample.com/", "example.com"),
            ("http://example.com/", "a.example.com"),
            ("http://example.com:8080/", "example.com:8081"),
            ("http://example.com/", "example.com:443"),
            ("http://11.1.2.3/", "10.0.0.0/8"),
            ("http://10.1.2.3:80/", "10.1.2.3:81"),
            ("http://example.com/", "."),
            ("http://é.example/", "x.example"),
        ] {
            assert!(!direct(url, list), "{url} {list}");
        }
    }
}
