//! What the path of a log file says of its container.
//!
//! ```text
//! /var/log/pods/<namespace>_<pod>_<uid>/<container>/<restarts>.log[.<time>[.gz]]
//! ```
//!
//! Names of namespaces, pods and containers have no underscores, so the parts cannot be mistaken. In the folder of a static pod a
//! hash of its configuration stands in the uid's place.

use std::path::Path;

/// Whose file it is, as its path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPath<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its pod.
    pub pod: &'a str,
    /// Or the hash of a static pod's configuration.
    pub uid: &'a str,
    /// Its container.
    pub container: &'a str,
    /// How often the container had been started before.
    pub restarts: Option<u64>,
}

impl<'a> LogPath<'a> {
    /// `None` where the path is that of no container.
    pub fn of(path: &'a Path) -> Option<LogPath<'a>> {
        let mut parts = path.components().rev().map(|part| part.as_os_str().to_str());
        let (file, container, folder) = (parts.next()??, parts.next()??, parts.next()??);
        let mut names = folder.splitn(3, '_');
        let (namespace, pod, uid) = (names.next()?, names.next()?, names.next()?);
        let restarts = file.split('.').next()?.parse().ok();
        let whole = ![namespace, pod, uid, container].iter().any(|part| part.is_empty());
        whole.then_some(LogPath { namespace, pod, uid, container, restarts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_whose_file_it_is() {
        let of = |path: &'static str| LogPath::of(Path::new(path));
        let log = LogPath { namespace: "shop", pod: "web-1", uid: "u-1", container: "app", restarts: Some(3) };
        assert_eq!(of("/var/log/pods/shop_web-1_u-1/app/3.log"), Some(log));
        assert_eq!(of("/var/log/pods/shop_web-1_u-1/app/3.log.20260101-000000"), Some(log));
        assert_eq!(of("/var/log/pods/shop_web-1_u-1/app/3.log.20260101-000000.gz"), Some(log));
        assert_eq!(of("/x/shop_web-1_u-1/app/app.log"), Some(LogPath { restarts: None, ..log }));
        for path in ["/var/log/app/0.log", "/a_b/c/0.log", "/a_b_/c/0.log", "/_b_c/d/0.log", "0.log", "/"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
