//! Results as JUnit XML, as CI systems read it: `testsuites`, one `testsuite` for each file, `testcase` with `file` and `line`,
//! `failure` with what does not hold.

use super::Outcome;
use std::fmt::Write as _;

/// The whole document.
pub(super) fn write(outcomes: &[Outcome]) -> String {
    let file = |outcome: &Outcome| outcome.at.as_ref().map_or_else(String::new, |(file, _)| file.clone());
    let sums = |list: &[&Outcome]| {
        let failed = list.iter().filter(|outcome| !outcome.faults.is_empty()).count();
        let took: f64 = list.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
        format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{took:.3}\"", list.len())
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&Outcome> = outcomes.iter().collect();
    _ = writeln!(out, "<testsuites name=\"tidegate test\" {}>", sums(&all));
    let mut files: Vec<String> = Vec::new();
    for name in outcomes.iter().map(file) {
        if !files.contains(&name) {
            files.push(name);
        }
    }
    for name in files {
        let own: Vec<&Outcome> = outcomes.iter().filter(|outcome| file(outcome) == name).collect();
        _ = writeln!(out, "  <testsuite name=\"{}\" {}>", escaped(&name), sums(&own));
        for outcome in own {
            let line = outcome.at.as_ref().map_or(0, |(_, line)| *line);
            _ = write!(
                out,
                "    <testcase name=\"{}\" classname=\"{}\" file=\"{}\" line=\"{line}\" time=\"{:.3}\"",
                escaped(&outcome.name),
                escaped(&name),
                escaped(&name),
                outcome.took.as_secs_f64()
            );
            if outcome.faults.is_empty() {
                out.push_str("/>\n");
                continue;
            }
            let first = outcome.faults.first().and_then(|fault| fault.lines().next()).unwrap_or_default();
            let text = outcome.faults.join("\n");
            _ = writeln!(
                out,
                ">\n      <failure message=\"{}\" type=\"expectation\">{}</failure>\n    </testcase>",
                escaped(first),
                escaped(&text)
            );
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// A text within XML; what XML 1.0 cannot say is U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
