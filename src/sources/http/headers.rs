//! `headers`: which headers of a request are metadata of its events.

use crate::settings::{Node, Reader, SchemaBuilder, Setting, read_string};
use hyper::header::{self, HeaderMap, HeaderName};
use std::sync::Arc;

/// One entry of `headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHeader {
    name: HeaderName,
    /// Behind `@http.`: `header.x_request_id`.
    variable: Arc<str>,
}

/// What may not be kept: it would carry credentials into events.
const SECRET: [HeaderName; 4] =
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE];

impl KeptHeader {
    fn parse(text: &str) -> Result<KeptHeader, String> {
        let name = HeaderName::from_bytes(text.trim().as_bytes())
            .map_err(|_| format!("`{text}` is not the name of a header"))?;
        if SECRET.contains(&name) {
            return Err(format!("`{text}` carries credentials, which must not become data"));
        }
        let variable = format!("header.{}", name.as_str().replace('-', "_")).into();
        Ok(KeptHeader { name, variable })
    }

    /// The values of those that a request has, by variable. A header that comes several times is one value, joined by `, `.
    pub(super) fn values(list: &[KeptHeader], headers: &HeaderMap) -> Vec<(Arc<str>, Arc<str>)> {
        let value = |kept: &KeptHeader| {
            let mut values = headers.get_all(&kept.name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let mut text = values.next()?.into_owned();
            for more in values {
                text.push_str(", ");
                text.push_str(&more);
            }
            Some((kept.variable.clone(), text.into()))
        };
        list.iter().filter_map(value).collect()
    }
}

impl Setting for KeptHeader {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match KeptHeader::parse(text) {
            Ok(kept) => Some(kept),
            Err(message) => {
                cx.error(node.span, message);
                None
            }
        }
    }

    fn schema(_: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": "string"})
    }

    fn describe() -> String {
        "the name of a header such as `x-request-id`".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_become_variables_and_credentials_never_do() {
        let list: Vec<KeptHeader> = ["X-Request-ID", "x-b", "absent"].map(|n| KeptHeader::parse(n).unwrap()).into();
        let mut headers = HeaderMap::new();
        headers.append("x-request-id", "7".parse().unwrap());
        headers.append("x-b", "one".parse().unwrap());
        headers.append("x-b", header::HeaderValue::from_bytes(b"tw\xf6").unwrap());
        headers.append("x-c", "not listed".parse().unwrap());
        let values = KeptHeader::values(&list, &headers);
        let values: Vec<(&str, &str)> = values.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(values, [("header.x_request_id", "7"), ("header.x_b", "one, tw\u{fffd}")]);
        for name in ["Authorization", "cookie", "Proxy-Authorization", "set-cookie", "", "a b", "x:"] {
            assert!(KeptHeader::parse(name).is_err(), "{name}");
        }
    }
}
