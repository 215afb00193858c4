//! What is known of a graph where its events are looked at: its points, and what `redact` lies where.

use crate::event::Batch;
use crate::telemetry::ComponentKind;
use globset::{Glob, GlobMatcher};
use std::fmt;
use std::sync::Arc;

/// Redacts the events of a batch.
pub type Redactor = Box<dyn FnMut(&mut Batch) + Send>;

/// A `redact` of a graph.
#[derive(Clone)]
pub struct Cover {
    /// Tells it from all others of the process.
    pub number: u64,
    /// Makes an instance of it.
    pub make: Arc<dyn Fn() -> Redactor + Send + Sync>,
}

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cover").field(&self.number).finish()
    }
}

/// A component of a graph.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its id.
    pub id: Arc<str>,
    /// What it is.
    pub kind: ComponentKind,
    /// Its `type`.
    pub type_name: &'static str,
    /// What it reads: id and output; the default output is the empty name.
    pub inputs: Vec<(Arc<str>, Arc<str>)>,
    /// Its outputs besides the default one.
    pub outputs: Vec<Arc<str>>,
    /// The sink that takes what it cannot deliver.
    pub dead_letter: Option<Arc<str>>,
    /// It sends requests.
    pub sends: bool,
    /// What it redacts with, where it does.
    pub cover: Option<Cover>,
}

/// A graph; each component behind those that it reads.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Its components.
    pub parts: Vec<Part>,
}

/// Where of a component events are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// What it takes: `id:in`.
    In,
    /// What it puts out: `id`, or `id.name`.
    Out(String),
    /// What it sends: `id:request`.
    Request,
}

impl Side {
    /// The component and side of a point's name.
    pub fn of(point: &str) -> Option<(&str, Side)> {
        match point.split_once(':') {
            Some((id, "in")) => Some((id, Side::In)),
            Some((id, "request")) => Some((id, Side::Request)),
            Some(_) => None,
            None => match point.split_once('.') {
                Some((id, output)) => Some((id, Side::Out(output.to_owned()))),
                None => Some((point, Side::Out(String::new()))),
            },
        }
    }
}

/// The name of the point where a component puts events out.
pub fn output_point(id: &str, output: &str) -> String {
    if output.is_empty() { id.to_owned() } else { format!("{id}.{output}") }
}

/// The name of the point where a component takes events.
pub fn input_point(id: &str) -> String {
    format!("{id}:in")
}

/// The name of the point where a sink sends requests.
pub fn request_point(id: &str) -> String {
    format!("{id}:request")
}

/// Which points of a graph are asked for.
#[derive(Clone, Debug)]
pub struct Patterns {
    /// As written, and as matchers of id and side; none: what every sink gets.
    written: Vec<(String, GlobMatcher, Option<GlobMatcher>)>,
}

impl Patterns {
    /// Reads names and globs; none: what every sink gets.
    ///
    /// Errors: one is no pattern, in words.
    pub fn new(texts: &[String]) -> Result<Patterns, String> {
        let glob = |text: &str| Glob::new(text).map(|glob| glob.compile_matcher());
        let read = |text: &String| {
            let at = text.find([':', '.']);
            let (id, side) = at.map_or((text.as_str(), None), |at| (&text[..at], Some(&text[at..])));
            let both = glob(id).and_then(|id| Ok((id, side.map(glob).transpose()?)));
            both.map(|(id, side)| (text.clone(), id, side)).map_err(|error| format!("`{text}` is no point: {error}"))
        };
        Ok(Patterns { written: texts.iter().map(read).collect::<Result<_, _>>()? })
    }

    fn matches(&self, part: &Part, point: &str, found: &mut [bool]) -> bool {
        if self.written.is_empty() {
            return part.kind == ComponentKind::Sink && point.ends_with(":in");
        }
        let mut any = false;
        let side = &point[part.id.len()..];
        for ((text, id, glob), found) in self.written.iter().zip(found) {
            let is_it = id.is_match(&*part.id)
                && match glob {
                    Some(glob) => glob.is_match(side),
                    // A sink puts nothing out: by its name alone it is meant for what it takes.
                    None if part.kind == ComponentKind::Sink => side == ":in" && *text == *part.id,
                    None => side.is_empty(),
                };
            *found |= is_it;
            any |= is_it;
        }
        any
    }

    /// The points of a graph that are meant, and what means none of them.
    pub fn find(&self, graph: &Graph) -> (Vec<String>, Vec<String>) {
        let mut found = vec![false; self.written.len()];
        let points = graph.parts.iter().flat_map(|part| part.points().into_iter().map(move |point| (part, point)));
        let meant: Vec<String> =
            points.filter(|(part, point)| self.matches(part, point, &mut found)).map(|(_, point)| point).collect();
        let unmet = self.written.iter().zip(&found).filter(|(_, found)| !**found);
        (meant, unmet.map(|((text, ..), _)| text.clone()).collect())
    }

    /// The transforms of a graph that are meant, by any of their points, and what means none.
    pub fn transforms(&self, graph: &Graph) -> (Vec<Arc<str>>, Vec<String>) {
        let mut found = vec![false; self.written.len()];
        let mut ids = Vec::new();
        for part in graph.parts.iter().filter(|part| part.kind == ComponentKind::Transform) {
            let all = self.written.is_empty();
            let points = part.points();
            let meant = points.iter().filter(|point| self.matches(part, point, &mut found)).count() > 0;
            if all || meant {
                ids.push(part.id.clone());
            }
        }
        let unmet = self.written.iter().zip(&found).filter(|(_, found)| !**found);
        (ids, unmet.map(|((text, ..), _)| text.clone()).collect())
    }
}

impl Part {
    /// Names of its points.
    pub fn points(&self) -> Vec<String> {
        let mut points = Vec::new();
        if self.kind != ComponentKind::Source {
            points.push(input_point(&self.id));
        }
        match self.kind {
            ComponentKind::Sink if self.sends => points.push(request_point(&self.id)),
            ComponentKind::Sink => {}
            ComponentKind::Source | ComponentKind::Transform => {
                points.push(self.id.to_string());
                points.extend(self.outputs.iter().map(|output| output_point(&self.id, output)));
            }
        }
        points
    }
}

impl Graph {
    /// Names of all points.
    pub fn points(&self) -> Vec<String> {
        self.parts.iter().flat_map(Part::points).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn graph() -> Graph {
        let part = |id: &str, kind, outputs: &[&str], sends| Part {
            id: id.into(),
            kind,
            type_name: "test",
            inputs: Vec::new(),
            outputs: outputs.iter().map(|o| Arc::from(*o)).collect(),
            dead_letter: None,
            sends,
            cover: None,
        };
        Graph {
            parts: vec![
                part("app", ComponentKind::Source, &["rejected"], false),
                part("by", ComponentKind::Transform, &["a", "rejected"], false),
                part("out", ComponentKind::Sink, &[], true),
                part("disk", ComponentKind::Sink, &[], false),
            ],
        }
    }

    #[test]
    fn points_are_found_by_names_and_globs() {
        let find = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            Patterns::new(&texts).unwrap().find(&graph())
        };
        let all = ["app", "app.rejected", "by:in", "by", "by.a", "by.rejected", "out:in", "out:request", "disk:in"];
        assert_eq!(graph().points(), all);
        assert_eq!(find(&[]).0, ["out:in", "disk:in"]);
        assert_eq!(find(&["*"]).0, ["app", "by"]);
        assert_eq!(find(&["*.*", "*:*", "*"]).0, all);
        assert_eq!(find(&["out"]).0, ["out:in"]);
        assert_eq!(find(&["*.rejected", "out:request"]).0, ["app.rejected", "by.rejected", "out:request"]);
        assert_eq!(find(&["{app,by}"]).0, ["app", "by"]);
        let (found, unmet) = find(&["app", "nowhere", "disk:request"]);
        assert_eq!((found, unmet), (vec!["app".to_owned()], vec!["nowhere".to_owned(), "disk:request".to_owned()]));
        assert!(Patterns::new(&["a[".to_owned()]).is_err());
        assert_eq!(Patterns::new(&["by.a".to_owned()]).unwrap().transforms(&graph()).0, [Arc::from("by")]);
        assert_eq!(Patterns::new(&[]).unwrap().transforms(&graph()).0, [Arc::from("by")]);
    }

    #[test]
    fn a_point_names_its_component_and_side() {
        assert_eq!(Side::of("a"), Some(("a", Side::Out(String::new()))));
        assert_eq!(Side::of("a.b"), Some(("a", Side::Out("b".to_owned()))));
        assert_eq!(Side::of("a:in"), Some(("a", Side::In)));
        assert_eq!(Side::of("a:request"), Some(("a", Side::Request)));
        assert_eq!(Side::of("a:b"), None);
    }
}
