//! Asks the server about the node's pods, and goes on hearing of them.
//!
//! **API server.** One LIST of this node's pods, out of the server's cache (`resourceVersion=0`), then a WATCH from its version with
//! bookmarks. A watch that ends goes on from the last version that was heard of, without a LIST. A version that the server does not
//! know any more (410) is one fresh LIST; where a watch ends so before it told anything, the LIST after that is not out of the
//! cache. 429, 5xx and lost connections: again after a growing wait with jitter, or what `Retry-After` asks for. Labels of namespaces
//! are asked for one by one.
//!
//! **Kubelet.** The list of its pods: when a pod appears that is not known, never within 5 s of the question before, and every minute.
//!
//! The first question comes at a random time within `spread`. Whether anybody is there at all is tried at once, by a connection over
//! which nothing is said: while there is nobody, no event waits.

use super::pods::Pods;
use crate::error::BuildError;
use crate::http::{Backoff, RetryConfig};
use crate::kubernetes::access::own_namespace;
use crate::kubernetes::record::{PodReader, Told, namespace_labels};
use crate::kubernetes::{Access, AccessError, Stream};
use crate::settings::{Settings, Span, Spanned};
use crate::telemetry::Counters;
use std::sync::Arc;
use std::time::Duration;

/// Between two questions to a kubelet, at the least and at the most.
pub(super) const KUBELET_FLOOR: Duration = Duration::from_secs(5);
const KUBELET_EVERY: Duration = Duration::from_secs(60);
/// How long it may take to find that nobody is there.
const IS_THERE: Duration = Duration::from_secs(1);
/// A watch is ended by the server after this many seconds, and up to twice as many.
const WATCH_SECONDS: u64 = 290;
/// How often an error that goes on is said.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Who asks.
pub(super) struct Follower {
    pub(super) source: Arc<str>,
    pub(super) pods: Arc<Pods>,
    pub(super) reader: PodReader,
    pub(super) counters: Arc<Counters>,
    /// The node's name, where it is written.
    pub(super) node: Option<String>,
    pub(super) spread: Duration,
    pub(super) namespaces: bool,
    backoff: Backoff,
    failed: u32,
    said: Option<tokio::time::Instant>,
}

impl Follower {
    pub(super) fn new(source: Arc<str>, pods: Arc<Pods>, reader: PodReader, counters: Arc<Counters>) -> Follower {
        let retry = RetryConfig {
            initial: Duration::from_secs(1),
            jitter: Spanned::new(0.5, Span::default()),
            ..RetryConfig::defaults()
        };
        let backoff = Backoff::new(&retry);
        let (node, spread, namespaces, failed, said) = (None, Duration::ZERO, false, 0, None);
        Follower { source, pods, reader, counters, node, spread, namespaces, backoff, failed, said }
    }

    /// Follows the API server, for ever.
    pub(super) async fn api(mut self, access: impl Fn() -> Result<Option<Access>, BuildError>) {
        let Some(access) = self.begin(access).await else { return };
        let node = self.find_node(&access).await;
        self.pods.is_node(&node);
        tokio::join!(labels_of_namespaces(self.namespaces, self.pods.clone(), access.clone()), async {
            self.list_and_watch(&access, &node).await;
        });
    }

    /// Asks a kubelet, for ever.
    pub(super) async fn kubelet(mut self, access: impl Fn() -> Result<Option<Access>, BuildError>) {
        let Some(access) = self.begin(access).await else { return };
        if let Some(node) = &self.node {
            self.pods.is_node(node);
        }
        loop {
            let pods = self.pods.clone();
            pods.asks();
            match access.get(&["pods"], &[]).await {
                Ok(answer) => match self.reader.list(&answer.body) {
                    Ok((list, _)) => {
                        self.well();
                        pods.list(list);
                        tokio::time::sleep(KUBELET_FLOOR).await;
                        _ = tokio::time::timeout(KUBELET_EVERY - KUBELET_FLOOR, pods.wanted.notified()).await;
                    }
                    Err(error) => self.rest(&AccessError::Lost(format!("no list of pods: {error}")), "pods").await,
                },
                Err(error) => self.rest(&error, "get nodes/pods").await,
            }
        }
    }

    /// Who is asked, when it is time for the first question; `None` where nobody can be.
    async fn begin(&mut self, access: impl Fn() -> Result<Option<Access>, BuildError>) -> Option<Access> {
        let access = loop {
            match access() {
                Ok(Some(access)) => break access,
                Ok(None) => {
                    tracing::warn!(source = %self.source, "no service account is mounted and no address is written: of pods only what paths say is known");
                    self.pods.has_nobody();
                    return None;
                }
                Err(error) => {
                    let words = error.words();
                    self.rest(&AccessError::Lost(words), "").await;
                }
            }
        };
        if !access.is_there(IS_THERE).await {
            self.pods.fails(true);
        }
        tokio::time::sleep(self.spread.mul_f64(fastrand::f64())).await;
        Some(access)
    }

    /// The name of this node: as written, of the environment, or what the server says of this pod.
    async fn find_node(&mut self, access: &Access) -> String {
        if let Some(node) = self.node.clone() {
            return node;
        }
        let name = std::env::var("HOSTNAME").unwrap_or_default();
        let namespace = own_namespace().unwrap_or_else(|| "default".into());
        loop {
            self.pods.asks();
            let asked = access.get(&["api", "v1", "namespaces", &namespace, "pods", &name], &[]).await;
            let error = match asked {
                Ok(answer) => match self.reader.one(&answer.body) {
                    Ok(pod) if !pod.node.is_empty() => return pod.node,
                    _ => AccessError::Lost("this pod's node is not known".into()),
                },
                Err(error) => error,
            };
            self.rest(&error, "the name of this node: set NODE_NAME from `spec.nodeName`; get pods").await;
        }
    }

    async fn list_and_watch(&mut self, access: &Access, node: &str) {
        let selector = format!("spec.nodeName={node}");
        let mut cached = true;
        loop {
            self.pods.asks();
            let mut query = vec![("fieldSelector", selector.as_str())];
            if cached {
                query.push(("resourceVersion", "0"));
            }
            let asked = access.get(&["api", "v1", "pods"], &query).await;
            let listed = asked.and_then(|answer| {
                self.reader.list(&answer.body).map_err(|e| AccessError::Lost(format!("no list of pods: {e}")))
            });
            let version = match listed {
                Ok((list, version)) => {
                    self.well();
                    self.pods.list(list);
                    version
                }
                Err(error) => {
                    self.rest(&error, "list pods").await;
                    continue;
                }
            };
            cached = self.watch(access, &selector, version).await;
        }
    }

    /// Watches from a version on, until that is too old; whether it told something before.
    async fn watch(&mut self, access: &Access, selector: &str, mut version: String) -> bool {
        let mut has_told = false;
        loop {
            let seconds = (WATCH_SECONDS + fastrand::u64(0..=WATCH_SECONDS)).to_string();
            let query = [
                ("watch", "1"),
                ("allowWatchBookmarks", "true"),
                ("resourceVersion", &version),
                ("fieldSelector", selector),
                ("timeoutSeconds", &seconds),
            ];
            let began = tokio::time::Instant::now();
            let ended = match access.stream(&["api", "v1", "pods"], &query).await {
                Ok(mut stream) => {
                    self.pods.answers();
                    let before = version.clone();
                    let ended = self.hear(&mut stream, &mut version).await;
                    has_told |= version != before;
                    if version != before {
                        self.well();
                    }
                    ended
                }
                Err(error) => Err(error),
            };
            match ended {
                Err(error) if error.status() == Some(410) => return has_told,
                Err(error) => self.rest(&error, "watch pods").await,
                // As it is to be; one that ends at once is not.
                Ok(()) if began.elapsed() >= Duration::from_secs(1) => self.well(),
                Ok(()) => self.rest(&AccessError::Lost("the watch ended at once".into()), "watch pods").await,
            }
        }
    }

    /// Hears a watch to its end.
    ///
    /// Errors: why it ended before its time.
    async fn hear(&mut self, stream: &mut Stream, version: &mut String) -> Result<(), AccessError> {
        // Bookmarks come about every minute; a server that says nothing at all for so long is gone.
        let silence = Duration::from_secs(2 * WATCH_SECONDS + 30);
        loop {
            let line = match tokio::time::timeout(silence, stream.line()).await {
                Ok(line) => line?,
                Err(_) => return Err(AccessError::Lost("the watch went silent".into())),
            };
            let Some(line) = line else { return Ok(()) };
            if line.is_empty() {
                continue;
            }
            let told = self.reader.event(&line).map_err(|e| AccessError::Lost(format!("no event of a watch: {e}")))?;
            match told {
                Told::Put(pod, at) => {
                    self.pods.put(*pod);
                    *version = at;
                }
                Told::Gone(pod, at) => {
                    self.pods.remove(*pod);
                    *version = at;
                }
                Told::Bookmark(at) => *version = at,
                Told::Failed(status, words) => return Err(AccessError::Refused(status, None, words)),
                Told::Other => {}
            }
        }
    }

    /// All is well again.
    fn well(&mut self) {
        if self.failed > 0 && self.said.take().is_some() {
            tracing::info!(source = %self.source, "the server answers again");
        }
        self.failed = 0;
        self.pods.answers();
    }

    /// Waits after a question that was not answered.
    async fn rest(&mut self, error: &AccessError, asked: &str) {
        self.pods.fails(error.status().is_none());
        self.failed += 1;
        self.counters.update(|t| t.error("kubernetes_api", 1));
        let wait = self.backoff.wait(self.failed);
        let wait = error.retry_after().map_or(wait, |after| after.max(wait));
        let now = tokio::time::Instant::now();
        // One that passes at once need not be told of.
        if self.failed > 1 && self.said.is_none_or(|said| now - said >= SAY_EVERY) {
            self.said = Some(now);
            let help = match error.status() {
                Some(401) => "the token is not taken: it is read again before each request",
                Some(403) => "the service account lacks a right: see the roles under deploy/kubernetes",
                _ => "events go on with what paths say, marked `metadata: missing`",
            };
            tracing::warn!(source = %self.source, %error, asked, help, "the server does not say what pods there are");
        }
        tokio::time::sleep(wait).await;
    }
}

/// Asks for labels of namespaces, one by one, as they are wanted.
async fn labels_of_namespaces(wanted: bool, pods: Arc<Pods>, access: Access) {
    if !wanted {
        return;
    }
    loop {
        _ = tokio::time::timeout(Duration::from_secs(10), pods.wanted.notified()).await;
        for name in pods.wanted_namespaces() {
            match access.get(&["api", "v1", "namespaces", &name], &[]).await {
                Ok(answer) => pods.namespace(&name, Some(namespace_labels(&answer.body).unwrap_or_default())),
                // There is none, or nobody may know: it is as one without labels, until it is asked for again.
                Err(error) if matches!(error.status(), Some(401 | 403 | 404)) => {
                    pods.namespace(&name, Some(Default::default()))
                }
                Err(error) => {
                    tracing::debug!(%error, namespace = name, "labels of a namespace cannot be had");
                    pods.namespace(&name, None);
                    tokio::time::sleep(error.retry_after().unwrap_or(Duration::from_secs(1))).await;
                }
            }
        }
    }
}
