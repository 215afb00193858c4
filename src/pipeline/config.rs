//! What a configuration says: the checked values, without where they came from.

use super::Fingerprint;
use super::cases::TestCase;
use crate::component::plan::{SinkPlan, SourcePlan, TransformPlan};
use crate::http::UserPassword;
use crate::net::tls::ServerTls;
use crate::settings::{Asked, Node, Reader, SchemaBuilder, Secret, Setting, Size, Span, Spanned, config, config_enum};
use crate::telemetry::ComponentKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

config! {
    /// Settings of the agent itself.
    pub struct Globals {
        /// Folder of checkpoints, disk buffers and the ledger; created with mode 0700 where it is missing.
        pub data_dir: PathBuf = PathBuf::from("./data"),
        /// Health, metrics and the ledger over HTTP; off when left out.
        pub api: Option<ApiConfig> = None,
        /// Zone of timestamps that name none.
        pub timezone: jiff::tz::TimeZone = jiff::tz::TimeZone::UTC,
        /// Bytes of events held in memory at most, all queues together.
        pub memory_limit: Spanned<Size> = Spanned::new(Size::mib(24), Span::default()),
        /// How long stopping may take before what is left is persisted or given up.
        pub shutdown_timeout: Duration = Duration::from_secs(30),
        /// Worker threads; default: as many as there are cores.
        pub threads: Option<NonZeroUsize> = None,
        /// How often a source or sink that fails is started again.
        pub restart: RestartConfig = RestartConfig::defaults(),
    }
}

config! {
    /// A source or sink that fails is started again after 1s, then after twice as long each time, 60s at most. One that fails more
    /// often than this ends the agent: it drains and exits with 1.
    pub struct RestartConfig {
        /// How often one may fail `within` a time. 0: the first failure ends the agent.
        pub max: u32 = 10,
        /// The time.
        pub within: Duration = Duration::from_secs(600),
    }
}

config! {
    /// The agent's HTTP interface.
    pub struct ApiConfig {
        /// Address and port, or `unix:///path` of a socket that only the agent's user may open. On an address that others can reach,
        /// only `/health`, `/ready` and `/metrics` are served without `auth`.
        pub listen: Spanned<ApiListen>,
        /// Certificate and key, to serve HTTPS.
        pub tls: Option<ServerTls> = None,
        /// Who may ask.
        pub auth: Option<ServerAuth> = None,
        /// Values of the `Host` header that are taken besides the address itself and `localhost`.
        pub allowed_hosts: Vec<String> = Vec::new(),
        /// How many of the last frames of each source are kept in memory, for `tidegate plan` to try: at most 1MiB of a source, and
        /// a sixteenth of `memory_limit` of all of them. 0: none.
        pub recent: Spanned<usize> = Spanned::new(1000, Span::default()),
        /// What of events is shown by `tidegate tap` and `plan`. `full` needs `auth`.
        pub tap: Spanned<Tap> = Spanned::new(Tap::Redacted, Span::default()),
    }
}

/// Where the API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiListen {
    /// On an address.
    Tcp(std::net::SocketAddr),
    /// On a socket with this path.
    Unix(PathBuf),
}

/// How the path of a socket begins.
pub const UNIX: &str = "unix://";

impl std::fmt::Display for ApiListen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ApiListen::Tcp(address) => address.fmt(f),
            ApiListen::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Setting for ApiListen {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let path = node.as_str().and_then(|text| text.strip_prefix(UNIX));
        match path {
            None => std::net::SocketAddr::read(node, cx).map(ApiListen::Tcp),
            // The kernel's limit, less what a name for a moment takes.
            Some(path) if path.starts_with('/') && path.len() > 1 && path.len() <= 100 => {
                Some(ApiListen::Unix(PathBuf::from(path)))
            }
            Some(_) => {
                let message = format!("{}: a socket's path begins with `/` and has 100 bytes at most", cx.subject());
                cx.error(node.span, message).help("for example `unix:///run/tidegate/api.sock`");
                None
            }
        }
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        std::net::SocketAddr::schema(g)
    }

    fn describe() -> String {
        std::net::SocketAddr::describe()
    }
}

config_enum! {
    /// What of events is shown to who asks the API for examples.
    pub enum Tap {
        /// As the `redact`s behind make them; what comes to none as `detect: [secrets]` does.
        Redacted = "redacted",
        /// As they are.
        Full = "full",
        /// Nothing; they are counted.
        Off = "off",
    }
}

/// More frames than this are not kept of a source.
const MAX_RECENT: usize = 1000;

impl ApiConfig {
    /// Notes mistakes between its keys.
    pub(super) fn check(&self, cx: &mut Reader<'_>) {
        if self.tap.value == Tap::Full && self.auth.is_none() {
            cx.error(self.tap.span, "`api.tap: full` shows events as they are: it needs `api.auth`")
                .help("write `auth: {bearer: [\"${TOKEN}\"]}`, or `tap: redacted`");
        }
        if self.recent.value > MAX_RECENT {
            cx.error(self.recent.span, format!("`api.recent` is {MAX_RECENT} at most"));
        }
    }
}

config! {
    /// What a client must show.
    pub struct ServerAuth {
        /// User and password.
        pub basic: Option<UserPassword> = None,
        /// Tokens, any of which will do.
        pub bearer: Vec<Secret> = Vec::new(),
    }
}

impl ServerAuth {
    /// Notes what would let everybody in, or nobody.
    pub(super) fn check(&self, span: Span, cx: &mut Reader<'_>) {
        if self.basic.is_none() && self.bearer.is_empty() {
            cx.error(span, "`api.auth` asks for nothing; it needs `basic` or `bearer`")
                .help("write `auth: {bearer: [\"${TOKEN}\"]}`, or leave `auth` out");
        }
    }
}

/// The checked settings of a component.
pub enum AnyPlan {
    /// Of a source.
    Source(Box<dyn SourcePlan>),
    /// Of a transform.
    Transform(Box<dyn TransformPlan>),
    /// Of a sink.
    Sink(Box<dyn SinkPlan>),
}

impl std::fmt::Debug for AnyPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source(_) => "source",
            Self::Transform(_) => "transform",
            Self::Sink(_) => "sink",
        })
    }
}

/// An output that a component reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Id of the component that is read.
    pub from: String,
    /// Its named output; `None` for the default one.
    pub output: Option<String>,
}

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.output {
            Some(output) => write!(f, "{}.{output}", self.from),
            None => f.write_str(&self.from),
        }
    }
}

/// A component of a checked configuration.
#[derive(Debug)]
pub struct Component {
    /// What it is.
    pub kind: ComponentKind,
    /// Its id, and where that stands.
    pub id: Spanned<String>,
    /// The word behind `type:`.
    pub type_name: &'static str,
    /// What it reads, globs resolved, each once, in written order.
    pub inputs: Vec<Edge>,
    /// Its settings.
    pub plan: AnyPlan,
    /// The metadata that they ask for.
    pub asks: Vec<Asked>,
    /// What tells whether they are the same as another time.
    pub fingerprint: Fingerprint,
}

/// Fingerprints of the settings of the agent itself, by key.
pub type AgentPrint = std::collections::BTreeMap<String, u128>;

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Config {
    /// Settings of the agent itself.
    pub globals: Globals,
    /// The components, each behind those it reads; sinks behind the sinks they are the dead letter of.
    pub components: Vec<Component>,
    /// Unit tests of the pipeline.
    pub tests: Vec<TestCase>,
    /// Of each of the settings of the agent itself.
    pub agent: AgentPrint,
}
