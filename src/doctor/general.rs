//! What concerns the agent as a whole: its folder, space, memory.

use super::{Finding, Host};
use crate::text::escape::shell_word;
use rustix::fs::{Access, access, statfs, statvfs};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// `f_type` of a filesystem in memory.
const TMPFS: i128 = 0x0102_1994;
/// What the agent needs beside the events it holds.
const BESIDE_EVENTS: u64 = 40 << 20;

/// A disk buffer as it is configured.
#[derive(Clone, Debug)]
pub struct DiskBuffer {
    /// Id of its sink.
    pub sink: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes at most.
    pub max_bytes: u64,
}

/// The folder of state: whether it can be used, by whom it can be read, whether it lasts.
pub fn data_dir(dir: &Path) -> Vec<Finding> {
    let shown = dir.display();
    let word = path_word(dir);
    let mut findings = Vec::new();
    match std::fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            findings.push(Finding::loss(format!("data_dir {shown} is not a folder"), "name another `data_dir`"));
            return findings;
        }
        Ok(meta) => {
            if access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
                findings.push(Finding::loss(
                    format!("data_dir {shown} cannot be written by this user: nothing is remembered over a restart"),
                    format!("chown -R \"$(id -u)\" {word}, or run `doctor` as the agent's user"),
                ));
            }
            let mode = meta.permissions().mode() & 0o777;
            if let Some(why) = crate::storage::data_dir::strangers(&meta) {
                findings.push(Finding::warning(
                    format!("data_dir {shown} is not the agent's own: {why}"),
                    format!("chown \"$(id -u)\" {word} && chmod 700 {word}"),
                ));
            } else if mode & 0o077 != 0 {
                findings.push(Finding::warning(
                    format!("data_dir {shown} has mode {mode:04o}: others can read what is buffered there"),
                    format!("chmod 700 {word}"),
                ));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = existing(dir);
            if access(&above, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                findings.push(Finding::loss(
                    format!("data_dir {shown} is not there and cannot be made in {}", above.display()),
                    format!("install -d -m 700 -o \"$(id -u)\" {word}"),
                ));
            }
        }
        Err(error) => {
            findings.push(Finding::loss(
                format!("data_dir {shown}: {error}"),
                "make it readable for the agent's user, or name another `data_dir`",
            ));
            return findings;
        }
    }
    if let Ok(fs) = statfs(existing(dir))
        && i128::from(fs.f_type) == TMPFS
    {
        findings.push(Finding::warning(
            format!("data_dir {shown} is in memory (tmpfs): places in files and disk buffers are gone after a reboot"),
            "put `data_dir` on a disk (in Kubernetes: a hostPath or a persistent volume, no emptyDir)",
        ));
    }
    findings
}

/// A path as a word for a shell.
pub fn path_word(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

/// What of this host was tried and does not work.
#[derive(Debug)]
pub enum TryError {
    /// The folder cannot be made.
    Folder(PathBuf, io::Error),
    /// No file can be made in it.
    File(PathBuf, io::Error),
    /// The address cannot be listened on.
    Listen(String, io::Error),
}

impl std::fmt::Display for TryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TryError::Folder(dir, _) => write!(f, "cannot make the folder {}", dir.display()),
            TryError::File(dir, _) => write!(f, "cannot make a file in {}", dir.display()),
            TryError::Listen(address, _) => write!(f, "cannot listen on {address}"),
        }
    }
}

impl std::error::Error for TryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let (TryError::Folder(_, error) | TryError::File(_, error) | TryError::Listen(_, error)) = self;
        Some(error)
    }
}

/// Whether files can be made in a folder, and the folder itself: what had to be made for it is taken away again.
///
/// Errors: what cannot be made, and why.
pub fn try_folder(dir: &Path) -> Result<(), TryError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let missing: Vec<&Path> = dir.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    let tried = std::fs::create_dir_all(dir).map_err(|e| TryError::Folder(dir.to_owned(), e));
    let tried = tried.and_then(|()| {
        let name = dir.join(format!(".tidegate-try-{}", std::process::id()));
        let made = std::fs::File::create_new(&name).and_then(|_| std::fs::remove_file(&name));
        made.map_err(|e| TryError::File(dir.to_owned(), e))
    });
    // The innermost first; one that somebody uses meanwhile stays.
    for made in missing {
        let _kept = std::fs::remove_dir(made);
    }
    tried
}

/// Whether an address can be listened on: `127.0.0.1:8686`, `tcp://…`, `tls://…`, `udp://…`; others are not tried.
///
/// Errors: why it cannot.
pub fn try_address(address: &str) -> Result<(), TryError> {
    let (scheme, host) = address.split_once("://").unwrap_or(("tcp", address));
    let tried = match scheme {
        "tcp" | "tls" | "http" | "https" => std::net::TcpListener::bind(host).map(drop),
        "udp" => std::net::UdpSocket::bind(host).map(drop),
        _ => Ok(()),
    };
    tried.map_err(|error| TryError::Listen(address.to_owned(), error))
}

/// The next folder above that is there.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Whether the disk buffers fit on their disks.
pub fn space(buffers: &[DiskBuffer]) -> Vec<Finding> {
    // By device: what they may still grow by, beside what is free.
    let mut devices: Vec<(u64, u64, u64, Vec<String>)> = Vec::new();
    for buffer in buffers {
        let at = existing(&buffer.folder);
        let (Ok(meta), Ok(fs)) = (std::fs::metadata(&at), statvfs(&at)) else { continue };
        let free = fs.f_bavail.saturating_mul(fs.f_frsize);
        let more = buffer.max_bytes.saturating_sub(used(&buffer.folder));
        match devices.iter_mut().find(|d| d.0 == meta.dev()) {
            Some(device) => {
                device.2 = device.2.saturating_add(more);
                device.3.push(buffer.sink.clone());
            }
            None => devices.push((meta.dev(), free, more, vec![buffer.sink.clone()])),
        }
    }
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
    devices
        .into_iter()
        .filter(|(_, free, more, _)| more > free)
        .map(|(_, free, more, sinks)| {
            Finding::loss(
                format!(
                    "the disk buffers of {} may grow by {}, but {} are free: the disk is full before they are",
                    sinks.join(", "),
                    gib(more),
                    gib(free)
                ),
                format!("free {} on that disk, move `data_dir`, or make `max_size` smaller", gib(more - free)),
            )
        })
        .collect()
}

/// Bytes of the files in a folder.
fn used(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.metadata().ok()).map(|m| if m.is_dir() { 0 } else { m.blocks() * 512 }).sum()
}

/// Whether the memory that the process is given suffices.
pub fn memory(host: &Host, memory_limit: u64) -> Vec<Finding> {
    let group = host.text("/proc/self/cgroup").and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("0::")).map(|path| path.trim().trim_end_matches('/').to_owned())
    });
    let limit = group
        .and_then(|path| host.number(&format!("/sys/fs/cgroup{path}/memory.max")))
        .or_else(|| host.number("/sys/fs/cgroup/memory.max"));
    let needed = memory_limit.saturating_add(BESIDE_EVENTS);
    match limit {
        Some(limit) if limit < needed => vec![Finding::warning(
            format!(
                "the memory of this container or unit is limited to {} MiB; with `memory_limit` the agent may need {} MiB, and is killed then",
                limit >> 20,
                needed >> 20
            ),
            format!(
                "raise the limit to {} MiB, or set `memory_limit: {}MiB`",
                needed >> 20,
                (limit.saturating_sub(BESIDE_EVENTS) >> 20).max(4)
            ),
        )],
        _ => Vec::new(),
    }
}

/// Differences of clocks that are said, in seconds.
const SKEW: i64 = 30;

/// The server's clock beside ours, both in nanoseconds since 1970 UTC.
pub fn clock(server: i64, here: i64) -> Vec<Finding> {
    let seconds = (server - here) / 1_000_000_000;
    if seconds.abs() < SKEW {
        return Vec::new();
    }
    let (word, size) = (if seconds > 0 { "behind" } else { "ahead of" }, seconds.unsigned_abs());
    let what = format!("the clock of this host is {} {word} the server's", span(size));
    let fix = "run a time service on both: `timedatectl set-ntp true`, chrony or ntpd";
    // Servers drop what is too old or too new, by hours.
    if size >= 3600 {
        vec![Finding::loss(
            format!("{what}: events without a time of their own may be refused as too old or too new"),
            fix,
        )]
    } else {
        vec![Finding::warning(what, fix)]
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h", (seconds + 1800) / 3600),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::doctor::Severity;
    use crate::error::chain;

    #[test]
    fn a_folder_that_cannot_be_used_is_a_loss_and_one_that_others_read_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        assert!(data_dir(&path).iter().all(|f| f.severity != Severity::Loss), "it can be made");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let found = data_dir(&path);
        assert!(found.iter().any(|f| f.what.contains("mode 0755") && f.fix.starts_with("chmod 700")), "{found:?}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        assert!(data_dir(&path).iter().all(|f| !f.what.contains("mode")));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(data_dir(&file)[0].severity, Severity::Loss);
        assert_eq!(data_dir(&file.join("data"))[0].severity, Severity::Loss, "below a file");
    }

    #[test]
    fn a_folder_that_cannot_be_made_and_a_port_that_is_taken_are_found_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        assert!(try_folder(&deep).is_ok());
        assert!(!dir.path().join("a").exists());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(chain(&try_folder(&dir.path().join("file/x")).unwrap_err()).contains("cannot make the folder"));
        assert!(chain(&try_folder(Path::new("/proc/nope")).unwrap_err()).contains("/proc/nope"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert!(chain(&try_address(&address).unwrap_err()).contains(&address));
        assert!(try_address(&format!("tcp://{address}")).is_err() && try_address("unix:///x").is_ok());
        drop(taken);
        assert!(try_address(&address).is_ok());
    }

    #[test]
    fn commands_are_quoted_for_the_shell() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's $(touch x)");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let fix = &data_dir(&path)[0].fix;
        assert!(fix.starts_with("chmod 700 '") && fix.ends_with("it'\\''s $(touch x)'"), "{fix}");
    }

    #[test]
    fn buffers_that_do_not_fit_are_named_with_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let buffer = |sink: &str, max_bytes| DiskBuffer { sink: sink.into(), folder: dir.path().join(sink), max_bytes };
        assert_eq!(space(&[buffer("a", 1 << 20)]), []);
        let found = space(&[buffer("a", 1 << 60), buffer("b", 1 << 20)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("of a, b may grow by") && found[0].severity == Severity::Loss, "{found:?}");
    }

    #[test]
    fn clocks_that_differ_are_said_and_by_hours_they_lose() {
        let second = 1_000_000_000;
        assert_eq!(clock(100 * second, 71 * second), []);
        assert_eq!(clock(0, 90 * second)[0].what, "the clock of this host is 90 s ahead of the server's");
        let far = &clock(7 * 3600 * second, 0)[0];
        assert!(far.severity == Severity::Loss && far.what.contains("7 h behind"), "{far:?}");
    }

    #[test]
    fn a_container_that_is_too_small_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let host = |limit: &str| {
            std::fs::create_dir_all(dir.path().join("sys/fs/cgroup/unit")).unwrap();
            std::fs::create_dir_all(dir.path().join("proc/self")).unwrap();
            std::fs::write(dir.path().join("proc/self/cgroup"), "0::/unit\n").unwrap();
            std::fs::write(dir.path().join("sys/fs/cgroup/unit/memory.max"), limit).unwrap();
            Host::read(dir.path())
        };
        assert_eq!(memory(&host("max\n"), 24 << 20), []);
        assert_eq!(memory(&host("134217728\n"), 24 << 20), []);
        let found = memory(&host("50331648\n"), 24 << 20);
        assert!(found[0].what.contains("limited to 48 MiB") && found[0].fix.contains("64 MiB"), "{found:?}");
    }
}
