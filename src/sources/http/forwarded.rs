//! `trusted_proxies`: whose word about a request's sender is taken.
//!
//! Each proxy adds the address it was asked from to the end of `X-Forwarded-For`. What trusted proxies added is true, and what
//! stands before it whoever sent the request could write. So the list is read from its end: the first address that is no
//! trusted proxy is the sender; where all are, the first of the list is.

use crate::settings::Network;
use hyper::header::HeaderMap;
use std::net::IpAddr;

/// Most bytes of `X-Forwarded-For` that are looked at, from its end.
const MOST: usize = 4096;

/// Who sent a request that came from `peer`; `None` where that is `peer` itself.
pub(super) fn sender(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if trusted.is_empty() || !is_trusted(peer) {
        return None;
    }
    let mut looked_at = 0;
    let mut sender = None;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for entry in value.as_bytes().rsplit(|c| *c == b',') {
            looked_at += entry.len() + 1;
            let address = std::str::from_utf8(entry).ok().and_then(address);
            // What is not an address was not added by a proxy that can be believed: the last one that was counts.
            let Some(address) = address.filter(|_| looked_at <= MOST) else { return sender };
            sender = Some(address);
            if !is_trusted(address) {
                return sender;
            }
        }
    }
    sender
}

/// An address, with its port or in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => address,
            _ => text,
        },
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_sender_is_the_last_that_no_trusted_proxy_is() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"].map(|n| Network::parse(n).unwrap()).into();
        let of = |peer: &str, values: &[&str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| _ = headers.append("x-forwarded-for", value.parse().unwrap()));
            sender(&trusted, peer.parse().unwrap(), &headers).map(|a| a.to_string())
        };
        for (peer, values, want) in [
            ("10.0.0.1", &["203.0.113.7"][..], Some("203.0.113.7")),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.7, 10.2.2.2"], Some("203.0.113.7")),
            ("10.0.0.1", &["6.6.6.6", "203.0.113.7:4711,10.2.2.2 "], Some("203.0.113.7")),
            ("10.0.0.1", &["10.9.9.9, 10.2.2.2"], Some("10.9.9.9")),
            ("10.0.0.1", &["6.6.6.6, forged, 10.2.2.2"], Some("10.2.2.2")),
            ("10.0.0.1", &["unknown"], None),
            ("10.0.0.1", &[], None),
            ("10.0.0.1", &["[2001:db8::7]:443"], Some("2001:db8::7")),
            ("fd00::1", &["2001:db8::7"], Some("2001:db8::7")),
            ("10.0.0.1", &["::ffff:203.0.113.7"], Some("203.0.113.7")),
            // Whoever is not trusted says what he likes.
            ("203.0.113.9", &["1.2.3.4"], None),
        ] {
            assert_eq!(of(peer, values).as_deref(), want, "{peer} {values:?}");
        }
    }
}
