//! Where the values of a longer JSON text begin and end, found a window at a time: memory does not grow with the text.

use super::{Scanner, scan, simd};

/// Bytes indexed at once; a value that is longer gets a window of its own.
const WINDOW: usize = 64 << 10;

/// Walks the values of a text: those of an array, or several values one behind the other (JSON lines too), where an
/// array among them stands for its elements.
///
/// [`next`](Values::next) finds spans only, and checks what stands between them; [`next_valid`](Values::next_valid)
/// checks what stands in them as well, by the same look at the text.
#[derive(Default)]
pub struct Values {
    /// What is to be looked at next.
    at: usize,
    place: Place,
    window: Window,
    scanner: Scanner,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Between values; may go to `First`.
    #[default]
    Outside,
    /// Behind the `[` of an array; to `Behind` with an element, to `Outside` at its end.
    First,
    /// Behind an element; to `Outside` at the array's end.
    Behind,
}

/// Why a text cannot be walked further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitError {
    /// It is not JSON at this byte, or ends too early.
    Invalid(usize),
    /// The value that begins at this byte is longer than allowed.
    TooLong(usize),
    /// The value that begins at this byte is nested too deep; only where it is looked at.
    TooDeep(usize),
}

/// What is looked at of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Where it ends.
    Ends,
    /// Whether it is valid JSON, too.
    All,
}

impl Values {
    /// From the beginning of a text.
    pub fn new() -> Self {
        Values::default()
    }

    /// The next value of `text`, which must be the same at each call: its first byte, and the one behind its last.
    /// `None` at the end. Nothing may be asked for after an error.
    ///
    /// Units: `longest` is in bytes.
    pub fn next(&mut self, text: &[u8], longest: usize) -> Result<Option<(usize, usize)>, SplitError> {
        self.walk(text, longest, Check::Ends)
    }

    /// As [`next`](Values::next), for a value that is valid JSON; one that is not is an error at its first byte.
    pub fn next_valid(&mut self, text: &[u8], longest: usize) -> Result<Option<(usize, usize)>, SplitError> {
        self.walk(text, longest, Check::All)
    }

    fn walk(&mut self, text: &[u8], longest: usize, check: Check) -> Result<Option<(usize, usize)>, SplitError> {
        loop {
            self.skip_blank(text);
            let Some(&c) = text.get(self.at) else {
                let whole = self.place == Place::Outside;
                return if whole { Ok(None) } else { Err(SplitError::Invalid(self.at)) };
            };
            match (self.place, c) {
                (Place::Outside, b'[') => {
                    self.at += 1;
                    self.place = Place::First;
                    continue;
                }
                (Place::First | Place::Behind, b']') => {
                    self.at += 1;
                    self.place = Place::Outside;
                    continue;
                }
                (Place::Behind, b',') => {
                    self.at += 1;
                    self.skip_blank(text);
                }
                (Place::Behind, _) => return Err(SplitError::Invalid(self.at)),
                _ => {}
            }
            let start = self.at;
            let end = match text.get(start) {
                Some(b'{' | b'[') => self.window.container_end(text, start, longest)?,
                Some(b'"') => string_end(text, start + 1).ok_or(SplitError::Invalid(start))?,
                Some(b'-' | b'0'..=b'9' | b'a'..=b'z') => scalar_end(text, start),
                _ => return Err(SplitError::Invalid(start)),
            };
            if end - start > longest {
                return Err(SplitError::TooLong(start));
            }
            let valid = || match text[start] {
                b'{' | b'[' => self.window.is_valid(text, start, end),
                _ => None,
            };
            if check == Check::All && !valid().unwrap_or_else(|| self.scanner.is_valid(&text[start..end])) {
                let too_deep = self.scanner.is_too_deep(&text[start..end]);
                return Err(if too_deep { SplitError::TooDeep(start) } else { SplitError::Invalid(start) });
            }
            self.at = end;
            if self.place == Place::First {
                self.place = Place::Behind;
            }
            return Ok(Some((start, end)));
        }
    }

    fn skip_blank(&mut self, text: &[u8]) {
        while matches!(text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// Behind the closing quote of the string whose text begins at `from`.
fn string_end(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        from = at + 2;
    }
}

fn scalar_end(text: &[u8], from: usize) -> usize {
    let more = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
    from + text[from..].iter().take_while(|c| more(c)).count()
}

/// Positions of quotes and structural characters of a part of the text that begins outside of strings.
#[derive(Default)]
struct Window {
    positions: Vec<u32>,
    count: usize,
    /// The first position that may be of use.
    next: usize,
    start: usize,
    end: usize,
    backslash: bool,
    control: bool,
    /// The positions of the container that was found last.
    found: (usize, usize),
}

impl Window {
    /// Whether the container found last is valid JSON; `None` where its positions do not tell.
    fn is_valid(&self, text: &[u8], start: usize, end: usize) -> Option<bool> {
        let at = &self.positions[self.found.0..self.found.1];
        (!self.control).then(|| scan::is_valid_container(text, start, end, at, self.backslash))
    }

    /// Behind the bracket that closes the one at `open`.
    fn container_end(&mut self, text: &[u8], open: usize, longest: usize) -> Result<usize, SplitError> {
        let mut bytes = WINDOW;
        if !(self.start..self.end).contains(&open) {
            self.index(text, open, bytes);
        }
        loop {
            while self.next < self.count && (self.positions[self.next] as usize) < open {
                self.next += 1;
            }
            let mut depth = 0usize;
            for (k, &at) in self.positions[self.next..self.count].iter().enumerate() {
                match text[at as usize] {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth = depth.checked_sub(1).ok_or(SplitError::Invalid(open))?;
                        if depth == 0 {
                            self.found = (self.next, self.next + k + 1);
                            self.next += k + 1;
                            return Ok(at as usize + 1);
                        }
                    }
                    _ => {}
                }
            }
            if self.end == text.len() {
                return Err(SplitError::Invalid(open));
            }
            if self.start == open {
                bytes = (self.end - self.start).saturating_mul(2);
            }
            if self.start == open && self.end - self.start > longest {
                return Err(SplitError::TooLong(open));
            }
            self.index(text, open, bytes);
        }
    }

    fn index(&mut self, text: &[u8], start: usize, bytes: usize) {
        (self.start, self.end, self.next) = (start, start.saturating_add(bytes).min(text.len()), 0);
        if self.positions.len() > 4 * WINDOW && bytes <= WINDOW {
            self.positions = Vec::new();
        }
        let found = simd::index(text, self.start, self.end, &mut self.positions);
        (self.count, self.backslash, self.control) = (found.count, found.backslash, found.control);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn split(text: &str) -> Result<Vec<&str>, SplitError> {
        let (mut values, mut out) = (Values::new(), Vec::new());
        while let Some((from, to)) = values.next(text.as_bytes(), 1 << 20)? {
            out.push(&text[from..to]);
        }
        Ok(out)
    }

    #[test]
    fn arrays_and_values_in_a_row_are_walked_alike() {
        assert_eq!(
            split(r#"[{"a":"]}"}, [1,2] ,"x,\"", 1.5e3,null]"#).unwrap(),
            [r#"{"a":"]}"}"#, "[1,2]", r#""x,\"""#, "1.5e3", "null"]
        );
        assert_eq!(
            split("{\"a\":1}\n{\"b\": [\n2]}\r\n\n3 [4,\n5] {}{}").unwrap(),
            ["{\"a\":1}", "{\"b\": [\n2]}", "3", "4", "5", "{}", "{}"]
        );
        assert_eq!(split(" [ ] \n []").unwrap(), Vec::<&str>::new());
        assert_eq!(split("").unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn what_stands_between_values_is_checked() {
        for (text, at) in [
            ("[1", 2),
            ("[1,]", 3),
            ("[,1]", 1),
            ("[1 2]", 3),
            ("]", 0),
            ("{\"a\":1", 0),
            ("\"a", 0),
            ("1,2", 1),
            ("[[1]", 4),
            ("\0", 0),
            ("[1]}", 3),
        ] {
            assert_eq!(split(text), Err(SplitError::Invalid(at)), "{text}");
        }
    }

    #[test]
    fn a_value_longer_than_the_window_is_found_and_one_longer_than_allowed_is_not() {
        let long = format!("[{{\"a\":\"{}\"}},{{\"b\":[{}0]}},7]", "x".repeat(3 * WINDOW), "1,".repeat(WINDOW));
        let parts = split(&long).unwrap();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.iter().map(|p| p.len()).sum::<usize>(), long.len() - 4);
        let mut values = Values::new();
        assert_eq!(values.next(long.as_bytes(), WINDOW), Err(SplitError::TooLong(1)));
        // Never closed: it is given up as soon as it is longer than allowed.
        let open = "{".repeat(40 * WINDOW);
        assert_eq!(Values::new().next(open.as_bytes(), 2 * WINDOW), Err(SplitError::TooLong(0)));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[\\PC\"\\\\{}\\[\\],:]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec(("[\\PC\"]{0,5}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_values_of_an_array_are_those_serde_json_sees(values in proptest::collection::vec(json(), 0..12), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&values) } else { serde_json::to_string(&values) };
            let text = text.unwrap();
            let found: Vec<Value> = split(&text).unwrap().iter().map(|v| serde_json::from_str(v).unwrap()).collect();
            prop_assert_eq!(found, values);
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..200), longest in 1usize..100) {
            let mut values = Values::new();
            let mut behind = 0;
            while let Ok(Some((from, to))) = values.next(&text, longest) {
                prop_assert!(from >= behind && to > from && to <= text.len() && to - from <= longest);
                behind = to;
            }
        }

        #[test]
        fn what_is_said_to_be_valid_is_what_a_scan_of_the_value_alone_finds(
            text in proptest::collection::vec(prop_oneof![
                Just("{"), Just("}"), Just("["), Just("]"), Just("\""), Just("\"a\""), Just(","), Just(":"), Just("1"), Just("\\"),
                Just("\n"), Just("\u{1}"), Just("null"), Just("\\u00e9"), Just("{\"a\":[1,{}]}"), Just("{\"b\":\"\\n\"}"), Just(" ")
            ], 0..40)
        ) {
            let text = text.concat();
            let (mut checked, mut plain, mut scanner) = (Values::new(), Values::new(), Scanner::default());
            loop {
                let (a, b) = (checked.next_valid(text.as_bytes(), 1000), plain.next(text.as_bytes(), 1000));
                match b {
                    Ok(Some((from, to))) if !scanner.is_valid(&text.as_bytes()[from..to]) => {
                        prop_assert!(a == Err(SplitError::Invalid(from)) || a == Err(SplitError::TooDeep(from)));
                        break;
                    }
                    Ok(Some(_)) => prop_assert_eq!(a, b),
                    _ => {
                        prop_assert_eq!(a, b);
                        break;
                    }
                }
            }
        }
    }
}
