//! What the reader of files is told of their owners: made when a pod is known or its record changes, kept with the file.

use super::config::{From, KubernetesLogsConfig, LimitBy, LimitMode, PodsSetting, RateLimitSetting};
use super::pods::Pods;
use crate::decoding::kubernetes::POD_WORDS;
use crate::framing::container::Rule;
use crate::framing::multiline::{Limits, Multiline, Preset};
use crate::kubernetes::{FieldName, Known, LogPath, Names, Pod, Speech};
use crate::sources::file::{Limit, Owner, Owners};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Limits and rules that are kept by name; those that nobody uses any more go first.
const MOST_KEPT: usize = 4096;

/// Where the follower is, to be ended.
pub(super) struct Following {
    pub(super) cancel: CancellationToken,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// See [the module](self).
pub(super) struct Keeper {
    source: Arc<str>,
    pods: Arc<Pods>,
    speech: Speech,
    include: Option<PodsSetting>,
    exclude: Option<PodsSetting>,
    /// With a slash behind it; `None` where annotations are not heard.
    prefix: Option<String>,
    rate_limit: Option<RateLimitSetting>,
    rule: Arc<Rule>,
    wait: Duration,
    spread: Duration,
    /// Nobody is asked.
    alone: bool,
    namespaces: bool,
    /// Of the pods, as of the last look.
    seen: u64,
    hurried: bool,
    limits: HashMap<String, Arc<Limit>>,
    rules: HashMap<String, Option<Arc<Rule>>>,
    /// Values of annotations that mean nothing, each told once.
    told: HashSet<String>,
    _following: Option<Following>,
}

impl Keeper {
    pub(super) fn new(
        source: Arc<str>,
        config: &KubernetesLogsConfig,
        rule: Arc<Rule>,
        pods: Arc<Pods>,
        following: Option<Following>,
    ) -> Keeper {
        let metadata = &config.metadata;
        let speech = Speech { names: config.names, fields: metadata.fields.clone(), dedot: config.dedot };
        Keeper {
            source,
            pods,
            speech,
            include: config.include.clone(),
            exclude: config.exclude.clone(),
            prefix: config.annotations.then(|| format!("{}/", config.annotation_prefix)),
            rate_limit: config.rate_limit.clone(),
            rule,
            wait: metadata.wait,
            spread: metadata.spread,
            alone: following.is_none(),
            namespaces: metadata.from == From::Api && metadata.wants(FieldName::NamespaceLabels),
            seen: 0,
            hurried: false,
            limits: HashMap::new(),
            rules: HashMap::new(),
            told: HashSet::new(),
            _following: following,
        }
    }

    /// With a kubelet, events wait for its floor too.
    pub(super) fn with_floor(mut self, floor: Duration) -> Keeper {
        self.wait += floor;
        self
    }

    /// Why events of a container are dropped, where labels or annotations say so.
    fn drops(&self, pod: &Pod, container: &str) -> Option<&'static str> {
        let label = |key: &str| pod.labels.get(key).map(String::as_str);
        let selected = |pods: &PodsSetting| pods.labels.iter().any(|selector| selector.selects(label));
        let left_out = self.exclude.as_ref().is_some_and(selected)
            || self.include.as_ref().is_some_and(|include| !include.labels.is_empty() && !selected(include));
        let says = |key: &str| pod.annotations.get(key).map(String::as_str);
        let annotated = self.prefix.as_ref().is_some_and(|prefix| {
            let listed = says(&format!("{prefix}exclude-containers")).unwrap_or_default();
            says(&format!("{prefix}exclude")) == Some("true") || listed.split(',').any(|name| name.trim() == container)
        });
        let as_others = match self.speech.names {
            Names::Tidegate => false,
            Names::Vector => label("vector.dev/exclude") == Some("true"),
            Names::FluentBit => says("fluentbit.io/exclude") == Some("true"),
        };
        (left_out || annotated || as_others).then_some("excluded")
    }

    fn annotation<'p>(&self, pod: &'p Pod, name: &str) -> Option<&'p str> {
        let key = format!("{}{name}", self.prefix.as_ref()?);
        pod.annotations.get(&key).map(|value| value.trim())
    }

    fn decode(&mut self, pod: &Pod) -> Option<String> {
        let word = self.annotation(pod, "decode")?.to_owned();
        if POD_WORDS.contains(&&*word) {
            return Some(word);
        }
        self.tell("decode", &word);
        None
    }

    fn joins(&mut self, pod: &Pod) -> Option<Arc<Rule>> {
        let words = self.annotation(pod, "multiline")?.to_owned();
        if self.rules.len() >= MOST_KEPT {
            self.rules.clear();
        }
        if let Some(known) = self.rules.get(&words) {
            return known.clone();
        }
        let presets: Option<Vec<Preset>> = words.split(',').map(|word| preset(word.trim())).collect();
        let rule = presets.map(|presets| {
            Arc::new(Rule {
                format: self.rule.format,
                multiline: Some(Arc::new(Multiline::presets(presets, Limits::default()))),
                partial_timeout_nanos: self.rule.partial_timeout_nanos,
                max_bytes: self.rule.max_bytes,
                too_long: self.rule.too_long,
            })
        });
        if rule.is_none() {
            self.tell("multiline", &words);
        }
        self.rules.insert(words, rule.clone());
        rule
    }

    fn tell(&mut self, name: &str, value: &str) {
        if self.told.len() < MOST_KEPT && self.told.insert(format!("{name}={value}")) {
            let value = crate::telemetry::example_of(value.as_bytes());
            tracing::warn!(source = %self.source, annotation = name, value, "this annotation's value means nothing here");
        }
    }

    fn limit(&mut self, path: &LogPath<'_>) -> Option<Arc<Limit>> {
        let setting = self.rate_limit.as_ref()?;
        let key = match setting.by {
            LimitBy::Pod => format!("{}/{}", path.namespace, path.uid),
            LimitBy::Namespace => path.namespace.to_owned(),
        };
        if self.limits.len() >= MOST_KEPT {
            self.limits.retain(|_, limit| Arc::strong_count(limit) > 1);
        }
        let rate = setting.bytes_per_second.bytes();
        let burst = setting.burst.map_or(rate, |burst| burst.bytes());
        let drops = setting.mode == LimitMode::Drop;
        Some(self.limits.entry(key).or_insert_with(|| Arc::new(Limit::new(rate, burst, drops))).clone())
    }

    /// Writes what is known into the owner.
    fn settle(
        &mut self,
        name: &Path,
        path: &LogPath<'_>,
        owner: &mut Owner,
        (pod, labels): (Option<Arc<Pod>>, Option<Arc<BTreeMap<String, String>>>),
        node: Option<Arc<str>>,
    ) {
        let missing = pod.is_none() && !self.alone;
        let pod = pod.as_deref();
        let decode = pod.and_then(|pod| self.decode(pod));
        let known = Known { pod, namespace_labels: labels.as_deref(), missing, node: node.as_deref() };
        let shared = self.speech.shared(name, path, known, decode.as_deref());
        if owner.shared.as_deref() != Some(&shared) {
            owner.shared = Some(Arc::new(shared));
        }
        owner.rule = pod.and_then(|pod| self.joins(pod));
        owner.drops = pod.and_then(|pod| self.drops(pod, path.container));
        owner.lacks = missing.then_some("metadata_missing");
        owner.is_settled = true;
    }
}

impl Owners for Keeper {
    fn has_news(&mut self) -> bool {
        let version = self.pods.version();
        std::mem::replace(&mut self.seen, version) != version
    }

    fn ask(&mut self, name: &Path, owner: &mut Owner, mono: u64) -> Option<u64> {
        let version = self.pods.version();
        if owner.is_settled && owner.version == version {
            return None;
        }
        let is_first = owner.asked == 0;
        if is_first {
            owner.asked = mono.max(1);
        }
        owner.version = version;
        let Some(path) = LogPath::of(name) else {
            owner.is_settled = true;
            return None;
        };
        if is_first {
            owner.limit = self.limit(&path);
        }
        let (found, mut until, node) = {
            let mut table = self.pods.table();
            let wait = u64::try_from(self.wait.as_nanos()).unwrap_or(u64::MAX);
            let hopeless = self.alone || self.hurried || table.is_hopeless(mono, wait);
            let pod = table.find(path.namespace, path.pod, path.uid).cloned();
            let (labels, asks) = match self.namespaces && pod.is_some() {
                true => table.namespace(path.namespace),
                false => (None, false),
            };
            if asks || pod.is_none() && !hopeless {
                self.pods.wanted.notify_one();
            }
            let whole = pod.is_some() && (labels.is_some() || !self.namespaces);
            let until = (!whole && !hopeless).then(|| table.until(owner.asked, self.wait, self.spread));
            ((pod, labels), until, table.node.clone())
        };
        // What was known once is known still, though the server has forgotten it.
        let was_known = owner.is_settled && owner.lacks.is_none();
        if found.0.is_none() && was_known && !self.alone {
            return None;
        }
        until = until.filter(|until| *until > mono && !owner.is_settled);
        if until.is_none() {
            self.settle(name, &path, owner, found, node);
        }
        until
    }

    fn hurry(&mut self) {
        self.hurried = true;
    }
}

fn preset(word: &str) -> Option<Preset> {
    Some(match word {
        "java" => Preset::Java,
        "python" => Preset::Python,
        "go" => Preset::Go,
        "ruby" => Preset::Ruby,
        "node" => Preset::Node,
        "php" => Preset::Php,
        "rust" => Preset::Rust,
        "dotnet" => Preset::Dotnet,
        "indent" => Preset::Indent,
        _ => return None,
    })
}
