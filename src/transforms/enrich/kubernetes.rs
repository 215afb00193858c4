//! Pods by their names, or by their address, from the API server.
//!
//! A transform does not wait for the network event by event: the names in a batch are asked for together, on a thread of its own, and
//! the batch waits for answers for `wait` at most. What is not known by then, and what there is not, leaves its event as it was, counted
//! (`kubernetes_unknown`). While the server does not answer nobody waits. Answers are kept for five minutes, those that there is none
//! for half a minute; 10,000 at most. One question a name is on its way, eight at a time.

use crate::event::{Batch, FieldPath, Meta};
use crate::kubernetes::record::{Kept, PodReader};
use crate::kubernetes::{Access, AccessError, FieldName, Known, LogPath, Names, Place, Pod, Speech};
use crate::settings::{Spanned, config, config_enum};
use crate::sync::Locked;
use crate::time::clock;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hashbrown::HashMap;
use reqwest::Url;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

config! {
    /// Looks pods up at the API server.
    pub struct KubernetesSetting {
        /// What an event is known by.
        pub by: By = By::Name,
        /// The field with the pod's name.
        pub pod: FieldPath = path("kubernetes.pod"),
        /// The field with its namespace.
        pub namespace: FieldPath = path("kubernetes.namespace"),
        /// The field with the container's name, where there is one.
        pub container: FieldPath = path("kubernetes.container"),
        /// With `by: ip`, the field with the address.
        pub ip: FieldPath = FieldPath::of_meta(Meta::Peer),
        /// The object that takes what is found; members that are there stay.
        pub to: FieldPath = FieldPath::of_key("kubernetes"),
        /// What is put there.
        pub fields: Vec<FieldName> = DEFAULT_FIELDS.to_vec(),
        /// How long a batch waits for pods that are not known yet.
        pub wait: Duration = Duration::from_secs(1),
        /// Address of the API server; by default that of the cluster.
        pub url: Option<Spanned<String>> = None,
        /// File with the token; by default the service account's. Read before each request.
        pub token_file: Option<PathBuf> = None,
        /// PEM file of certificate authorities; by default the service account's.
        pub ca_file: Option<PathBuf> = None,
    }
}

config_enum! {
    /// What an event is known by.
    pub enum By {
        /// The names of pod and namespace: one GET for each pod.
        Name = "name",
        /// An address, by default the sender's: one LIST for each. Pods with the node's addresses are not known by it.
        Ip = "ip",
    }
}

/// The place of a default.
fn path(text: &str) -> FieldPath {
    FieldPath::parse(text).unwrap_or_else(|_| FieldPath::of_key(text))
}

/// What does not change in the life of a pod, or hardly.
const DEFAULT_FIELDS: &[FieldName] = &[
    FieldName::Namespace,
    FieldName::Pod,
    FieldName::PodUid,
    FieldName::Container,
    FieldName::Image,
    FieldName::Node,
    FieldName::Labels,
    FieldName::Owner,
    FieldName::PodIp,
    FieldName::HostIp,
];

const KEEP: Duration = Duration::from_secs(300);
const KEEP_NONE: Duration = Duration::from_secs(30);
const MOST_KEPT: usize = 10_000;
const AT_ONCE: usize = 8;
/// Questions that wait for their turn, at most.
const MOST_ASKED: usize = 1024;
/// The longest pause after questions that were not answered.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a pod is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Name(String, String),
    Ip(IpAddr),
}

/// What is known by now.
struct Answer {
    /// `None`: there is no such pod.
    pod: Option<Arc<Pod>>,
    until: Instant,
}

#[derive(Default)]
struct State {
    answers: HashMap<Key, Answer>,
    /// Those that are asked for now.
    asked: HashMap<Key, ()>,
    /// Nobody answers until then, at least.
    dead_until: Option<Instant>,
    failed: u32,
    /// Begun with the first question.
    ask: Option<mpsc::Sender<Key>>,
}

/// Shared by all workers.
pub(super) struct Pods {
    place: Place,
    kept: Kept,
    state: Mutex<State>,
    told: Condvar,
}

/// One worker's.
pub(super) struct Lookup {
    setting: Arc<KubernetesSetting>,
    speech: Arc<Speech>,
    pods: Arc<Pods>,
    buf: Vec<u8>,
}

impl Lookup {
    pub(super) fn new(setting: &KubernetesSetting) -> Lookup {
        let place = Place {
            url: setting.url.as_ref().and_then(|url| Url::parse(url.value.trim_end_matches('/')).ok()),
            token_file: setting.token_file.clone(),
            ca_file: setting.ca_file.clone(),
            verify: true,
        };
        let wants = |field| setting.fields.contains(&field);
        let kept = Kept { labels: wants(FieldName::Labels), annotations: wants(FieldName::Annotations) };
        let pods = Pods { place, kept, state: Mutex::default(), told: Condvar::new() };
        let speech = Speech { names: Names::Tidegate, fields: setting.fields.clone(), dedot: false };
        Lookup { setting: Arc::new(setting.clone()), speech: Arc::new(speech), pods: Arc::new(pods), buf: Vec::new() }
    }

    pub(super) fn fork(&self) -> Lookup {
        let (setting, speech, pods) = (self.setting.clone(), self.speech.clone(), self.pods.clone());
        Lookup { setting, speech, pods, buf: Vec::new() }
    }

    /// What is to be put at `to` of each row, as far as something is known; and of how many events that name a pod nothing is.
    pub(super) fn find(&mut self, batch: &Batch) -> (Vec<(usize, Arc<[u8]>)>, u64) {
        // By pod and container, the rows; most batches have one.
        let mut rows: Vec<((Key, String), Vec<usize>)> = Vec::new();
        let mut places: HashMap<(Key, String), usize> = HashMap::new();
        for row in (0..batch.rows()).filter(|row| batch.is_live(*row)) {
            let Some(key) = self.key(batch, row) else { continue };
            let container = self.text(batch, row, Field::Container).unwrap_or_default();
            let key = (key, container);
            match places.get(&key) {
                Some(at) => rows[*at].1.push(row),
                None => {
                    places.insert(key.clone(), rows.len());
                    rows.push((key, vec![row]));
                }
            }
        }
        let pods = self.pods.ask(rows.iter().map(|((key, _), _)| key), self.setting.wait);
        let (mut found, mut unknown) = (Vec::new(), 0);
        for (((_, container), rows), pod) in rows.iter().zip(pods) {
            let Some(pod) = pod else {
                unknown += rows.len() as u64;
                continue;
            };
            let path = LogPath { namespace: &pod.namespace, pod: &pod.name, uid: &pod.uid, container, restarts: None };
            let known = Known { pod: Some(&pod), ..Known::default() };
            let object = serde_json::Value::Object(self.speech.object(&path, known)).to_string();
            let object: Arc<[u8]> = object.into_bytes().into();
            found.extend(rows.iter().map(|row| (*row, object.clone())));
        }
        (found, unknown)
    }

    fn key(&mut self, batch: &Batch, row: usize) -> Option<Key> {
        match self.setting.by {
            By::Name => {
                let namespace = self.text(batch, row, Field::Namespace)?;
                Some(Key::Name(namespace, self.text(batch, row, Field::Pod)?))
            }
            By::Ip => {
                let text = self.text(batch, row, Field::Ip)?;
                let socket = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
                Some(Key::Ip(text.parse().ok().or_else(socket)?.to_canonical()))
            }
        }
    }

    fn text(&mut self, batch: &Batch, row: usize, field: Field) -> Option<String> {
        let setting = self.setting.clone();
        let path = match field {
            Field::Pod => &setting.pod,
            Field::Namespace => &setting.namespace,
            Field::Container => &setting.container,
            Field::Ip => &setting.ip,
        };
        super::text_of(batch, row, path, &mut self.buf).and_then(|text| String::from_utf8(text.to_vec()).ok())
    }
}

#[derive(Clone, Copy)]
enum Field {
    Pod,
    Namespace,
    Container,
    Ip,
}

impl Pods {
    /// The pods, in order, as far as they are known after `wait` at most.
    fn ask<'k>(self: &Arc<Self>, keys: impl Iterator<Item = &'k Key> + Clone, wait: Duration) -> Vec<Option<Arc<Pod>>> {
        let began = clock::monotonic();
        let deadline = began + wait;
        let mut state = self.state.locked();
        for key in keys.clone() {
            let is_known = state.answers.get(key).is_some_and(|answer| answer.until > began);
            if !is_known && !state.asked.contains_key(key) && state.dead_until.is_none_or(|until| until <= began) {
                self.begin(&mut state);
                // Where too many wait for their turn, it is asked for with the next batch that has it.
                if state.ask.as_ref().is_some_and(|ask| ask.try_send(key.clone()).is_ok()) {
                    state.asked.insert(key.clone(), ());
                }
            }
        }
        loop {
            let now = clock::monotonic();
            let waits = keys.clone().any(|key| !state.answers.contains_key(key) && state.asked.contains_key(key));
            if !waits || now >= deadline {
                break;
            }
            state = self.told.wait_timeout(state, deadline - now).unwrap_or_else(|e| e.into_inner()).0;
        }
        // What is old is better than nothing, until there is an answer.
        keys.map(|key| state.answers.get(key).and_then(|answer| answer.pod.clone())).collect()
    }

    /// Begins to ask, with the first question.
    fn begin(self: &Arc<Self>, state: &mut State) {
        if state.ask.is_some() {
            return;
        }
        let (ask, asked) = mpsc::channel(MOST_ASKED);
        let this = Arc::downgrade(self);
        let (place, kept) = (self.place.clone(), self.kept);
        let thread = std::thread::Builder::new().name("kubernetes".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(answer_all(&place, kept, asked, this));
            runtime.shutdown_background();
        });
        match thread {
            Ok(_) => state.ask = Some(ask),
            Err(error) => tracing::error!(%error, "nobody can be asked about pods"),
        }
    }

    fn told(&self, key: Key, answer: Result<Option<Pod>, AccessError>) {
        let now = clock::monotonic();
        let mut state = self.state.locked();
        match answer {
            Ok(pod) => {
                (state.failed, state.dead_until) = (0, None);
                if state.answers.len() >= MOST_KEPT {
                    state.answers.retain(|_, answer| answer.until > now);
                    if state.answers.len() >= MOST_KEPT {
                        state.answers.clear();
                    }
                }
                let until = now + if pod.is_some() { KEEP } else { KEEP_NONE };
                state.answers.insert(key.clone(), Answer { pod: pod.map(Arc::new), until });
            }
            Err(error) => {
                state.failed += 1;
                let pause = Duration::from_secs(1).saturating_mul(1 << state.failed.min(6)).min(LONGEST_PAUSE);
                let pause = error.retry_after().map_or(pause, |after| after.max(pause));
                if state.failed == 1 {
                    tracing::warn!(%error, "the API server does not say whose events are: they go on as they are");
                }
                state.dead_until = Some(now + pause.mul_f64(0.5 + fastrand::f64() / 2.0));
            }
        }
        state.asked.remove(&key);
        drop(state);
        self.told.notify_all();
    }
}

/// Answers questions until nobody has any.
async fn answer_all(place: &Place, kept: Kept, mut asked: mpsc::Receiver<Key>, pods: std::sync::Weak<Pods>) {
    let reader = PodReader { kept, prefixes: Vec::new() };
    let access = Access::to_api(place);
    if let Ok(None) = &access {
        tracing::warn!("no service account is mounted and no address is written: nobody can be asked whose events are");
    }
    let access = access.map_err(|error| error.words()).and_then(|access| access.ok_or("nobody can be asked".into()));
    let mut going = FuturesUnordered::new();
    loop {
        let key = tokio::select! {
            key = asked.recv(), if going.len() < AT_ONCE => match key {
                Some(key) => key,
                None => return,
            },
            Some((key, answer)) = going.next() => {
                let Some(pods) = pods.upgrade() else { return };
                pods.told(key, answer);
                continue;
            }
            // Whoever had questions has gone: seen at the latest then.
            () = tokio::time::sleep(Duration::from_secs(60)) => {
                if pods.strong_count() == 0 {
                    return;
                }
                continue;
            }
        };
        let (access, reader) = (&access, &reader);
        going.push(async move {
            let answer = match access {
                Ok(access) => question(access, reader, &key).await,
                Err(words) => Err(AccessError::Lost(words.clone())),
            };
            (key, answer)
        });
    }
}

async fn question(access: &Access, reader: &PodReader, key: &Key) -> Result<Option<Pod>, AccessError> {
    let broken = |e: serde_json::Error| AccessError::Lost(format!("no pod: {e}"));
    match key {
        Key::Name(namespace, name) => {
            match access.get(&["api", "v1", "namespaces", namespace, "pods", name], &[("resourceVersion", "0")]).await {
                Ok(answer) => reader.one(&answer.body).map(Some).map_err(broken),
                Err(error) if error.status() == Some(404) => Ok(None),
                Err(error) => Err(error),
            }
        }
        Key::Ip(ip) => {
            let selector = format!("status.podIP={ip}");
            let query = [("fieldSelector", &*selector), ("resourceVersion", "0")];
            let answer = access.get(&["api", "v1", "pods"], &query).await?;
            let (pods, _) = reader.list(&answer.body).map_err(broken)?;
            // Of pods that ended the address may be another's by now; those with the node's are many.
            Ok(pods
                .into_iter()
                .filter(|pod| !pod.host_network && pod.pod_ip == ip.to_string())
                .find(|pod| !pod.has_ended))
        }
    }
}
