//! `socket`: who may write to a socket in the file system.
//!
//! A socket's file gets the rights that the process' umask leaves, which with the usual one lets nobody but the agent's own
//! user write. So the rights are set after the socket is bound: 0666 by default, as `/dev/log` has them.

use crate::settings::{Node, Reader, SchemaBuilder, Setting, config};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};
use std::path::Path;

config! {
    /// Who may write to sockets in the file system (`unix://`, `unixgram://`).
    pub struct SocketFile {
        /// Rights in octal, as `chmod` takes them: `"0660"` for owner and group, `"0666"` for all.
        pub mode: SocketMode = SocketMode(0o666),
        /// User that the socket belongs to, by name or number; needs the right to give files away.
        pub owner: Option<String> = None,
        /// Group that the socket belongs to, by name or number; one that the agent is in, or it needs that right too.
        pub group: Option<String> = None,
    }
}

/// Rights of a file, the lowest nine bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl Setting for SocketMode {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        // The text as it is written: whatever YAML takes `0660` for, chmod takes it for octal.
        let text = node.scalar_text().unwrap_or_default().trim();
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|c| matches!(c, b'0'..=b'7'));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if octal && mode <= 0o777 => Some(SocketMode(mode)),
            _ => {
                cx.expected(node, &Self::describe());
                None
            }
        }
    }

    fn schema(_: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": ["string", "integer"], "pattern": "^(0o)?[0-7]{3,4}$|\\$\\{"})
    }

    fn describe() -> String {
        "rights in octal such as `0660`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(format!("{:04o}", self.0))
    }
}

impl SocketFile {
    /// Gives a socket's file its owner, group and rights.
    ///
    /// Errors: a name is not known here, or the agent may not do so; the text says which.
    pub(super) fn apply(&self, path: &Path) -> io::Result<()> {
        if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "another file has taken its place"));
        }
        let owner = self.owner.as_deref().map(|name| id_of(name, "/etc/passwd", "user")).transpose()?;
        let group = self.group.as_deref().map(|name| id_of(name, "/etc/group", "group")).transpose()?;
        if owner.is_some() || group.is_some() {
            lchown(path, owner, group).map_err(|error| {
                let kind = error.kind();
                let named =
                    |key: &str, name: &Option<String>| name.as_ref().map(|name| format!("`socket.{key}: {name}`"));
                let both: Vec<String> =
                    [named("owner", &self.owner), named("group", &self.group)].into_iter().flatten().collect();
                io::Error::new(kind, format!("it cannot be given away ({}): {error}", both.join(", ")))
            })?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(self.mode.0))
    }
}

/// The number of a user or group, by name or as it is.
fn id_of(name: &str, table: &str, what: &str) -> io::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let lines = std::fs::read_to_string(table)?;
    let found = lines.lines().find_map(|line| {
        // name:password:id:…
        let mut parts = line.split(':');
        (parts.next()? == name).then(|| parts.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no {what} `{name}` in {table}")))
}
