//! What is known of the node's pods: written by whoever asks the server, read by the reader of files.
//!
//! Deleted pods stay known for a while: their files are read to their end. Bounds: 1,000 deleted pods and two minutes; of those that
//! run the server tells no more than the node has.

use crate::kubernetes::Pod;
use crate::sources::file::Bell;
use crate::sync::Locked;
use crate::time::clock;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Deleted pods that stay known, and for how long.
const MOST_GONE: usize = 1000;
const GONE_FOR: u64 = 120_000_000_000;
/// How old labels of a namespace may be.
const NAMESPACE_FOR: u64 = 600_000_000_000;

/// See [the module](self).
pub(super) struct Pods {
    table: Mutex<Table>,
    /// Another one with each change; from 1.
    version: AtomicU64,
    bell: Bell,
    /// Somebody wants something that is not known.
    pub(super) wanted: Notify,
}

#[derive(Default)]
pub(super) struct Table {
    by_uid: HashMap<String, Arc<Pod>>,
    /// Uids by the hash of static pods' configuration.
    by_hash: HashMap<String, String>,
    /// Deleted ones, in order, and when: monotonic nanoseconds.
    gone: VecDeque<(String, u64)>,
    namespaces: HashMap<String, Namespace>,
    /// The node's name, once it is known.
    pub(super) node: Option<Arc<str>>,
    /// There was an answer.
    pub(super) is_listed: bool,
    /// When the first question went out: monotonic nanoseconds.
    pub(super) first_asked: Option<u64>,
    /// Since when no question was answered: monotonic nanoseconds.
    failing: Option<u64>,
    /// And there was no connection either.
    dead: bool,
    /// There is nobody to be asked.
    nobody: bool,
}

#[derive(Default)]
struct Namespace {
    labels: Option<Arc<BTreeMap<String, String>>>,
    /// When it was asked for: monotonic nanoseconds; 0 where that is still to be done.
    asked: u64,
}

impl Pods {
    pub(super) fn new(bell: Bell) -> Pods {
        Pods { table: Mutex::default(), version: AtomicU64::new(1), bell, wanted: Notify::new() }
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.locked()
    }

    /// Changes what is known, and tells the reader.
    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.locked());
        self.version.fetch_add(1, Ordering::AcqRel);
        self.bell.ring();
    }

    /// A question goes out.
    pub(super) fn asks(&self) {
        self.table.locked().first_asked.get_or_insert(clock::monotonic_ns().max(1));
    }

    /// There is nobody to be asked.
    pub(super) fn has_nobody(&self) {
        self.change(|table| table.nobody = true);
    }

    pub(super) fn is_node(&self, node: &str) {
        self.table.locked().node = Some(node.into());
    }

    /// All pods there are.
    pub(super) fn list(&self, pods: Vec<Pod>) {
        self.change(|table| {
            (table.is_listed, table.failing) = (true, None);
            let before = std::mem::take(&mut table.by_uid);
            let gone: Vec<Arc<Pod>> = before.into_values().collect();
            pods.into_iter().for_each(|pod| table.put(pod));
            for pod in gone {
                if !table.by_uid.contains_key(&pod.uid) {
                    let uid = pod.uid.clone();
                    table.by_uid.insert(uid.clone(), pod);
                    table.goes(uid);
                }
            }
        });
    }

    pub(super) fn put(&self, pod: Pod) {
        self.change(|table| table.put(pod));
    }

    /// A pod is gone; it stays known for a while, as it was in the end.
    pub(super) fn remove(&self, pod: Pod) {
        self.change(|table| {
            let uid = pod.uid.clone();
            table.put(pod);
            table.goes(uid);
        });
    }

    /// A question was answered.
    pub(super) fn answers(&self) {
        self.table.locked().failing = None;
    }

    /// A question was not answered; `dead`: there is no connection.
    pub(super) fn fails(&self, dead: bool) {
        let is_news = {
            let mut table = self.table.locked();
            let is_news = (table.failing.is_none() || dead && !table.dead) && !table.is_listed;
            table.failing.get_or_insert(clock::monotonic_ns());
            table.dead = dead;
            is_news
        };
        if is_news {
            self.change(|_| ());
        }
    }

    /// Namespaces whose labels are to be asked for.
    pub(super) fn wanted_namespaces(&self) -> Vec<String> {
        let now = clock::monotonic_ns().max(1);
        let mut wanted = Vec::new();
        for (name, namespace) in &mut self.table.locked().namespaces {
            if namespace.asked == 0 {
                namespace.asked = now;
                wanted.push(name.clone());
            }
        }
        wanted
    }

    /// The labels of a namespace; `None`: they could not be had, and are asked for again.
    pub(super) fn namespace(&self, name: &str, labels: Option<BTreeMap<String, String>>) {
        match labels {
            None => {
                if let Some(namespace) = self.table.locked().namespaces.get_mut(name) {
                    namespace.asked = 0;
                }
            }
            Some(labels) => self.change(|table| {
                if let Some(namespace) = table.namespaces.get_mut(name) {
                    namespace.labels = Some(Arc::new(labels));
                }
            }),
        }
    }
}

impl Table {
    fn put(&mut self, pod: Pod) {
        if let Some(hash) = &pod.config_hash {
            self.by_hash.insert(hash.clone(), pod.uid.clone());
        }
        self.by_uid.insert(pod.uid.clone(), Arc::new(pod));
    }

    fn goes(&mut self, uid: String) {
        let now = clock::monotonic_ns();
        self.gone.push_back((uid, now));
        while self.gone.len() > MOST_GONE || self.gone.front().is_some_and(|(_, at)| now.saturating_sub(*at) > GONE_FOR)
        {
            let Some((uid, _)) = self.gone.pop_front() else { return };
            if let Some(hash) = self.by_uid.remove(&uid).and_then(|pod| pod.config_hash.clone())
                && self.by_hash.get(&hash) == Some(&uid)
            {
                self.by_hash.remove(&hash);
            }
        }
    }

    /// The pod of a log folder. `uid`: or the hash of a static pod's configuration.
    pub(super) fn find(&self, namespace: &str, pod: &str, uid: &str) -> Option<&Arc<Pod>> {
        let by_uid = self.by_uid.get(uid);
        let static_pod = || self.by_hash.get(uid).and_then(|uid| self.by_uid.get(uid));
        by_uid.or_else(static_pod).filter(|known| known.namespace == namespace && known.name == pod)
    }

    /// The labels of a namespace, where they are known; asked for where they are not, or are old. Whether that was news.
    pub(super) fn namespace(&mut self, name: &str) -> (Option<Arc<BTreeMap<String, String>>>, bool) {
        let now = clock::monotonic_ns();
        if !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.to_owned(), Namespace::default());
            return (None, true);
        }
        let Some(namespace) = self.namespaces.get_mut(name) else { return (None, false) };
        let is_old = namespace.asked != 0 && now.saturating_sub(namespace.asked) > NAMESPACE_FOR;
        if is_old {
            namespace.asked = 0;
        }
        (namespace.labels.clone(), is_old)
    }

    /// Whether there is no use in waiting: nobody can be asked, or nobody has answered, for so long (nanoseconds) where
    /// somebody did before.
    pub(super) fn is_hopeless(&self, mono: u64, wait: u64) -> bool {
        let long = |since: u64| self.dead && !self.is_listed || mono.saturating_sub(since) >= wait;
        self.nobody || self.failing.is_some_and(long)
    }

    /// Until when a file waits that was asked about first at `asked`: monotonic nanoseconds. At the start nobody is asked at once.
    pub(super) fn until(&self, asked: u64, wait: Duration, spread: Duration) -> u64 {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        match (self.is_listed, self.first_asked) {
            (true, _) => asked.saturating_add(nanos(wait)),
            (false, Some(first)) => first.max(asked).saturating_add(nanos(wait)),
            (false, None) => asked.saturating_add(nanos(wait)).saturating_add(nanos(spread)),
        }
    }
}
