//! The `syslog` source: RFC 5424 and RFC 3164 over UDP, TCP and Unix sockets.
//!
//! ```yaml
//! sources:
//!   net: {type: syslog, listen: ["udp://0.0.0.0:514", "tcp://0.0.0.0:601"], timezones: {"10.1.*": Europe/Berlin}}
//! ```
//!
//! Which RFC a message follows is told message by message ([`decoding::syslog`](crate::decoding::syslog)), how a stream
//! is framed frame by frame ([`framing::syslog`](crate::framing::syslog)). What has no header of either, or one that is not read,
//! is kept as text, marked `decode_error` and counted in `errors{kind="decode"}`; text behind a priority alone is right.
//! `@peer` is the sender's address without its port; behind a load balancer that speaks the PROXY protocol, the one that
//! its header names (`proxy_protocol`).
//!
//! Guarantee: what was read is delivered before the program ends; what came when the agent stops is still read. The
//! protocol has no acknowledgement, so a crash loses what was on its way.
//!
//! Downstream full: connections are not read, so their senders wait. Datagrams cannot be held up: the kernel drops
//! what its buffer has no room for, counted as `kernel_buffer_full`. A larger `receive_buffer` holds longer bursts; for UDP it
//! is 4 MiB where it is not set and the system allows that.
//!
//! Limits: a message longer than `max_message` is cut, counted in `errors{kind="oversized"}`; a counted frame that its
//! sender did not finish is kept as far as it came, `errors{kind="broken_off"}`, or dropped where it says nothing yet,
//! `incomplete_frame`; unfinished messages of all connections together hold 16 MiB at
//! most. A socket of datagrams has a thread of its own; all connections share one.

mod datagram;
mod listen;
mod origin;
mod settings;
mod socket;
mod stream;

pub use crate::net::proxy_protocol::ProxyProtocol;
pub use listen::Listen;
pub use settings::SyslogCommon;
pub use socket::SocketFile;

use crate::component::WantedConnections;
use crate::component::common::{SourceCommon, say_cut};
use crate::component::plan::SourcePlan;
use crate::component::{BuildContext, Output, SourceContext, SourceRun};
use crate::decoding::syslog::{SenderZones, SyslogDecoder};
use crate::decoding::{Charset, DecodeSetting, FrameDecoder};
use crate::error::{BuildError, RunError, SettingError};
use crate::event::SlabPool;
use crate::framing::syslog::SyslogFramer;
use crate::net::tls::{ServerTls, TlsServer};
use crate::settings::{Map, OneOrMany, Reader, Settings, Size, Spanned, config};
use crate::telemetry::Counters;
use crate::telemetry::panics::caught;
use crate::time::Zone;
use datagram::DatagramSocket;
use globset::{GlobBuilder, GlobMatcher};
use listen::{Socket, SocketKind};
use origin::{Origins, PeerOrigins};
use std::sync::Arc;
use std::time::Duration;
use stream::StreamListener;
use tokio_util::sync::CancellationToken;

config! {
    /// Syslog over UDP, TCP and Unix sockets.
    pub struct SyslogConfig {
        /// Where it listens, one or several: `udp://HOST:PORT`, `tcp://…`, `tls://…`, `unix:///PATH`, `unixgram:///PATH`.
        pub listen: OneOrMany<Spanned<Listen>>,
        /// Certificate and key for `tls://`, and whose certificates are taken there.
        pub tls: Option<ServerTls> = None,
        /// Zone of times that name none; without it, the zone of the whole configuration.
        pub timezone: Option<Zone>,
        /// Zones of senders whose address matches: `{"10.1.*": Europe/Berlin}`. The first that matches counts.
        pub timezones: Map<Zone> = Map::default(),
        /// What messages are in that are not in UTF-8, by a label of the WHATWG's Encoding Standard: `latin1`, `shift_jis`, `gbk`, …
        /// One that says by its mark that it is in UTF-8 is.
        pub charset: Option<Spanned<Charset>>,
        /// Longest message; a longer one is cut, counted.
        pub max_message: Size = Size::kib(64),
        /// Most connections at once; further ones wait in the system's queue. Without it 20,000, or as many as fit a quarter of
        /// `memory_limit` (3 KiB each, over TLS 32) and half of the files that the process may have open; fewer are said at the start.
        pub max_connections: Option<u32> = None,
        /// A connection on which nothing came for this long is closed. Without it, silent ones stay.
        pub idle_timeout: Option<Duration> = None,
        /// Whether connections over TCP begin with a header of the PROXY protocol (version 1 or 2), which names the sender.
        pub proxy_protocol: ProxyProtocol = ProxyProtocol::Off,
        /// Bytes of datagrams that the kernel holds for each socket. Without it, for UDP 4 MiB as far as the system allows, else as
        /// the system has it.
        pub receive_buffer: Option<Size> = None,
        /// Who may write to `unix://` and `unixgram://`; without it everybody on this host, as with `/dev/log`.
        pub socket: Option<SocketFile> = None,
        /// What all sources have.
        flatten pub common: SyslogCommon,
    }
}

impl SyslogConfig {
    fn zones(&self) -> impl Iterator<Item = (&Spanned<String>, Result<GlobMatcher, globset::Error>, &Zone)> {
        self.timezones
            .iter()
            .map(|(sender, zone)| (sender, GlobBuilder::new(sender).build().map(|glob| glob.compile_matcher()), zone))
    }
}

impl SourcePlan for SyslogConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn check(&self, cx: &mut Reader<'_>) {
        if self.listen.is_empty() {
            cx.error_at("listen", "`listen` of a syslog source is empty; it needs one address at least");
        }
        let secured = self.listen.iter().find(|listen| matches!(listen.value, Listen::Tls(_)));
        match (secured, &self.tls) {
            (Some(listen), None) => {
                let message = format!("`{}` needs `tls` with a certificate and its key", listen.value);
                cx.error(listen.span, message).help("write `tls: {cert: server.pem, key: server.key}`");
            }
            (None, Some(_)) => {
                cx.error_at("tls", "`tls` of a syslog source is for `tls://`, which it does not listen on");
            }
            _ => {}
        }
        let in_files = |listen: &Spanned<Listen>| matches!(listen.value, Listen::Unix(_) | Listen::UnixDatagram(_));
        if self.socket.is_some() && !self.listen.iter().any(in_files) {
            cx.error_at(
                "socket",
                "`socket` of a syslog source is for `unix://` and `unixgram://`, which it does not listen on",
            );
        }
        for (sender, pattern, _) in self.zones() {
            if let Err(error) = pattern {
                cx.error(sender.span, format!("bad pattern `{}` in `timezones`: {}", sender.value, error.kind()));
            }
        }
        if let Some(charset) = self.charset.as_ref().filter(|charset| charset.wide().is_some()) {
            cx.error(charset.span, "messages of syslog cannot be in UTF-16: its headers are in ASCII");
        }
        if self.max_connections == Some(0) {
            cx.error_at("max_connections", "`max_connections` of a syslog source is 0; nothing could come in");
        }
        if self.max_message.as_usize() == 0 {
            cx.error_at("max_message", "`max_message` of a syslog source is 0; it needs room for a message");
        }
    }

    fn charset(&self) -> Option<Charset> {
        self.charset.as_ref().map(|charset| charset.value)
    }

    fn listens(&self) -> Vec<Spanned<String>> {
        self.listen.iter().map(|listen| Spanned::new(listen.value.to_string(), listen.span)).collect()
    }

    fn connections(&self) -> Option<WantedConnections> {
        let streams = self.listen.iter().any(|l| !matches!(l.value, Listen::Udp(_) | Listen::UnixDatagram(_)));
        let secured = self.listen.iter().any(|l| matches!(l.value, Listen::Tls(_)));
        streams.then(|| WantedConnections {
            connections: self.max_connections.unwrap_or(DEFAULT_CONNECTIONS),
            is_explicit: self.max_connections.is_some(),
            bytes_each: if secured { stream::TLS_BYTES_EACH } else { stream::BYTES_EACH },
        })
    }

    fn decoder(&self, cx: &BuildContext) -> Result<Box<dyn FrameDecoder>, BuildError> {
        let zone = self.timezone.clone().unwrap_or_else(|| Zone::from_jiff(cx.timezone.clone()));
        match self.common.decode {
            DecodeSetting::Syslog => {
                let by_sender = self.zones().filter_map(|(_, pattern, zone)| Some((pattern.ok()?, zone.clone())));
                Ok(Box::new(SyslogDecoder::with_zones(SenderZones::new(zone, by_sender.collect()))))
            }
            ref other => other.decoder(&zone),
        }
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn reads_times(&self) -> bool {
        self.timezone.is_none()
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("its sockets and connections go on; those within TLS end within `shutdown_timeout`")
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        if cx.once {
            return Err(BuildError::config("it has no end, so `--once` would run for ever; leave `--once` out"));
        }
        let tls = self
            .tls
            .as_ref()
            .map(TlsServer::open)
            .transpose()
            .map_err(|error| BuildError::host(SettingError { setting: "tls", cause: error.into() }))?;
        let receive_buffer = self.receive_buffer.map(|size| size.as_usize());
        let file = self.socket.clone().unwrap_or_else(SocketFile::defaults);
        let sockets: Result<Vec<_>, _> = self.listen.iter().map(|listen| listen.bind(receive_buffer, &file)).collect();
        let (sockets, origins) = (sockets?, Origins::new(cx));
        let limits = (cx.connections as usize, cx.memory_limit / 4);
        Ok(SourceRun::Thread(Box::new(move |cx| run(&self, sockets, origins, tls, limits, cx))))
    }
}

/// As far as memory and handles allow.
const DEFAULT_CONNECTIONS: u32 = 20_000;

/// What the listeners of one source share.
struct Shared {
    output: Output,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    leave: CancellationToken,
    pool: SlabPool,
    max_message: usize,
    max_connections: usize,
    /// Bytes of unfinished messages of all connections together.
    max_unfinished: usize,
    idle_timeout: Option<Duration>,
    proxy_protocol: ProxyProtocol,
}

fn run(
    config: &SyslogConfig,
    sockets: Vec<Socket>,
    origins: Origins,
    tls: Option<Arc<TlsServer>>,
    (max_connections, max_unfinished): (usize, usize),
    cx: SourceContext,
) -> Result<(), RunError> {
    let max_message = config.max_message.as_usize();
    let slab = stream::SLAB.max(SyslogFramer::new(max_message).most_kept() + stream::SLAB / 2);
    let shared = Arc::new(Shared {
        output: cx.output,
        counters: cx.counters,
        shutdown: cx.shutdown,
        leave: cx.leave,
        pool: SlabPool::new(slab, 12),
        max_message,
        max_connections,
        max_unfinished: max_unfinished.clamp(2 * max_message, stream::UNFINISHED.max(2 * max_message)),
        idle_timeout: config.idle_timeout,
        proxy_protocol: config.proxy_protocol,
    });
    if let Some(wanted) = config.connections().filter(|wanted| !wanted.is_explicit) {
        let connections = u32::try_from(max_connections).unwrap_or(u32::MAX);
        say_cut(&shared.counters.id, connections, wanted.connections, wanted.bytes_each);
    }
    let (mut streams, mut datagrams, mut holders) = (Vec::new(), Vec::new(), Vec::new());
    for socket in sockets {
        tracing::info!(component = %shared.counters.id, address = socket.address(), "listening");
        match socket.kind {
            SocketKind::Udp(socket) => datagrams.push(DatagramSocket::Udp(socket)),
            SocketKind::UnixDatagram(socket, _) => datagrams.push(DatagramSocket::Unix(socket)),
            SocketKind::Tcp(listener, secured) => {
                let listener = StreamListener::Tcp(listener, tls.clone().filter(|_| secured));
                streams.push((listener, socket.holder.clone()));
            }
            SocketKind::Unix(listener, _) => streams.push((StreamListener::Unix(listener), socket.holder.clone())),
        }
        holders.push(socket.holder);
    }
    std::thread::scope(|scope| {
        let spawn = |socket: DatagramSocket| {
            let (shared, origins) = (&*shared, PeerOrigins::new(origins.clone()));
            std::thread::Builder::new().name("syslog-dgram".into()).spawn_scoped(scope, move || {
                let result = caught(|| datagram::run(&socket, shared, origins))
                    .unwrap_or_else(|words| Err(std::io::Error::other(format!("it panicked; this is a bug: {words}"))));
                if result.is_err() {
                    shared.shutdown.cancel();
                }
                result.map_err(RunError::io("datagrams cannot be read"))
            })
        };
        let mut threads = Vec::new();
        let mut result = Ok(());
        for socket in datagrams {
            match spawn(socket) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    shared.shutdown.cancel();
                    result = Err(RunError::Thread(error));
                }
            }
        }
        if !streams.is_empty() {
            result = result.and(stream::run(streams, shared.clone(), origins.clone()));
        }
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| Err(RunError::panicked("a reader")));
            result = result.and(ended);
        }
        result
    })
}

#[cfg(test)]
mod tests;
