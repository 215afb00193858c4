//! What on this host will lose lines of the files that a source is to read.

use super::FileConfig;
use super::config::Compressed;
use super::discovery::{Found, Patterns, is_literal};
use super::rotation::is_packed_name;
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
        let texts = |list: &[crate::config::Spanned<String>]| list.iter().map(|p| p.value.clone()).collect::<Vec<_>>();
        let Ok(patterns) = Patterns::new(&texts(&self.include), &texts(&self.exclude)) else { return Vec::new() };
        let Ok(rotated_to) = Patterns::new(&texts(&self.rotated_to), &[]) else { return Vec::new() };
        let mut found = Found::default();
        patterns.walk(self.follow_symlinks, &mut found);
        let mut findings = Vec::new();
        let files: BTreeSet<PathBuf> = found.entries.iter().map(|e| e.path.clone()).collect();
        if files.is_empty() {
            let include = self.include.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join(", ");
            findings.push(Finding::note(
                format!("no file matches {include}"),
                "check the paths, and that this user may enter the folders",
            ));
        }
        findings.extend(permissions(&files, found.dirs.iter().map(|d| d.path.as_path())));
        findings.extend(limits(host, files.len() as u64, found.dirs.len() as u64));
        findings.extend(self.rotations(host, &patterns, &rotated_to, &files));
        findings
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
        if options.compress && !options.delaycompress {
            let extension = options.compress_extension.as_deref().unwrap_or(".gz");
            let readable = matches!(extension, ".gz" | ".zst") && self.compressed == Compressed::Auto;
            if !(readable && is_looked_at(extension)) {
                let what = format!(
                    "{place} compresses {shown} at once (`compress` without `delaycompress`): what the agent has not read by then, as when it is down, is lost"
                );
                let fix = match extension {
                    ".gz" | ".zst" => format!(
                        "add `delaycompress`, or let the agent read the rest from the compressed files: `rotated_to: [\"{}*{extension}\"]`",
                        dir.join(path.file_name().unwrap_or_default()).display()
                    ),
                    _ => "add `delaycompress`, or compress with gzip".to_owned(),
                };
                findings.push(("compress", Finding::loss(what, fix)));
            }
        }
        if dir != own_dir && !is_looked_at("") {
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

fn permissions<'a>(files: &BTreeSet<PathBuf>, dirs: impl Iterator<Item = &'a Path>) -> Vec<Finding> {
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
            "add the agent's user to the group of the files (`usermod -aG $(stat -c %G {0}) USER`), or `setfacl -m u:USER:r {0}`",
            first.display()
        );
        findings.push(Finding::loss(format!("this user cannot read {}", names(&unreadable)), fix));
    }
    let closed: Vec<&Path> = dirs.filter(|p| access(*p, Access::READ_OK | Access::EXEC_OK).is_err()).collect();
    if let Some(first) = closed.first() {
        let fix = format!("setfacl -m u:USER:rx {}", first.display());
        findings.push(Finding::loss(format!("this user cannot look into {}", names(&closed)), fix));
    }
    findings
}

fn limits(host: &Host, files: u64, dirs: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    // As the source does: three quarters of the limit.
    let usable = host.open_files() / 4 * 3;
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
