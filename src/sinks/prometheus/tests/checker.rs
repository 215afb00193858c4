//! A strict reader of OpenMetrics 1.0.0 and of the text format 0.0.4, written from the specification: what our page is
//! held against. Proved on the cases of the OpenMetrics project.

use std::collections::{BTreeMap, HashMap, HashSet};

/// A sample: name, labels, value.
pub(super) type Sample = (String, BTreeMap<String, String>, f64);

/// A sample and its time.
type Timed = (Sample, Option<f64>);

#[derive(Default)]
struct Family {
    kind: Option<String>,
    help: bool,
    unit: Option<String>,
    samples: Vec<Timed>,
}

const TYPES: &[&str] = &["unknown", "gauge", "counter", "stateset", "info", "histogram", "gaugehistogram", "summary"];
const TEXT_TYPES: &[&str] = &["untyped", "gauge", "counter", "histogram", "summary"];

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_count", "_sum", "_created"],
        "gaugehistogram" => &["_bucket", "_gcount", "_gsum"],
        "summary" => &["", "_count", "_sum", "_created"],
        "info" => &["_info"],
        _ => &[""],
    }
}

/// Reads a page; `open` says which format. Errors: the first rule it breaks.
pub(super) fn check(page: &str, open: bool) -> Result<Vec<Sample>, String> {
    let mut families: Vec<(String, Family)> = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut ended = false;
    let body = page.strip_suffix('\n').unwrap_or(page);
    if !page.is_empty() && !page.ends_with('\n') && !open {
        return Err("no line end at the end".into());
    }
    for line in body.split('\n').filter(|_| !body.is_empty()) {
        if ended {
            return Err(format!("text behind the end: {line:?}"));
        }
        if line == "# EOF" && open {
            ended = true;
            continue;
        }
        if let Some(meta) = line.strip_prefix("# ") {
            let mut parts = meta.splitn(3, ' ');
            let (word, name, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next());
            let rest = rest.ok_or_else(|| format!("short: {line:?}"))?;
            if !is_name(name, true) {
                return Err(format!("name of {line:?}"));
            }
            let family = family(&mut families, &mut seen, name)?;
            if !family.samples.is_empty() {
                return Err(format!("behind its samples: {line:?}"));
            }
            let again = match word {
                "HELP" => std::mem::replace(&mut family.help, true),
                "TYPE" if (if open { TYPES } else { TEXT_TYPES }).contains(&rest) => {
                    family.kind.replace(rest.to_owned()).is_some()
                }
                "UNIT" if open => family.unit.replace(rest.to_owned()).is_some(),
                _ => return Err(format!("not known: {line:?}")),
            };
            if again {
                return Err(format!("twice: {line:?}"));
            }
            continue;
        }
        let (sample, time, exemplar) = sample(line)?;
        if exemplar && !(sample.0.ends_with("_total") || sample.0.ends_with("_bucket")) {
            return Err(format!("an exemplar on {line:?}"));
        }
        let in_last = families.last().filter(|(name, f)| belongs(&sample.0, name, f, open)).map(|f| f.0.clone());
        let name = in_last.unwrap_or_else(|| sample.0.clone());
        let family = family(&mut families, &mut seen, &name)?;
        family.samples.push((sample, time));
    }
    if open && !ended {
        return Err("no # EOF".into());
    }
    let mut all_names = HashMap::new();
    for (name, family) in &families {
        check_family(name, family, open).map_err(|e| format!("{name}: {e}"))?;
        let kind = family.kind.as_deref().unwrap_or("unknown");
        // The text format knows no time of beginning; Prometheus' own libraries show it as a gauge there.
        for suffix in suffixes(kind).iter().chain(&[""]).filter(|suffix| open || **suffix != "_created") {
            if let Some(other) = all_names.insert(format!("{name}{suffix}"), name)
                && other != name
            {
                return Err(format!("`{name}` and `{other}` clash"));
            }
        }
    }
    Ok(families.into_iter().flat_map(|(_, f)| f.samples.into_iter().map(|s| s.0)).collect())
}

fn belongs(sample: &str, name: &str, family: &Family, open: bool) -> bool {
    let kind = family.kind.as_deref().unwrap_or("unknown");
    let counter_as_written = !open && kind == "counter";
    sample
        .strip_prefix(name)
        .is_some_and(|suffix| if counter_as_written { suffix.is_empty() } else { suffixes(kind).contains(&suffix) })
}

fn family<'f>(
    families: &'f mut Vec<(String, Family)>,
    seen: &mut HashSet<String>,
    name: &str,
) -> Result<&'f mut Family, String> {
    if families.last().is_none_or(|f| f.0 != name) {
        if !seen.insert(name.to_owned()) {
            return Err(format!("`{name}` in two places"));
        }
        families.push((name.to_owned(), Family::default()));
    }
    families.last_mut().map(|f| &mut f.1).ok_or_else(|| "none".into())
}

fn is_name(name: &str, colons: bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':'))
}

fn number(text: &str) -> Result<f64, String> {
    let bad = || format!("not a number: {text:?}");
    match text {
        "NaN" => Ok(f64::NAN),
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        _ if text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E')) => {
            text.parse().map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}

/// Labels from behind `{` to `}`; gives what follows.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut all = BTreeMap::new();
    if let Some(rest) = rest.strip_prefix('}') {
        return Ok((all, rest));
    }
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("a label without value")?;
        if !is_name(name, false) {
            return Err(format!("label name {name:?}"));
        }
        let mut text = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().ok_or("a label without end")? {
                (i, '"') => break i + 1,
                (_, '\\') => match chars.next().ok_or("a label without end")?.1 {
                    'n' => text.push('\n'),
                    c @ ('"' | '\\') => text.push(c),
                    c => text.extend(['\\', c]),
                },
                (_, c) => text.push(c),
            }
        };
        if all.insert(name.to_owned(), text).is_some() {
            return Err(format!("label {name:?} twice"));
        }
        rest = &value[end..];
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((all, rest));
        }
        rest = rest.strip_prefix(',').ok_or("no comma between labels")?;
    }
}

fn sample(line: &str) -> Result<(Sample, Option<f64>, bool), String> {
    let end = line.find(['{', ' ']).ok_or_else(|| format!("short: {line:?}"))?;
    let (name, rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err(format!("name {name:?}"));
    }
    let (labels_found, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let rest = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    let (rest, exemplar) = match rest.split_once(" # {") {
        Some((rest, exemplar)) => (rest, Some(exemplar)),
        None => (rest, None),
    };
    let mut words = rest.split(' ');
    let value = number(words.next().unwrap_or(""))?;
    let time = words.next().map(number).transpose()?;
    if words.next().is_some() || time.is_some_and(|t| !t.is_finite()) {
        return Err(format!("behind the value: {line:?}"));
    }
    if let Some(exemplar) = exemplar {
        let (set, rest) = labels(exemplar)?;
        if set.iter().map(|(k, v)| k.chars().count() + v.chars().count()).sum::<usize>() > 128 {
            return Err("the exemplar's labels are too long".into());
        }
        let rest = rest.strip_prefix(' ').ok_or("no value of the exemplar")?;
        for word in rest.split(' ') {
            number(word)?;
        }
    }
    Ok(((name.to_owned(), labels_found, value), time, exemplar.is_some()))
}

fn check_family(name: &str, family: &Family, open: bool) -> Result<(), String> {
    let kind = family.kind.as_deref().unwrap_or("unknown");
    let unit = family.unit.as_deref().filter(|u| !u.is_empty());
    if let Some(unit) = unit
        && (!name.ends_with(&format!("_{unit}")) || matches!(kind, "info" | "stateset"))
    {
        return Err(format!("unit {unit:?}"));
    }
    // Samples by series: all of one together, times not falling.
    let own = |labels: &BTreeMap<String, String>| {
        let mut labels = labels.clone();
        match kind {
            "histogram" | "gaugehistogram" => labels.remove("le"),
            "summary" => labels.remove("quantile"),
            "stateset" => labels.remove(name),
            _ => None,
        };
        labels
    };
    let mut groups: Vec<(BTreeMap<String, String>, Vec<&Timed>)> = Vec::new();
    for sample in &family.samples {
        let labels = own(&sample.0.1);
        match groups.iter().position(|g| g.0 == labels) {
            None => groups.push((labels, vec![sample])),
            Some(at) if at + 1 == groups.len() => groups[at].1.push(sample),
            Some(_) => return Err(format!("series {labels:?} in two places")),
        }
    }
    for (labels, samples) in &groups {
        let mut last: HashMap<(&str, &BTreeMap<String, String>), f64> = HashMap::new();
        for (sample, time) in samples {
            let before = last.insert((&sample.0, &sample.1), time.unwrap_or(f64::NAN));
            if before.is_some_and(|before| !time.is_some_and(|time| time >= before)) {
                return Err(format!("{labels:?} twice, or back in time"));
            }
        }
        check_series(name, kind, samples, open)?;
    }
    Ok(())
}

fn check_series(name: &str, kind: &str, samples: &[&Timed], open: bool) -> Result<(), String> {
    let value = |suffix: &str| samples.iter().find(|s| s.0.0 == format!("{name}{suffix}")).map(|s| s.0.2);
    let whole = |x: f64| x >= 0.0 && x == x.trunc();
    match kind {
        "counter" if samples.iter().any(|s| s.0.2.is_nan() || s.0.2 < 0.0) => Err("a counter below zero".into()),
        "stateset" => {
            let good = samples.iter().all(|s| s.0.1.contains_key(name) && (s.0.2 == 0.0 || s.0.2 == 1.0));
            if good { Ok(()) } else { Err("a bad state".into()) }
        }
        "info" if samples.iter().any(|s| s.0.2 != 1.0) => Err("a bad info".into()),
        "summary" => {
            for (sample, _) in samples {
                if sample.0 == name {
                    let q = sample.1.get("quantile").ok_or("no quantile")?;
                    if !(0.0..=1.0).contains(&number(q)?) {
                        return Err(format!("quantile {q}"));
                    }
                } else if sample.0.ends_with("_count") && !whole(sample.2) {
                    return Err("a count that is no count".into());
                }
            }
            Ok(())
        }
        "histogram" | "gaugehistogram" => {
            let mut buckets = Vec::new();
            for (sample, _) in samples.iter().filter(|s| s.0.0.ends_with("_bucket")) {
                buckets.push((number(sample.1.get("le").ok_or("no le")?)?, sample.2));
            }
            let grows = buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
            let infinite = buckets.last().is_some_and(|b| b.0 == f64::INFINITY);
            if !grows || !infinite || !buckets.iter().all(|b| whole(b.1)) {
                return Err(format!("buckets {buckets:?}"));
            }
            let (sum, count) =
                if kind == "histogram" { (value("_sum"), value("_count")) } else { (value("_gsum"), value("_gcount")) };
            // The text format does not demand a sum, which what measures below zero has not.
            let alone = if open { sum.is_some() != count.is_some() } else { sum.is_some() && count.is_none() };
            if count.is_some_and(|c| Some(c) != buckets.last().map(|b| b.1)) || alone {
                return Err("count and sum".into());
            }
            let negative = buckets.iter().any(|b| b.0 < 0.0);
            if kind == "histogram" && sum.is_some_and(|s| s.is_nan() || (open && negative)) {
                return Err("a sum of negative values".into());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
