//! Log folders as the kubelet keeps them: CRI lines, rotation by renaming, older files compressed, folders that go with their pod.

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A pod with its folder.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    folder: PathBuf,
}

impl Pod {
    /// A pod on `node-1` whose folder is below `logs`; nothing is made yet.
    pub(crate) fn new(logs: &Path, namespace: &str, name: &str, uid: &str) -> Pod {
        let folder = logs.join(format!("{namespace}_{name}_{uid}"));
        Pod { namespace: namespace.into(), name: name.into(), uid: uid.into(), folder }
    }

    /// As the API server has it, with containers of these names.
    pub(crate) fn object(&self, containers: &[&str]) -> Value {
        let spec: Vec<Value> = containers.iter().map(|c| json!({"name": c, "image": format!("shop/{c}:1")})).collect();
        let status = containers.iter().map(|c| {
            json!({"name": c, "image": "sha256:0", "imageID": format!("shop/{c}@sha256:1"), "restartCount": 0,
                "containerID": format!("containerd://{c}-of-{}", self.uid), "state": {"running": {}}, "lastState": {}})
        });
        json!({
            "kind": "Pod",
            "metadata": {"namespace": self.namespace, "name": self.name, "uid": self.uid, "labels": {"app": self.name},
                "annotations": {}, "ownerReferences": []},
            "spec": {"nodeName": "node-1", "containers": spec},
            "status": {"phase": "Running", "podIP": "10.0.0.7", "hostIP": "192.0.2.1",
                "containerStatuses": status.collect::<Vec<Value>>()},
        })
    }

    pub(crate) fn file(&self, container: &str, restarts: u32) -> PathBuf {
        self.folder.join(container).join(format!("{restarts}.log"))
    }

    /// Writes a line of stdout.
    pub(crate) fn write(&self, container: &str, restarts: u32, text: &str) {
        self.raw(container, restarts, &format!("2026-01-01T00:00:00.123456789Z stdout F {text}\n"));
    }

    pub(crate) fn raw(&self, container: &str, restarts: u32, text: &str) {
        let file = self.file(container, restarts);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Rotates as the kubelet does: renames, makes a new file, compresses the older ones.
    pub(crate) fn rotate(&self, container: &str, restarts: u32, time: &str) {
        let file = self.file(container, restarts);
        let rotated = PathBuf::from(format!("{}.{time}", file.display()));
        let older = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let prefix = format!("{restarts}.log.");
        let is_older = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(&prefix) && !name.ends_with(".gz") && !name.ends_with(".tmp")
        };
        for path in older.filter(is_older).collect::<Vec<_>>() {
            let name = path.display();
            let (temporary, packed) = (format!("{name}.tmp"), format!("{name}.gz"));
            let file = std::fs::File::create(&temporary).unwrap();
            let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gzip.write_all(&std::fs::read(&path).unwrap()).unwrap();
            gzip.finish().unwrap();
            std::fs::rename(&temporary, &packed).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::rename(&file, &rotated).unwrap();
        std::fs::File::create(&file).unwrap();
    }

    /// The kubelet removes the folder of a pod that is gone.
    pub(crate) fn delete(&self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}
