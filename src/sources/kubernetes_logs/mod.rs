//! The `kubernetes_logs` source: the logs of a node's containers, each line with what is known of its pod.
//!
//! ```yaml
//! sources:
//!   pods: {type: kubernetes_logs}
//! ```
//!
//! It stands on [`file`](super::file), which finds, opens, rotates, proves and remembers; all that is promised there holds here. What
//! is added is whose a file is.
//!
//! **Tail first, ask later.** A file is opened when it appears, whatever is known of its pod. Its path says namespace, pod, uid,
//! container and restarts; the rest comes from the API server or the kubelet ([`mod@follow`]) and is attached to the file once
//! ([`keeper`]). Events wait for it for `metadata.wait` at most, in the file, whose handle is open; then they go on marked
//! `kubernetes.metadata: missing`, counted (`metadata_missing`). While the server is known not to answer nobody waits. A deleted file
//! is read to its end; a pod that is gone stays known for two minutes.
//!
//! **Costs.** Nothing is looked up per event: the fields are JSON that is copied into each batch once, and each event refers to it.
//!
//! **What is left out** by names is never opened; by labels and annotations it is read and dropped before it is decoded,
//! `excluded`, so that a rule that changes loses nothing and repeats nothing.
//!
//! **When downstream is full** nothing more is read; files that appear are still opened.
//!
//! **Limits.** Memory of `file`, and a record for each pod of the node with what `metadata.fields` names (about 2 KB). Label selectors
//! do not hold, neither way, for a pod of which nothing is known.

mod config;
mod follow;
mod keeper;
mod pods;

pub use config::KubernetesLogsConfig;

use self::config::{From, PodsSetting};
use self::follow::{Follower, KUBELET_FLOOR};
use self::keeper::{Following, Keeper};
use self::pods::Pods;
use super::file::{Attended, Bell, LeavesOut};
use crate::component::common::SourceCommon;
use crate::component::plan::SourcePlan;
use crate::component::{BuildContext, SourceRun};
use crate::decoding::FrameDecoder;
use crate::decoding::kubernetes::{KubernetesDecoder, LineNames};
use crate::doctor::{Finding, Host};
use crate::error::{BuildError, RunError};
use crate::event::Sym;
use crate::framing::container::{Format, Rule, TooLong};
use crate::framing::{Framing, LongLines, PartLimits, framing};
use crate::kubernetes::record::{Kept, PodReader};
use crate::kubernetes::{Access, FieldName, LogPath, Names, Place};
use crate::settings::{Reader, Span};
use crate::telemetry::Counters;
use crate::time::Zone;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl SourcePlan for KubernetesLogsConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn check(&self, cx: &mut Reader<'_>) {
        self.note_mistakes(cx);
    }

    fn decoder(&self, cx: &BuildContext) -> Result<Box<dyn FrameDecoder>, BuildError> {
        let (timestamp, message) = match self.names {
            Names::FluentBit => ("time", "log"),
            Names::Tidegate | Names::Vector => ("timestamp", "message"),
        };
        let (timestamp, message) = (Sym::from_config(timestamp), Sym::from_config(message));
        let names = LineNames { timestamp, stream: Sym::STREAM, message };
        let zone = Zone::from_jiff(cx.timezone.clone());
        Ok(Box::new(KubernetesDecoder::new(names, &self.common.decode, zone)?))
    }

    fn reads_times(&self) -> bool {
        // A pod may ask for any decoder.
        self.annotations || self.common.decode.reads_times()
    }

    fn framing(&self) -> Result<Option<Framing>, BuildError> {
        self.rule().map(|rule| Some(Framing::Containers(rule)))
    }

    fn reads(&self, path: &Path) -> Option<Span> {
        self.file().reads(path)
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn files_now(&self) -> Vec<PathBuf> {
        let leaves_out = leaves_out(self.include.clone(), self.exclude.clone());
        let files = SourcePlan::files_now(&self.file());
        files.into_iter().filter(|path| !leaves_out.0(path)).collect()
    }

    fn examine(&self, host: &Host) -> Vec<Finding> {
        self.file().examine(host)
    }

    fn unread_now(&self) -> Vec<Finding> {
        SourcePlan::unread_now(&self.file())
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("goes on from its places; no file is read anew; pods are asked for anew")
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        let rule = self.rule()?;
        let file = Box::new(self.file());
        let leaves_out = leaves_out(self.include.clone(), self.exclude.clone());
        let (source, counters, joined) = (cx.id.clone(), cx.counters.clone(), rule.clone());
        let attend = Box::new(move |bell: Bell| {
            let keeper = self.keeper(source, &counters, joined, bell)?;
            Ok(Box::new(keeper) as Box<dyn super::file::Owners>)
        });
        file.source(cx, Some(Attended { attend, leaves_out, rule }))
    }
}

impl KubernetesLogsConfig {
    /// How lines are joined where no pod asks for more.
    fn rule(&self) -> Result<Arc<Rule>, BuildError> {
        let too_long = match self.long_lines {
            LongLines::Truncate => TooLong::Truncate,
            LongLines::Skip => TooLong::Skip,
            LongLines::Split => TooLong::Split,
        };
        let max_bytes = self.max_line_bytes.as_usize();
        let parts = PartLimits { timeout: self.partial_timeout, max_bytes, too_long };
        match framing(self.multiline.as_ref(), Some(Format::Any), parts)? {
            Some(Framing::Containers(rule)) => Ok(rule),
            _ => Err(BuildError::config("lines of containers are joined")),
        }
    }

    /// Begins to ask, where that is wanted.
    fn keeper(
        &self,
        source: Arc<str>,
        counters: &Arc<Counters>,
        rule: Arc<Rule>,
        bell: Bell,
    ) -> Result<Keeper, RunError> {
        let pods = Arc::new(Pods::new(bell));
        let metadata = &self.metadata;
        let node = metadata.node.clone().or_else(|| std::env::var("NODE_NAME").ok().filter(|node| !node.is_empty()));
        if let Some(node) = &node {
            pods.is_node(node);
        }
        if metadata.from == From::None {
            return Ok(Keeper::new(source, self, rule, pods, None));
        }
        let labels = |pods: &Option<PodsSetting>| pods.as_ref().is_some_and(|pods| !pods.labels.is_empty());
        let kept = Kept {
            labels: metadata.wants(FieldName::Labels)
                || self.names == Names::Vector
                || labels(&self.include)
                || labels(&self.exclude),
            annotations: metadata.wants(FieldName::Annotations),
        };
        let mut prefixes = Vec::new();
        if self.annotations {
            prefixes.push(format!("{}/", self.annotation_prefix));
        }
        if self.names == Names::FluentBit {
            prefixes.push("fluentbit.io/".to_owned());
        }
        let mut follower = Follower::new(source.clone(), pods.clone(), PodReader { kept, prefixes }, counters.clone());
        follower.node = node;
        follower.spread = metadata.spread;
        follower.namespaces = metadata.from == From::Api && metadata.wants(FieldName::NamespaceLabels);
        let following = follow(follower, metadata.from, metadata.place())?;
        let mut keeper = Keeper::new(source, self, rule, pods, Some(following));
        if metadata.from == From::Kubelet {
            keeper = keeper.with_floor(KUBELET_FLOOR);
        }
        Ok(keeper)
    }
}

/// Follows the server on a thread of its own, which sleeps nearly always.
fn follow(follower: Follower, from: From, place: Place) -> Result<Following, RunError> {
    let cancel = CancellationToken::new();
    let cancelled = cancel.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let runtime = runtime.map_err(RunError::io("cannot make a runtime"))?;
    let thread = std::thread::Builder::new()
        .name("kubernetes".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = cancelled.cancelled() => {}
                    () = async {
                        match from {
                            From::Kubelet => follower.kubelet(|| Access::to_kubelet(&place)).await,
                            From::Api | From::None => follower.api(|| Access::to_api(&place)).await,
                        }
                    } => cancelled.cancelled().await,
                }
            });
            runtime.shutdown_background();
        })
        .map_err(RunError::Thread)?;
    Ok(Following { cancel, thread: Some(thread) })
}

/// What is not read, by its path alone.
fn leaves_out(include: Option<PodsSetting>, exclude: Option<PodsSetting>) -> LeavesOut {
    LeavesOut(Arc::new(move |path: &Path| {
        let Some(LogPath { namespace, pod, container, .. }) = LogPath::of(path) else { return false };
        include.as_ref().is_some_and(|include| !include.has_names(namespace, pod, container))
            || exclude.as_ref().is_some_and(|exclude| exclude.has_a_name(namespace, pod, container))
    }))
}
