//! What on this host will lose lines of the files that a source is to read.

use super::FileConfig;
use super::config::{Compressed, Fingerprint};
use super::discovery::{FoundFiles, Patterns, is_literal};
use super::missed::{ClosedFolder, Why};
use super::names::{PACKED_ENDS, is_packed_name};
use crate::doctor::general::path_word;
use crate::doctor::logrotate::Rule;
use crate::doctor::{Finding, Host};
use rustix::fs::{Access, access};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Names that are shown of a kind.
const SHOWN: usize = 3;

impl FileConfig {
    /// Looks at the files that match, and at what rotates them.
    pub(super) fn look_around(&self, host: &Host) -> Vec<Finding> {
        let texts =
            |list: &[crate::settings::Spanned<String>]| list.iter().map(|p| p.value.clone()).collect::<Vec<_>>();
        let Ok(patterns) = Patterns::new(&texts(&self.include), &texts(&self.exclude)) else { return Vec::new() };
        let Ok(rotated_to) = Patterns::new(&texts(&self.rotated_to), &[]) else { return Vec::new() };
        let mut found = FoundFiles::default();
        patterns.walk(self.links(), &mut found);
        let files = files_of(&found);
        let mut findings = unreached(&patterns, &found, &files);
        findings.extend(self.closed_elsewhere(&rotated_to));
        findings.extend(limits(host, files.len() as u64, found.dirs.len() as u64));
        findings.extend(self.rotations(host, &patterns, &rotated_to, &files));
        findings
    }

    /// What is not read as things are now.
    pub(super) fn unread_now(&self) -> Vec<Finding> {
        let texts =
            |list: &[crate::settings::Spanned<String>]| list.iter().map(|p| p.value.clone()).collect::<Vec<_>>();
        let Ok(patterns) = Patterns::new(&texts(&self.include), &texts(&self.exclude)) else { return Vec::new() };
        let mut found = FoundFiles::default();
        patterns.walk(self.links(), &mut found);
        unreached(&patterns, &found, &files_of(&found))
    }

    /// The files that match now.
    pub(super) fn files_now(&self) -> Vec<std::path::PathBuf> {
        let texts =
            |list: &[crate::settings::Spanned<String>]| list.iter().map(|p| p.value.clone()).collect::<Vec<_>>();
        let Ok(patterns) = Patterns::new(&texts(&self.include), &texts(&self.exclude)) else { return Vec::new() };
        let mut found = FoundFiles::default();
        patterns.walk(self.links(), &mut found);
        files_of(&found).into_iter().collect()
    }

    /// Folders of `rotated_to` that cannot be looked into.
    fn closed_elsewhere(&self, rotated_to: &Patterns) -> Vec<Finding> {
        let mut found = FoundFiles::default();
        rotated_to.walk(self.links(), &mut found);
        closed_folders(&found)
    }

    fn rotations(
        &self,
        host: &Host,
        patterns: &Patterns,
        rotated_to: &Patterns,
        files: &BTreeSet<PathBuf>,
    ) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for why in &host.rotations().unread {
            findings.push(Finding::note(
                format!("logrotate's {why}: what it does to the files is not known"),
                "run `doctor` as root to see it",
            ));
        }
        // Files that are not there yet count too, where a rule names them outright.
        let named = host.rotations().rules.iter().flat_map(|r| &r.patterns).map(PathBuf::from);
        let named = named.filter(|p| patterns.matches(p));
        let mut seen: BTreeSet<(String, &'static str)> = BTreeSet::new();
        let mut ruled = BTreeSet::new();
        for path in files.iter().cloned().chain(named) {
            if is_packed_name(&path) {
                continue;
            }
            let Some(rule) = host.rotations().rule(&path) else { continue };
            // A pattern stands for the files that will come, where there are none to look at.
            if files.contains(&path) {
                ruled.insert(rule.place());
            } else if !is_literal(&path.to_string_lossy()) && ruled.contains(&rule.place()) {
                continue;
            }
            for (kind, finding) in self.rotation(rule, &path, patterns, rotated_to) {
                if seen.insert((rule.place(), kind)) {
                    findings.push(finding);
                }
            }
        }
        findings
    }

    /// What a rule does to one file.
    fn rotation(
        &self,
        rule: &Rule,
        path: &Path,
        patterns: &Patterns,
        rotated_to: &Patterns,
    ) -> Vec<(&'static str, Finding)> {
        let (place, shown, options) = (rule.place(), path.display(), &rule.options);
        let mut findings = Vec::new();
        if options.copytruncate {
            let what = format!(
                "{place} rotates {shown} with `copytruncate`: what is written between the copy and the cut is lost, agent or not"
            );
            let fix = "replace `copytruncate` by `create` and, where the program keeps its file open, a `postrotate` that makes it open it anew (most take SIGHUP or SIGUSR1)";
            findings.push(("copytruncate", Finding::loss(what, fix)));
        }
        if options.rotate == 0 {
            let what =
                format!("{place} keeps no rotated {shown} (`rotate 0`): what was not read when it is rotated is lost");
            findings.push(("rotate", Finding::loss(what, "set `rotate 2` or more")));
            return findings;
        }
        let own_dir = path.parent().unwrap_or(Path::new("/"));
        let dir = options.olddir.as_ref().map_or(own_dir.to_owned(), |olddir| own_dir.join(olddir));
        // Whether the source looks where rotated files go, with and without dates in their names.
        let is_looked_at = |extension: &str| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            [".1", "-20250101"].iter().any(|middle| {
                let rotated = dir.join(format!("{name}{middle}{extension}"));
                patterns.matches(&rotated) || rotated_to.matches(&rotated)
            })
        };
        let extension = options.compress_extension.as_deref().unwrap_or(".gz");
        // Compressed files are found beside the one they were made of, whether `include` names them or not.
        let readable = PACKED_ENDS.contains(&extension)
            && self.compressed == Compressed::Auto
            && !matches!(self.fingerprint, Fingerprint::Bytes(_));
        if options.compress && !options.delaycompress && !readable {
            let what = format!(
                "{place} compresses {shown} at once (`compress` without `delaycompress`), in a way that this source does not read: what the agent has not read by then, as when it is down, is lost"
            );
            let fix = match extension {
                _ if PACKED_ENDS.contains(&extension) && self.compressed == Compressed::Auto => {
                    "add `delaycompress`, or use another `fingerprint`"
                }
                _ if PACKED_ENDS.contains(&extension) => "add `delaycompress`, or set `compressed: auto`",
                _ => "add `delaycompress`, or compress with gzip",
            };
            findings.push(("compress", Finding::loss(what, fix)));
        }
        let plain_missed = (!options.compress || options.delaycompress) && !is_looked_at("");
        let packed_missed = options.compress && readable && !is_looked_at(extension);
        if dir != own_dir && (plain_missed || packed_missed) {
            let what = format!(
                "{place} moves rotated {shown} to {}, where this source does not look: what was not read by then, as when the agent is down, is lost",
                dir.display()
            );
            let fix = format!(
                "remove `olddir`, or let the source look there for the rest of rotated files: `rotated_to: [\"{}/*\"]`",
                dir.display()
            );
            findings.push(("olddir", Finding::loss(what, fix)));
        }
        findings
    }
}

/// Regular files, and what may become some.
fn files_of(found: &FoundFiles) -> BTreeSet<PathBuf> {
    let is_file = |path: &Path| match path.metadata() {
        Ok(meta) => meta.is_file(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    found.entries.iter().map(|e| &e.path).filter(|path| is_file(path)).cloned().collect()
}

/// What no file is read of, pattern by pattern and folder by folder, and the files that may not be read.
fn unreached(patterns: &Patterns, found: &FoundFiles, files: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (pattern, met) in patterns.written().iter().zip(&found.met) {
        let Some(why) = Why::of(met) else { continue };
        let what = format!("no file matches `{pattern}`: {}", why.explain(pattern, false));
        findings.push(match why {
            Why::Nothing => Finding::note(what, "nothing, where files are to come; else check the pattern"),
            Why::Missing(_) => Finding::warning(what, "check the path; nothing, where it is to come"),
            Why::Excluded(_) => Finding::warning(what, "check `exclude`"),
            Why::Instead(..) => Finding::warning(what, "check the pattern: it has to name regular files"),
        });
    }
    findings.extend(closed_folders(found));
    findings.extend(permissions(files));
    findings
}

fn closed_folders(found: &FoundFiles) -> Vec<Finding> {
    // Folders in which no file matches yet are not tried by looking for files.
    let entered = |dir: &Path| access(dir, Access::EXEC_OK).is_ok();
    let mut closed: Vec<(&Path, String)> =
        found.closed.iter().map(|(dir, why)| (dir.as_path(), ClosedFolder(dir, why).to_string())).collect();
    let shut = found.dirs.iter().map(|dir| dir.path.as_path());
    let shut = shut.filter(|dir| !found.closed.contains_key(*dir) && !entered(dir));
    closed.extend(shut.map(|dir| (dir, format!("{}: it may not be entered", dir.display()))));
    closed.sort();
    let Some((first, _)) = closed.first() else { return Vec::new() };
    let fix = format!("setfacl -m u:USER:rx {}", path_word(first));
    let shown: Vec<&str> = closed.iter().take(SHOWN).map(|(_, why)| why.as_str()).collect();
    let more = closed.len().saturating_sub(SHOWN) + found.closed_more;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    vec![Finding::loss(format!("this user cannot look into {}{more}", shown.join(", ")), fix)]
}

fn permissions(files: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let names = |paths: &[&Path]| {
        let shown: Vec<String> = paths.iter().take(SHOWN).map(|p| p.display().to_string()).collect();
        let more = paths.len().saturating_sub(SHOWN);
        if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
    };
    let unreadable: Vec<&Path> =
        files.iter().map(PathBuf::as_path).filter(|p| access(*p, Access::READ_OK).is_err()).collect();
    if let Some(first) = unreadable.first() {
        let fix = format!(
            "add the agent's user to the group of the files (`usermod -aG \"$(stat -c %G {0})\" USER`), or `setfacl -m u:USER:r {0}`",
            path_word(first)
        );
        findings.push(Finding::loss(format!("this user cannot read {}", names(&unreadable)), fix));
    }
    findings
}

fn limits(host: &Host, files: u64, dirs: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    // As the source does: three quarters of the limit.
    let usable = super::usable_handles(host.open_files());
    if files > usable {
        let what = format!(
            "{files} files match, but the process may have {} open: of files beyond that, what is deleted before it is read is lost",
            host.open_files()
        );
        let wanted = (files * 2).next_power_of_two();
        let fix = format!(
            "`LimitNOFILE={wanted}` in the unit, `--ulimit nofile={wanted}` for a container, or `ulimit -n {wanted}`"
        );
        findings.push(Finding::loss(what, fix));
    }
    let inotify = |name: &str| host.number(&format!("/proc/sys/fs/inotify/{name}"));
    if let Some(watches) = inotify("max_user_watches").filter(|n| *n < dirs) {
        let what = format!(
            "{dirs} folders are to be watched, but the system allows {watches} watches: the rest is looked through once in `glob_interval`"
        );
        let fix =
            format!("sysctl -w fs.inotify.max_user_watches={} (and in /etc/sysctl.d)", (dirs * 4).next_power_of_two());
        findings.push(Finding::warning(what, fix));
    }
    if inotify("max_user_instances") == Some(0) {
        let what = "the system allows no inotify instance: folders are looked through once in `glob_interval`";
        findings.push(Finding::warning(what, "sysctl -w fs.inotify.max_user_instances=128 (and in /etc/sysctl.d)"));
    }
    findings
}
