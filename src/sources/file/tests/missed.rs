//! What `include` does not reach, in a source that runs.

use super::super::discovery::{Closed, FoundFiles};
use super::*;

#[test]
fn files_that_are_read_go_on_when_their_folder_lets_nobody_look() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    let why = Closed { error: std::io::ErrorKind::PermissionDenied.into(), files: 0 };
    let mut found = FoundFiles { closed: [(w.logs(), why)].into_iter().collect(), ..FoundFiles::default() };
    let files = &mut w.tailer.as_mut().unwrap().files;
    files.missed.tell(&mut found, &files.plan, &files.tails);
    // As if the look had come by it, and it were the file that is known.
    let meta = std::fs::metadata(w.path("a.log")).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&meta);
    let entries: Vec<_> = found.entries.iter().map(|e| (e.path.clone(), e.inode, e.is_symlink)).collect();
    assert_eq!(entries, [(w.path("a.log"), inode, false)]);
    w.append("a.log", "2\n");
    w.read();
    assert_eq!(w.lines(), ["1", "2"]);
}
