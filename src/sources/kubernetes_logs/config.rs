//! What the user writes.

use crate::component::common::SourceCommon;
use crate::framing::{LongLines, MultilineSetting};
use crate::http::check_address;
use crate::kubernetes::{FieldName, Names, Place, Selector};
use crate::settings::{Reader, Size, Span, Spanned, config, config_enum};
use crate::sources::file::{Compressed, FileConfig, Fingerprint, StartAt, WatchMode};
use globset::{GlobBuilder, GlobMatcher};
use reqwest::Url;
use std::path::PathBuf;
use std::time::Duration;

config! {
    /// The logs of a node's containers, each line with what is known of its pod.
    pub struct KubernetesLogsConfig {
        /// Log files: paths as `include` of `file` has them, that end as the kubelet's do: `<namespace>_<pod>_<uid>/<container>/0.log`.
        /// Rotated files beside them (`0.log.20260101-000000`, `.gz`) are read too, where they were not before.
        pub paths: Vec<Spanned<String>> = vec![Spanned::new("/var/log/pods/*/*/*.log".to_owned(), Span::default())],
        /// Only what one entry of each list fits is read.
        pub include: Option<PodsSetting>,
        /// What one entry of any list fits is not read.
        pub exclude: Option<PodsSetting>,
        /// Whether annotations of pods are heard: `tidegate.dev/exclude: "true"`, `tidegate.dev/exclude-containers: "a,b"`,
        /// `tidegate.dev/decode: json`, `tidegate.dev/multiline: java`.
        pub annotations: bool = true,
        /// What these annotations begin with, before the slash.
        pub annotation_prefix: String = "tidegate.dev".to_owned(),
        /// What is known of pods, and from where.
        pub metadata: MetadataSetting = MetadataSetting::defaults(),
        /// What the fields are called.
        pub names: Names = Names::Tidegate,
        /// Whether dots in names of labels and annotations become underscores.
        pub dedot: bool = false,
        /// How much a pod or namespace may give.
        pub rate_limit: Option<RateLimitSetting>,
        /// Where to begin with files that are there at the first start. Files that appear later are read from the beginning.
        pub start_at: StartAt = StartAt::Beginning,
        /// Which messages make one event, where no annotation says so. The parts of a message that the runtime has split are joined
        /// in any case.
        pub multiline: Option<MultilineSetting>,
        /// How long a message waits for its next part, also for one in the file that takes the name of a rotated one.
        pub partial_timeout: Duration = Duration::from_secs(10),
        /// Longest line, without its end; of a message that was split, the line that its parts make.
        pub max_line_bytes: Spanned<Size> = Spanned::new(Size::mib(1), Span::default()),
        /// What becomes of longer lines.
        pub long_lines: LongLines = LongLines::Truncate,
        /// Files not changed for that long are not read, unless they were before.
        pub ignore_older: Option<Duration>,
        /// What becomes of compressed files.
        pub compressed: Compressed = Compressed::Auto,
        /// How often folders are looked through for new files; where the system tells of changes, a tenth as often.
        pub glob_interval: Duration = Duration::from_secs(1),
        /// How changes are noticed.
        pub watch: WatchMode = WatchMode::Auto,
        /// What all sources have; `decode` is for the message of each line.
        flatten pub common: SourceCommon,
    }
}

config! {
    /// Pods and containers, by their names and labels; `*` stands for any characters.
    pub struct PodsSetting {
        /// Names of namespaces.
        pub namespaces: Vec<NamePattern> = Vec::new(),
        /// Names of pods.
        pub pods: Vec<NamePattern> = Vec::new(),
        /// Names of containers.
        pub containers: Vec<NamePattern> = Vec::new(),
        /// Label selectors of pods, as Kubernetes writes them: `app=web,tier!=db`, `env in (a, b)`, `!canary`. Of a pod of which nothing is
        /// known they do not hold, neither way: its events are marked, and read.
        pub labels: Vec<Selector> = Vec::new(),
    }
}

/// A name with `*`, `?` and the like, known to be one.
#[derive(Clone, Debug)]
pub struct NamePattern {
    text: String,
    glob: GlobMatcher,
}

crate::settings::text_setting!(
    NamePattern,
    "a name, with `*` for any characters",
    |text, node, cx| match GlobBuilder::new(text).build() {
        Ok(glob) => Some(NamePattern { text: text.to_owned(), glob: glob.compile_matcher() }),
        Err(error) => {
            cx.error(node.span, format!("this pattern cannot be read: {}", error.kind()));
            None
        }
    },
    |pattern| pattern.text.clone()
);

impl PodsSetting {
    /// Whether the names fit one entry of each list that has some.
    pub(super) fn has_names(&self, namespace: &str, pod: &str, container: &str) -> bool {
        let fits = |list: &[NamePattern], name: &str| list.is_empty() || list.iter().any(|p| p.glob.is_match(name));
        fits(&self.namespaces, namespace) && fits(&self.pods, pod) && fits(&self.containers, container)
    }

    /// Whether one of the names fits an entry.
    pub(super) fn has_a_name(&self, namespace: &str, pod: &str, container: &str) -> bool {
        let fits = |list: &[NamePattern], name: &str| list.iter().any(|p| p.glob.is_match(name));
        fits(&self.namespaces, namespace) || fits(&self.pods, pod) || fits(&self.containers, container)
    }
}

config! {
    /// What is known of pods, and from where.
    pub struct MetadataSetting {
        /// Who is asked.
        pub from: From = From::Api,
        /// What events are given under `kubernetes`.
        pub fields: Vec<FieldName> = FieldName::ALL.to_vec(),
        /// How long events of a pod wait for what is not known of it yet. Then they go on with what the path says, marked
        /// `kubernetes.metadata: missing` and counted. While the server cannot be reached nobody waits.
        pub wait: Duration = Duration::from_secs(5),
        /// The first question comes at a random time within this, so that agents that start together do not ask together. Until it is
        /// answered, events wait for that and `wait`.
        pub spread: Duration = Duration::from_secs(10),
        /// The node's name; by default `NODE_NAME` of the environment, else what the API server says of this pod.
        pub node: Option<String> = None,
        /// Address of the API server, or of the kubelet; by default that of the cluster, or `NODE_IP` of the environment with port 10250.
        pub url: Option<Spanned<String>> = None,
        /// File with the token; by default the service account's. Read before each request.
        pub token_file: Option<PathBuf> = None,
        /// PEM file of certificate authorities; by default the service account's. Read again when it changes.
        pub ca_file: Option<PathBuf> = None,
        /// Whether the server's certificate is checked. Many kubelets have one that nobody has signed.
        pub verify: bool = true,
    }
}

config_enum! {
    /// Who is asked about pods.
    pub enum From {
        /// The API server: one list at the start, then a watch of this node's pods alone.
        Api = "api",
        /// The node's kubelet, at most every 5 s; it is asked when a pod appears, and every minute.
        Kubelet = "kubelet",
        /// Nobody: what the path says is all.
        None = "none",
    }
}

config! {
    /// How much a pod or namespace may give.
    pub struct RateLimitSetting {
        /// Bytes of log lines a second.
        pub bytes_per_second: Spanned<Size>,
        /// Who has this for itself.
        pub by: LimitBy = LimitBy::Pod,
        /// How many bytes may come at once; by default those of one second.
        pub burst: Option<Size> = None,
        /// What becomes of more.
        pub mode: LimitMode = LimitMode::Wait,
    }
}

config_enum! {
    /// Who has a limit for itself.
    pub enum LimitBy {
        /// Each pod.
        Pod = "pod",
        /// Each namespace, on this node.
        Namespace = "namespace",
    }
}

config_enum! {
    /// What becomes of what is beyond a limit.
    pub enum LimitMode {
        /// It stays in its file until there is room; what the kubelet rotates away meanwhile is lost.
        Wait = "wait",
        /// It is dropped, reason `rate_limited`.
        Drop = "drop",
    }
}

impl KubernetesLogsConfig {
    pub(super) fn note_mistakes(&self, cx: &mut Reader<'_>) {
        self.file().note_mistakes(cx);
        if self.paths.is_empty() {
            cx.error_at("paths", "`paths` is empty: nothing would be read");
        }
        if self.common.decode.container().is_some() {
            cx.error_at("decode", "`decode` is for the messages; lines of CRI and Docker are known by themselves")
                .help("leave it out, or write what is in the messages: `decode: json`");
        }
        if let Some(url) = &self.metadata.url {
            check_address(cx, "url", url, "https://10.96.0.1:443");
        }
        if let Some(limit) = &self.rate_limit
            && limit.bytes_per_second.bytes() == 0
        {
            cx.error(limit.bytes_per_second.span, "`bytes_per_second` must be at least 1");
        }
    }

    /// The `file` source on which it stands.
    pub(super) fn file(&self) -> FileConfig {
        // With the names that the kubelet gives to rotated files.
        let with_rotated = |path: &Spanned<String>| {
            let behind = if path.value.ends_with(".log") { "{,.*}" } else { "" };
            Spanned::new(format!("{}{behind}", path.value), path.span)
        };
        FileConfig {
            include: self.paths.iter().map(with_rotated).collect(),
            // What the kubelet is compressing right now.
            exclude: vec![Spanned::new("*.tmp".to_owned(), Span::default())],
            start_at: self.start_at,
            multiline: self.multiline.clone(),
            partial_timeout: self.partial_timeout,
            max_line_bytes: self.max_line_bytes.clone(),
            long_lines: self.long_lines,
            charset: None,
            ignore_older: self.ignore_older,
            remove_after: None,
            compressed: self.compressed,
            fingerprint: Fingerprint::Auto,
            glob_interval: self.glob_interval,
            watch: self.watch,
            follow_symlinks: true,
            rotated_to: Vec::new(),
            common: self.common.clone(),
        }
    }
}

impl MetadataSetting {
    /// Where to ask.
    pub(super) fn place(&self) -> Place {
        Place {
            url: self.url.as_ref().and_then(|url| Url::parse(url.value.trim_end_matches('/')).ok()),
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            verify: self.verify,
        }
    }

    pub(super) fn wants(&self, field: FieldName) -> bool {
        self.fields.contains(&field)
    }
}
