//! What a service manager is told: systemd's notification protocol (`sd_notify(3)`, `Type=notify`).
//!
//! Datagrams of lines `NAME=value` to the socket that `NOTIFY_SOCKET` names: `READY=1` when the graph runs, `RELOADING=1` while the
//! next configuration takes over, `STOPPING=1` from the first signal on, `STATUS=…` for `systemctl status`, and `WATCHDOG=1` at half of
//! the time in `WATCHDOG_USEC`, sent by the thread of sockets and signals: when that stands still, the manager starts
//! the agent anew. Without the variables nothing happens; a manager that does not listen disturbs nobody.

use crate::sync::live::Live;
use crate::telemetry::{ComponentKind, RunLedger};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A service manager, where there is one.
#[derive(Debug)]
pub(super) struct Service {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it must hear of us.
    watchdog: Option<Duration>,
}

/// How often the status is told where no watchdog asks for more.
const STATUS_EVERY: Duration = Duration::from_secs(10);

impl Service {
    /// As the environment says.
    pub(super) fn of_environment() -> Service {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| address(name.as_bytes()));
        let to = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let for_us = |pid: &str| pid.parse() == Ok(std::process::id());
        let ours = std::env::var("WATCHDOG_PID").ok().is_none_or(|pid| for_us(&pid));
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let watchdog = micros.filter(|n| *n > 0 && ours && to.is_some()).map(Duration::from_micros);
        Service { to, watchdog }
    }

    /// The graph runs.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Another graph is to take over; [`ready`](Self::ready) follows.
    pub(super) fn reloading(&self) {
        let micros = crate::time::clock::monotonic_ns() / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The agent ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says again and again that the agent lives and what it does; never ends by itself.
    pub(super) async fn run(&self, ledger: &Live<RunLedger>) {
        let every = self.watchdog.map_or(STATUS_EVERY, |time| (time / 2).min(STATUS_EVERY));
        let mut before = counts(&ledger.now());
        loop {
            tokio::time::sleep(every).await;
            if self.to.is_none() {
                continue;
            }
            let now = counts(&ledger.now());
            let rate = |n: u64, before: u64| (n.saturating_sub(before) as f64 / every.as_secs_f64()).round();
            let (read, delivered) = (rate(now.0, before.0), rate(now.1, before.1));
            let status = format!("STATUS={read} events/s read, {delivered} delivered, {} held", now.2);
            before = now;
            let alive = if self.watchdog.is_some() { "WATCHDOG=1\n" } else { "" };
            self.tell(&format!("{alive}{status}"));
        }
    }

    fn tell(&self, words: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(words.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

/// A path, or, behind `@`, a name that is in no file system.
fn address(name: &[u8]) -> Option<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name).ok();
    }
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name));
    path.is_absolute().then(|| SocketAddr::from_pathname(path).ok())?
}

/// Events read by sources, delivered by sinks, and held by sinks.
fn counts(ledger: &RunLedger) -> (u64, u64, u64) {
    ledger.components.iter().fold((0, 0, 0), |(read, delivered, held), counters| {
        let totals = counters.snapshot();
        match counters.kind {
            ComponentKind::Source => (read + totals.events_out, delivered, held),
            ComponentKind::Sink => (read, delivered + totals.events_out, held + totals.held),
            ComponentKind::Transform => (read, delivered, held),
        }
    })
}
