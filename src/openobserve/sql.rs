//! The little of SQL that is read here: words, quotes and brackets. Nothing is rewritten within a quoted text.

/// A part of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'q> {
    /// A word or a number: letters, digits, `_`, `:`, `.`, `@`.
    Word(&'q str),
    /// `$name`, without the `$`.
    Variable(&'q str),
    /// `"…"`, with its quotes.
    Name(&'q str),
    /// `'…'`, with its quotes.
    Text(&'q str),
    /// A comment, or white space.
    Blank(&'q str),
    /// Anything else: one character.
    Sign(&'q str),
}

impl<'q> Part<'q> {
    /// As it is written.
    pub fn written(self) -> &'q str {
        match self {
            Part::Word(t) | Part::Name(t) | Part::Text(t) | Part::Blank(t) | Part::Sign(t) | Part::Variable(t) => t,
        }
    }

    fn is(self, word: &str) -> bool {
        matches!(self, Part::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

/// The parts of a query, in order; all of its text.
pub fn parts(query: &str) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let run =
            |fine: fn(char) -> bool, from: usize| rest[from..].find(|c| !fine(c)).map_or(rest.len(), |n| n + from);
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '@');
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let (make, end): (for<'t> fn(&'t str) -> Part<'t>, usize) = match first {
            '"' => (|t| Part::Name(t), quoted(rest, '"')),
            '\'' => (|t| Part::Text(t), quoted(rest, '\'')),
            '-' if rest.starts_with("--") => (|t| Part::Blank(t), rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (|t| Part::Blank(t), rest.find("*/").map_or(rest.len(), |n| n + 2)),
            c if c.is_whitespace() => (|t| Part::Blank(t), run(char::is_whitespace, 0)),
            '$' if rest[1..].starts_with(is_name) => (|t| Part::Variable(&t[1..]), run(is_name, 1)),
            c if is_word(c) => (|t| Part::Word(t), run(is_word, 0)),
            c => (|t| Part::Sign(t), c.len_utf8()),
        };
        let (text, after) = rest.split_at(end);
        out.push(make(text));
        rest = after;
    }
    out
}

/// Where a quoted text ends; a doubled quote is one of its characters.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(n) = text[at..].find(quote) {
        at += n + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// A text as a literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name of a stream or field as an identifier.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The query with `$name` in place of which the value stands as a literal; in quotes, and where `name` goes on, nothing is put.
///
/// Errors: the name of a variable without a value.
pub fn with_values(query: &str, values: &[(String, String)]) -> Result<String, String> {
    let mut out = String::new();
    for part in parts(query) {
        match part {
            Part::Variable(name) => match values.iter().find(|(known, _)| known == name) {
                Some((_, value)) => out.push_str(&literal(value)),
                None => return Err(name.to_owned()),
            },
            other => out.push_str(other.written()),
        }
    }
    Ok(out)
}

/// Names of the variables of a query, each once.
pub fn variables(query: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for part in parts(query) {
        if let Part::Variable(name) = part
            && !out.iter().any(|known| known == name)
        {
            out.push(name.to_owned());
        }
    }
    out
}

/// The query with names of streams after `FROM` and `JOIN` in quotes, hyphens included.
pub fn with_quoted_streams(query: &str) -> String {
    let parts = parts(query);
    let (mut out, mut at, mut next) = (String::new(), 0, false);
    while let Some(part) = parts.get(at) {
        at += 1;
        match part {
            Part::Blank(text) => out.push_str(text),
            Part::Word(word) if next && !word.eq_ignore_ascii_case("lateral") => {
                let mut name = (*word).to_owned();
                while let Some(Part::Sign("-")) = parts.get(at)
                    && let Some(Part::Word(more)) = parts.get(at + 1)
                {
                    name = format!("{name}-{more}");
                    at += 2;
                }
                out.push_str(&identifier(&name));
                next = false;
            }
            Part::Variable(name) => {
                out.push('$');
                out.push_str(name);
                next = false;
            }
            other => {
                next = other.is("from") || other.is("join");
                out.push_str(other.written());
            }
        }
    }
    out
}

/// Words of the outermost level, in small letters, with whether a bracket follows at once.
fn outer_words(query: &str) -> Vec<(String, bool)> {
    let parts: Vec<Part<'_>> = parts(query).into_iter().filter(|p| !matches!(p, Part::Blank(_))).collect();
    let mut depth = 0;
    let mut out = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        match part {
            Part::Sign("(") => depth += 1,
            Part::Sign(")") => depth -= 1,
            Part::Word(word) if depth == 0 => {
                out.push((word.to_ascii_lowercase(), parts.get(n + 1) == Some(&Part::Sign("("))));
            }
            _ => {}
        }
    }
    out
}

/// Whether the rows of a query are events, so that parts of its time range make up the whole: no groups, no sums, no order or limit of
/// its own, one stream.
pub fn is_of_events(query: &str) -> bool {
    const WHOLE: [&str; 11] =
        ["group", "order", "limit", "offset", "distinct", "join", "union", "intersect", "except", "having", "with"];
    const SUMS: [&str; 11] =
        ["count", "sum", "avg", "min", "max", "median", "histogram", "stddev", "var", "array_agg", "first_value"];
    let words = outer_words(query);
    let froms = parts(query).iter().filter(|part| part.is("from")).count();
    let whole = |(word, call): &(String, bool)| {
        WHOLE.contains(&word.as_str()) || *call && (SUMS.contains(&word.as_str()) || word.starts_with("approx_"))
    };
    froms == 1 && words.first().is_some_and(|(word, _)| word == "select") && !words.iter().any(whole)
}

/// Names of the columns of the outermost `SELECT` that have one (`AS name`).
pub fn columns(query: &str) -> Vec<String> {
    let mut depth = 0;
    let mut out = Vec::new();
    let mut after_as = false;
    for part in parts(query) {
        match part {
            Part::Blank(_) => continue,
            Part::Sign("(") => depth += 1,
            Part::Sign(")") => depth -= 1,
            _ if depth > 0 => {}
            Part::Word(name) if after_as => out.push(name.to_owned()),
            Part::Name(name) if after_as => out.push(name.trim_matches('"').to_owned()),
            part if part.is("from") => break,
            _ => {}
        }
        after_as = depth == 0 && part.is("as");
    }
    out
}

/// The first stream that is read.
pub fn stream(query: &str) -> Option<String> {
    let mut next = false;
    for part in parts(query) {
        match part {
            Part::Blank(_) => {}
            Part::Word(name) if next => return Some(name.to_owned()),
            Part::Name(name) if next => return Some(name.trim_matches('"').replace("\"\"", "\"")),
            part => next = part.is("from"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_variable_is_a_whole_word_outside_of_quotes_and_its_value_a_literal() {
        let values = [("name".to_owned(), "O'Brien".to_owned()), ("names".to_owned(), "all".to_owned())];
        let query = "SELECT * FROM s WHERE a = $name AND b = $names AND c = '$name' AND \"$name\" = 1 -- $name\n";
        let expected =
            "SELECT * FROM s WHERE a = 'O''Brien' AND b = 'all' AND c = '$name' AND \"$name\" = 1 -- $name\n";
        assert_eq!(with_values(query, &values).unwrap(), expected);
        assert_eq!(with_values("a = $named", &values), Err("named".into()));
        assert_eq!(with_values("a = $ name", &values).unwrap(), "a = $ name");
    }

    #[test]
    fn names_of_streams_are_quoted_with_their_hyphens() {
        let quoted = |query: &str| with_quoted_streams(query);
        assert_eq!(quoted("SELECT a-b FROM my-app-logs WHERE x=1"), "SELECT a-b FROM \"my-app-logs\" WHERE x=1");
        assert_eq!(quoted("select 1 from \"a b\" JOIN c on 'from d'"), "select 1 from \"a b\" JOIN \"c\" on 'from d'");
        assert_eq!(quoted("SELECT x FROM (SELECT y FROM t)"), "SELECT x FROM (SELECT y FROM \"t\")");
        assert_eq!(quoted("SELECT x FROM t WHERE a = $v"), "SELECT x FROM \"t\" WHERE a = $v");
    }

    #[test]
    fn what_must_be_asked_as_a_whole_is_told_from_rows_of_events() {
        for events in ["SELECT * FROM t", "select a, lower(b) from \"t\" where c in ('group', 'limit') -- limit"] {
            assert!(is_of_events(events), "{events}");
        }
        for whole in [
            "SELECT count(*) FROM t",
            "SELECT a FROM t GROUP BY a",
            "SELECT * FROM t LIMIT 5",
            "SELECT * FROM t ORDER BY a",
            "SELECT approx_percentile_cont(a, 0.5) FROM t",
            "SELECT DISTINCT a FROM t",
            "SELECT * FROM t WHERE a IN (SELECT a FROM u)",
            "WITH x AS (SELECT 1) SELECT * FROM x",
        ] {
            assert!(!is_of_events(whole), "{whole}");
        }
    }

    #[test]
    fn columns_and_stream_are_found() {
        let query = "SELECT histogram(_timestamp, '1 minute') AS \"time\", CAST(a AS int) as n, b FROM \"my \"\"s\" WHERE x AS y";
        assert_eq!(columns(query), ["time", "n"]);
        assert_eq!(stream(query).unwrap(), "my \"s");
    }

    proptest! {
        #[test]
        fn the_parts_are_all_of_the_text(query in "[a-z$'\"\\-/* \n().,é]{0,60}") {
            let all: String = parts(&query).iter().map(|part| match part {
                Part::Variable(name) => format!("${name}"),
                other => other.written().to_owned(),
            }).collect();
            prop_assert_eq!(all, query);
        }

        #[test]
        fn a_literal_is_one_text_whatever_it_holds(value in "[a-z'\\\\\" $-]{0,20}") {
            let text = literal(&value);
            prop_assert_eq!(parts(&text), vec![Part::Text(&text)]);
            prop_assert_eq!(text[1..text.len() - 1].replace("''", "'"), value);
        }
    }
}
