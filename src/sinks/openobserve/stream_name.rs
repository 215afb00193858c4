//! Names as the server stores them: it renames what it does not like, and two names that it makes one must share a batch.
//!
//! Source: `format_stream_name` of OpenObserve 0.93.

/// Makes `name[from..]` the name that the server would give it: every run of characters outside `[A-Za-z0-9_:]` is one
/// `_`, capitals become small. Works in place: the result is never longer.
pub(super) fn format(name: &mut Vec<u8>, from: usize) {
    let mut to = from;
    let mut in_run = false;
    for at in from..name.len() {
        let byte = name[at];
        let fine = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
        if fine {
            name[to] = byte.to_ascii_lowercase();
            to += 1;
        } else if !in_run {
            name[to] = b'_';
            to += 1;
        }
        in_run = !fine;
    }
    name.truncate(to);
}

/// What the server makes of the literal parts of a name with `{{ … }}` and `%…` in it; `None` where it leaves them as they are.
pub(super) fn renamed(template: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    let literal = |text: &str, out: &mut String| {
        let mut name = text.as_bytes().to_vec();
        format(&mut name, 0);
        out.push_str(&String::from_utf8_lossy(&name));
    };
    while let Some(at) = rest.find(['{', '%']) {
        let (before, from) = rest.split_at(at);
        literal(before, &mut out);
        let end = match from.strip_prefix("{{").and_then(|inner| inner.find("}}")) {
            Some(end) => end + 4,
            None if from.starts_with('%') => from.char_indices().nth(2).map_or(from.len(), |(i, _)| i),
            None => {
                literal(&from[..1], &mut out);
                rest = &from[1..];
                continue;
            }
        };
        out.push_str(&from[..end]);
        rest = &from[end..];
    }
    literal(rest, &mut out);
    (out != template).then_some(out)
}

/// Whether the server stores a field called `key` as `_<suffix>`: it makes capitals small and every other character than
/// letters, digits and `_` an `_`.
pub(super) fn is_stored_as(key: &[u8], suffix: &[u8]) -> bool {
    // One character that is no ASCII letter or digit, then the suffix; a character of several bytes becomes one `_` where
    // it is no letter or number, which is not worth telling apart: a false alarm costs a slower way only.
    let Some(split) = key.len().checked_sub(suffix.len()).filter(|&n| n > 0) else { return false };
    let (head, tail) = key.split_at(split);
    if !tail.eq_ignore_ascii_case(suffix) {
        return false;
    }
    match head {
        [byte] => !byte.is_ascii_alphanumeric(),
        several => !several[0].is_ascii() && std::str::from_utf8(several).is_ok_and(|s| s.chars().count() == 1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn literal_parts_that_are_renamed_are_shown() {
        for (template, stored) in [
            ("app_logs", None),
            ("App-logs", Some("app_logs")),
            ("{{ service }}", None),
            ("{{ service }}-Logs", Some("{{ service }}_logs")),
            ("{{ Service-Name }}_%Y_%m", None),
            ("x.{{ a }}.%Y", Some("x_{{ a }}_%Y")),
        ] {
            assert_eq!(renamed(template).as_deref(), stored, "{template}");
        }
    }

    fn formatted(name: &str) -> String {
        let mut out = name.as_bytes().to_vec();
        format(&mut out, 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_become_what_the_server_makes_of_them() {
        for (name, want) in [
            ("Auth-Service.logs", "auth_service_logs"),
            ("****", "_"),
            ("a--b__c", "a_b__c"),
            ("日志", "_"),
            ("日志-x", "_x"),
            ("ns:Stream", "ns:stream"),
            ("", ""),
        ] {
            assert_eq!(formatted(name), want, "{name}");
        }
    }

    #[test]
    fn keys_that_become_the_servers_own_are_known() {
        for key in ["_id", "@id", ".ID", "-Id", "、id"] {
            assert!(is_stored_as(key.as_bytes(), b"id"), "{key}");
        }
        for key in ["id", "aid", "__id", "Aid", "_ids"] {
            assert!(!is_stored_as(key.as_bytes(), b"id"), "{key}");
        }
        assert!(is_stored_as(b"@timestamp", b"timestamp"));
        assert!(!is_stored_as(b"timestamp", b"timestamp"));
    }
}
