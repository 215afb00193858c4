//! What events are given: the fields of a container as JSON, made once a file and not once an event.

use super::path::LogPath;
use super::record::Pod;
use crate::event::{Shared, Sym};
use crate::settings::config_enum;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

config_enum! {
    /// What the fields are called.
    pub enum Names {
        /// `timestamp, stream, message` and `kubernetes: {namespace, pod, …}`.
        Tidegate = "tidegate",
        /// As Vector's `kubernetes_logs`: `kubernetes: {pod_name, pod_namespace, …}`, `file`, `source_type`.
        Vector = "vector",
        /// As Fluent Bit's tail with its filter: `time, stream, log` and `kubernetes: {pod_name, namespace_name, …}`.
        FluentBit = "fluent-bit",
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)?) => {
        config_enum! {
            /// A field under `kubernetes`.
            pub enum FieldName {
                $($(#[$doc])* $variant = $word),*
            }
        }
        impl FieldName {
            /// All of them, in their order.
            pub const ALL: &'static [FieldName] = &[$(FieldName::$variant),*];
        }
    };
}

fields! {
    /// The namespace's name.
    Namespace = "namespace",
    /// The pod's name.
    Pod = "pod",
    /// The pod's uid.
    PodUid = "pod_uid",
    /// The container's name.
    Container = "container",
    /// The container's id.
    ContainerId = "container_id",
    /// The container's image.
    Image = "image",
    /// The image's digest.
    ImageId = "image_id",
    /// How often the container had been started before.
    RestartCount = "restart_count",
    /// The node's name.
    Node = "node",
    /// The pod's labels.
    Labels = "labels",
    /// The pod's annotations.
    Annotations = "annotations",
    /// Who made the pod: `{kind, name}`; of a ReplicaSet its Deployment.
    Owner = "owner",
    /// The namespace's labels.
    NamespaceLabels = "namespace_labels",
    /// The pod's address.
    PodIp = "pod_ip",
    /// The node's address.
    HostIp = "host_ip",
}

/// What is said of a container, and how.
#[derive(Clone, Debug)]
pub struct Speech {
    /// What they are called.
    pub names: Names,
    /// Which there are.
    pub fields: Vec<FieldName>,
    /// Dots in names of labels and annotations become underscores.
    pub dedot: bool,
}

/// What is known of a container beside its path.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// The pod.
    pub pod: Option<&'a Pod>,
    /// The labels of its namespace.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// Somebody was asked, and nothing is known of the pod.
    pub missing: bool,
    /// The node, where the pod is not known.
    pub node: Option<&'a str>,
}

impl Speech {
    /// What is said of a container, as an object.
    pub fn object(&self, path: &LogPath<'_>, known: Known<'_>) -> Map<String, Value> {
        let mut object = Map::new();
        for field in &self.fields {
            if let Some((name, value)) = self.field(*field, path, known) {
                object.insert(name.into(), value);
            }
        }
        if known.missing {
            object.insert("metadata".into(), "missing".into());
        }
        object
    }

    /// What all events of a file are given. `decode`: what the pod asks for.
    pub fn shared(&self, file: &Path, path: &LogPath<'_>, known: Known<'_>, decode: Option<&str>) -> Shared {
        let object = self.object(path, known);
        let text = |value: Value| value.to_string().into_bytes().into_boxed_slice();
        let mut fields = vec![(Sym::from_config("kubernetes"), text(Value::Object(object)))];
        if self.names == Names::Vector {
            fields.push((Sym::from_config("file"), text(json!(file.to_string_lossy()))));
            fields.push((Sym::from_config("source_type"), text(json!("kubernetes_logs"))));
        }
        Shared { fields, decode: decode.map(Arc::from) }
    }

    /// A field under the name it goes by; nothing where it is not known, or has no name there.
    fn field(&self, field: FieldName, path: &LogPath<'_>, known: Known<'_>) -> Option<(&'static str, Value)> {
        let Known { pod, namespace_labels, node, .. } = known;
        let container = pod.and_then(|pod| pod.container(path.container));
        let text = |text: &str| Some(Value::from(text)).filter(|_| !text.is_empty());
        let value = match field {
            FieldName::Namespace => text(path.namespace),
            FieldName::Pod => text(path.pod),
            FieldName::PodUid => text(pod.map_or(path.uid, |pod| &pod.uid)),
            FieldName::Container => text(path.container),
            FieldName::ContainerId => container.and_then(|c| match path.restarts {
                None => text(&c.id),
                Some(n) if n == c.restarts => text(&c.id),
                Some(n) if n + 1 == c.restarts => text(&c.id_before),
                Some(_) => None,
            }),
            FieldName::Image => container.and_then(|c| text(&c.image)),
            FieldName::ImageId => container.and_then(|c| text(&c.image_id)),
            FieldName::RestartCount => path.restarts.map(Value::from),
            FieldName::Node => text(pod.map(|pod| &*pod.node).filter(|n| !n.is_empty()).or(node).unwrap_or_default()),
            FieldName::Labels => pod.map(|pod| self.map(&pod.labels)),
            FieldName::Annotations => pod.map(|pod| self.map(&pod.annotations)),
            FieldName::Owner => pod.and_then(|pod| pod.owner.as_ref()).map(|(kind, name)| match self.names {
                Names::Vector => Value::from(format!("{kind}/{name}")),
                _ => json!({"kind": kind, "name": name}),
            }),
            FieldName::NamespaceLabels => namespace_labels.map(|labels| self.map(labels)),
            FieldName::PodIp => pod.and_then(|pod| text(&pod.pod_ip)),
            FieldName::HostIp => pod.and_then(|pod| text(&pod.host_ip)),
        };
        let empty = matches!(&value, Some(Value::Object(map)) if map.is_empty());
        Some((self.name(field), value.filter(|_| !empty)?))
    }

    fn name(&self, field: FieldName) -> &'static str {
        use FieldName as F;
        match (self.names, field) {
            (Names::Vector, F::Namespace) => "pod_namespace",
            (Names::Vector | Names::FluentBit, F::Pod) => "pod_name",
            (Names::Vector | Names::FluentBit, F::Container) => "container_name",
            (Names::Vector | Names::FluentBit, F::Image) => "container_image",
            (Names::Vector, F::ImageId) => "container_image_id",
            (Names::Vector, F::Node) => "pod_node_name",
            (Names::Vector, F::Labels) => "pod_labels",
            (Names::Vector, F::Annotations) => "pod_annotations",
            (Names::Vector, F::Owner) => "pod_owner",
            (Names::FluentBit, F::Namespace) => "namespace_name",
            (Names::FluentBit, F::PodUid) => "pod_id",
            (Names::FluentBit, F::ContainerId) => "docker_id",
            (Names::FluentBit, F::ImageId) => "container_hash",
            (Names::FluentBit, F::Node) => "host",
            (_, field) => field.word(),
        }
    }

    fn map(&self, map: &BTreeMap<String, String>) -> Value {
        let key = |key: &str| if self.dedot { key.replace('.', "_") } else { key.to_owned() };
        Value::Object(map.iter().map(|(k, v)| (key(k), Value::from(v.as_str()))).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::record::Container;
    use super::*;

    fn pod() -> Pod {
        Pod {
            uid: "u1".into(),
            node: "n1".into(),
            pod_ip: "10.0.0.1".into(),
            labels: [("app.kubernetes.io/name".to_owned(), "web".to_owned())].into(),
            owner: Some(("Deployment".into(), "web".into())),
            containers: vec![Container {
                name: "app".into(),
                image: "web:1".into(),
                id: "c3".into(),
                id_before: "c2".into(),
                restarts: 2,
                ..Container::default()
            }],
            ..Pod::default()
        }
    }

    fn said(names: Names, dedot: bool, file: &str, known: Known<'_>) -> Value {
        let speech = Speech { names, fields: FieldName::ALL.to_vec(), dedot };
        let file = Path::new(file);
        let shared = speech.shared(file, &LogPath::of(file).unwrap(), known, None);
        let fields = shared.fields.iter();
        let value = |value: &[u8]| serde_json::from_slice::<Value>(value).unwrap();
        Value::Object(fields.map(|(key, v)| (key.text().to_owned(), value(v))).collect())
    }

    #[test]
    fn each_agent_has_its_names() {
        let pod = pod();
        let known = Known { pod: Some(&pod), ..Known::default() };
        let file = "/var/log/pods/shop_web-1_u1/app/2.log";
        assert_eq!(
            said(Names::Tidegate, false, file, known),
            json!({"kubernetes": {"namespace": "shop", "pod": "web-1", "pod_uid": "u1", "container": "app", "container_id": "c3",
                "image": "web:1", "restart_count": 2, "node": "n1", "labels": {"app.kubernetes.io/name": "web"},
                "owner": {"kind": "Deployment", "name": "web"}, "pod_ip": "10.0.0.1"}})
        );
        let vector = said(Names::Vector, false, file, known);
        assert_eq!(vector["kubernetes"]["pod_namespace"], "shop");
        assert_eq!(vector["kubernetes"]["pod_owner"], "Deployment/web");
        assert_eq!((&vector["file"], &vector["source_type"]), (&json!(file), &json!("kubernetes_logs")));
        let fluent = said(Names::FluentBit, true, file, known);
        assert_eq!(fluent["kubernetes"]["namespace_name"], "shop");
        assert_eq!(fluent["kubernetes"]["labels"], json!({"app_kubernetes_io/name": "web"}));
    }

    #[test]
    fn the_id_of_a_container_is_that_of_its_run() {
        let pod = pod();
        let known = Known { pod: Some(&pod), ..Known::default() };
        let id = |n: u64| {
            said(Names::Tidegate, false, &format!("/p/shop_web-1_u1/app/{n}.log"), known)["kubernetes"]["container_id"]
                .clone()
        };
        assert_eq!([id(0), id(1), id(2), id(3)], [Value::Null, "c2".into(), "c3".into(), Value::Null]);
    }

    #[test]
    fn what_is_missing_is_marked_and_the_path_says_the_rest() {
        let known = Known { missing: true, node: Some("n1"), ..Known::default() };
        assert_eq!(
            said(Names::Tidegate, false, "/p/kube-system_etcd-n1_0a1b/etcd/0.log", known),
            json!({"kubernetes": {"namespace": "kube-system", "pod": "etcd-n1", "pod_uid": "0a1b", "container": "etcd",
                "restart_count": 0, "node": "n1", "metadata": "missing"}})
        );
    }
}
