//! What is kept of a pod: only what is asked for ([`Kept`]), so that a node's pods take little memory.
//!
//! Source: Kubernetes API v1, Pod, PodList, WatchEvent, Status. Everything not named here is passed over while it is read.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What of a pod is kept beside its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its labels.
    pub labels: bool,
    /// Its annotations; without this, those alone that begin with the prefix that is given.
    pub annotations: bool,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; of a static pod, that of its mirror.
    pub uid: String,
    /// What stands in the uid's place in the log folder of a static pod.
    pub config_hash: Option<String>,
    /// The node that it runs on.
    pub node: String,
    /// Its address, once it has one.
    pub pod_ip: String,
    /// The node's.
    pub host_ip: String,
    /// It has come to its end.
    pub has_ended: bool,
    /// It has the node's addresses: no address of its own tells it from others.
    pub host_network: bool,
    /// In order.
    pub labels: BTreeMap<String, String>,
    /// In order.
    pub annotations: BTreeMap<String, String>,
    /// Who made it: kind and name, a ReplicaSet resolved to its Deployment.
    pub owner: Option<(String, String)>,
    /// All of them: init and ephemeral ones too.
    pub containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, as it is written.
    pub image: String,
    /// The image's digest.
    pub image_id: String,
    /// Its id, without the runtime's scheme.
    pub id: String,
    /// How often it was started again.
    pub restarts: u64,
    /// The id that it had before it was started again.
    pub id_before: String,
}

/// What `kubectl apply` keeps for itself: as large as the pod, and of no use in a log.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

impl Pod {
    /// The container of a name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Vec<RawOwner>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawOwner {
    kind: String,
    name: String,
    controller: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPod {
    metadata: RawMeta,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    node_name: String,
    host_network: bool,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
    ephemeral_containers: Vec<RawContainer>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawContainer {
    name: String,
    image: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
    container_statuses: Vec<RawContainerStatus>,
    init_container_statuses: Vec<RawContainerStatus>,
    ephemeral_container_statuses: Vec<RawContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    name: String,
    image: String,
    #[serde(rename = "imageID")]
    image_id: String,
    #[serde(rename = "containerID")]
    container_id: String,
    restart_count: u64,
    last_state: RawState,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawState {
    terminated: Option<RawTerminated>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawTerminated {
    #[serde(rename = "containerID")]
    container_id: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawList {
    metadata: RawListMeta,
    items: Option<Vec<RawPod>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawListMeta {
    resource_version: String,
}

#[derive(Deserialize)]
struct RawKind {
    r#type: String,
}

#[derive(Deserialize)]
struct RawEvent<T> {
    object: T,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawFailure {
    code: u16,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawBookmark {
    metadata: RawMeta,
}

/// What a watch tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// A pod came or is another now; the version that it has.
    Put(Box<Pod>, String),
    /// A pod is gone.
    Gone(Box<Pod>, String),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The watch has failed: status and words.
    Failed(u16, String),
    /// Something that is not known.
    Other,
}

/// Reads what is kept of pods.
#[derive(Clone, Debug, Default)]
pub struct PodReader {
    /// What is kept.
    pub kept: Kept,
    /// Annotations that begin so are kept in any case.
    pub prefixes: Vec<String>,
}

impl PodReader {
    /// A list of pods, and its version.
    ///
    /// Errors: it is no list of pods.
    pub fn list(&self, body: &[u8]) -> Result<(Vec<Pod>, String), serde_json::Error> {
        let list: RawList = serde_json::from_slice(body)?;
        let pods = list.items.unwrap_or_default().into_iter().map(|raw| self.pod(raw).0).collect();
        Ok((pods, list.metadata.resource_version))
    }

    /// One pod.
    ///
    /// Errors: it is none.
    pub fn one(&self, body: &[u8]) -> Result<Pod, serde_json::Error> {
        serde_json::from_slice(body).map(|raw| self.pod(raw).0)
    }

    /// One line of a watch.
    ///
    /// Errors: it is no event of a watch.
    pub fn event(&self, line: &[u8]) -> Result<Told, serde_json::Error> {
        let kind: RawKind = serde_json::from_slice(line)?;
        Ok(match &*kind.r#type {
            "ADDED" | "MODIFIED" | "DELETED" => {
                let event: RawEvent<RawPod> = serde_json::from_slice(line)?;
                let (pod, version) = self.pod(event.object);
                match kind.r#type == "DELETED" {
                    true => Told::Gone(Box::new(pod), version),
                    false => Told::Put(Box::new(pod), version),
                }
            }
            "BOOKMARK" => {
                let event: RawEvent<RawBookmark> = serde_json::from_slice(line)?;
                Told::Bookmark(event.object.metadata.resource_version)
            }
            "ERROR" => {
                let event: RawEvent<RawFailure> = serde_json::from_slice(line)?;
                Told::Failed(event.object.code, event.object.message)
            }
            _ => Told::Other,
        })
    }

    fn pod(&self, raw: RawPod) -> (Pod, String) {
        let RawPod { metadata, spec, status } = raw;
        let mut annotations = metadata.annotations.unwrap_or_default();
        let config_hash = annotations.get(CONFIG_HASH).cloned();
        annotations.remove(LAST_APPLIED);
        if !self.kept.annotations {
            annotations.retain(|key, _| self.prefixes.iter().any(|prefix| key.starts_with(prefix)));
        }
        let labels = metadata.labels.unwrap_or_default();
        let owners = &metadata.owner_references;
        let owner = owners.iter().find(|owner| owner.controller).or(owners.first());
        let owner = owner.map(|owner| resolve(&owner.kind, &owner.name, labels.get(TEMPLATE_HASH)));
        let specs = [spec.containers, spec.init_containers, spec.ephemeral_containers];
        let statuses = [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
        let mut statuses: Vec<RawContainerStatus> = statuses.into_iter().flatten().collect();
        let mut containers: Vec<Container> = specs.into_iter().flatten().map(|c| container(c, &mut statuses)).collect();
        // What a status tells of and the specification does not, as of a kubelet whose lists are not of one moment.
        let rest: Vec<RawContainer> =
            statuses.iter().map(|s| RawContainer { name: s.name.clone(), image: s.image.clone() }).collect();
        containers.extend(rest.into_iter().map(|c| container(c, &mut statuses)));
        containers.shrink_to_fit();
        let pod = Pod {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            config_hash,
            node: spec.node_name,
            pod_ip: status.pod_ip,
            host_ip: status.host_ip,
            has_ended: matches!(&*status.phase, "Succeeded" | "Failed"),
            host_network: spec.host_network,
            labels: if self.kept.labels { labels } else { BTreeMap::new() },
            annotations,
            owner,
            containers,
        };
        (pod, metadata.resource_version)
    }
}

/// What a Deployment puts on the pods of each of its ReplicaSets, and at the end of their names.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The Deployment of a ReplicaSet by the names alone; other owners as they are.
fn resolve(kind: &str, name: &str, template_hash: Option<&String>) -> (String, String) {
    if kind == "ReplicaSet"
        && let Some(hash) = template_hash
        && let Some(deployment) = name.strip_suffix(hash.as_str()).and_then(|rest| rest.strip_suffix('-'))
        && !deployment.is_empty()
    {
        return ("Deployment".into(), deployment.into());
    }
    (kind.into(), name.into())
}

/// A container with its status, which is taken out.
fn container(raw: RawContainer, statuses: &mut Vec<RawContainerStatus>) -> Container {
    let at = statuses.iter().position(|status| status.name == raw.name);
    let status = at.map(|at| statuses.swap_remove(at)).unwrap_or_default();
    // The image of the specification is what somebody wrote; the status may show a digest in its place.
    let image = if raw.image.is_empty() { status.image } else { raw.image };
    Container {
        name: raw.name,
        image,
        image_id: status.image_id,
        id: bare(&status.container_id),
        restarts: status.restart_count,
        id_before: status.last_state.terminated.map(|t| bare(&t.container_id)).unwrap_or_default(),
    }
}

/// An id without `containerd://`.
fn bare(id: &str) -> String {
    id.split_once("://").map_or(id, |(_, id)| id).to_owned()
}

/// The labels of a namespace.
///
/// Errors: it is none.
pub fn namespace_labels(body: &[u8]) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let raw: RawBookmark = serde_json::from_slice(body)?;
    Ok(raw.metadata.labels.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn reader() -> PodReader {
        PodReader { kept: Kept { labels: true, annotations: false }, prefixes: vec!["tidegate.dev/".into()] }
    }

    #[test]
    fn a_pod_is_kept_with_its_containers_of_all_kinds() {
        let text = json!({
            "kind": "Pod",
            "metadata": {"name": "web-7d4b9c-x2", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
                "labels": {"app": "web", "pod-template-hash": "7d4b9c"}, "managedFields": [{"a": [1, 2]}],
                "annotations": {"tidegate.dev/decode": "json", "other": "x", LAST_APPLIED: "{}", "kubernetes.io/config.hash": "h"},
                "ownerReferences": [{"kind": "Other", "name": "o"}, {"kind": "ReplicaSet", "name": "web-7d4b9c", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "shop/web:1"}],
                "initContainers": [{"name": "init", "image": "busybox"}],
                "ephemeralContainers": [{"name": "debug", "image": "busybox:2"}]},
            "status": {"podIP": "10.0.0.1", "hostIP": "192.0.2.1",
                "containerStatuses": [{"name": "app", "image": "sha256:9", "imageID": "shop/web@sha256:1",
                    "containerID": "containerd://c2", "restartCount": 1,
                    "lastState": {"terminated": {"containerID": "containerd://c1"}}}],
                "initContainerStatuses": [{"name": "init", "containerID": "cri-o://i1", "lastState": {}}]}
        });
        let pod = reader().one(text.to_string().as_bytes()).unwrap();
        assert_eq!(pod.owner, Some(("Deployment".into(), "web".into())));
        assert_eq!(pod.config_hash.as_deref(), Some("h"));
        assert_eq!(pod.annotations.keys().collect::<Vec<_>>(), ["tidegate.dev/decode"]);
        let app = pod.container("app").unwrap();
        assert_eq!((&*app.image, &*app.image_id), ("shop/web:1", "shop/web@sha256:1"));
        assert_eq!((&*app.id, &*app.id_before, app.restarts), ("c2", "c1", 1));
        assert_eq!(pod.container("init").unwrap().id, "i1");
        assert_eq!(pod.container("debug").unwrap().image, "busybox:2");
    }

    #[test]
    fn owners_are_resolved_only_where_the_names_say_so() {
        let of = |kind: &str, name: &str, hash: Option<&str>| resolve(kind, name, hash.map(str::to_owned).as_ref());
        assert_eq!(of("ReplicaSet", "a-b-12", Some("12")), ("Deployment".into(), "a-b".into()));
        assert_eq!(of("ReplicaSet", "a-b-12", None), ("ReplicaSet".into(), "a-b-12".into()));
        assert_eq!(of("ReplicaSet", "a-b-12", Some("13")), ("ReplicaSet".into(), "a-b-12".into()));
        assert_eq!(of("DaemonSet", "d-12", Some("12")), ("DaemonSet".into(), "d-12".into()));
    }

    #[test]
    fn events_of_a_watch_are_told_apart() {
        let event = |value: serde_json::Value| reader().event(value.to_string().as_bytes()).unwrap();
        let object = json!({"metadata": {"name": "a", "resourceVersion": "5"}});
        assert!(
            matches!(event(json!({"type": "ADDED", "object": object})), Told::Put(pod, v) if pod.name == "a" && v == "5")
        );
        assert!(matches!(event(json!({"type": "DELETED", "object": object})), Told::Gone(_, v) if v == "5"));
        assert_eq!(event(json!({"type": "BOOKMARK", "object": object})), Told::Bookmark("5".into()));
        let gone = json!({"type": "ERROR", "object": {"status": "Failure", "code": 410, "message": "too old"}});
        assert_eq!(event(gone), Told::Failed(410, "too old".into()));
        assert_eq!(event(json!({"type": "NEW", "object": 1})), Told::Other);
        assert!(reader().event(b"{").is_err());
    }

    #[test]
    fn an_empty_list_is_one() {
        let list = reader().list(br#"{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":null}"#).unwrap();
        assert_eq!(list, (Vec::new(), "9".into()));
    }
}
