//! The small servers: the agent's API and the pages of Prometheus sinks.
//!
//! Promises: clients that are slow, silent or many neither take the descriptors that files need nor keep others out:
//! places are few, and whoever asks nothing gives way (see [`crate::net::connections`]). A slow handshake holds up nobody else.

use crate::net::connections::{ConnectionPermit, Limits, Phase, Places, Watched};
use crate::net::tls::TlsServer;
use crate::telemetry::log_throttle::LogThrottle;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at once, as far as a sixteenth of the process's descriptors; further clients wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;
/// The least.
const MIN_CONNECTIONS: usize = 8;
/// Handshakes of TLS at once, and connections on which nothing came yet; and of one peer.
const MAX_SILENT: usize = 64;
const MAX_SILENT_OF_PEER: usize = 16;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long the head of a request may take, the wait for it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last, whatever it does.
const LONGEST: Duration = Duration::from_secs(300);

/// What is listened on.
pub(crate) enum Listener {
    /// An address.
    Tcp(TcpListener),
    /// A path. Nothing goes over TLS there.
    Unix(UnixListener),
}

enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        Listener::Tcp(listener)
    }
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer.ip().to_canonical()))
            }
            Listener::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// Handed to whoever answers a request: an answer without an end may take longer than a connection may last, and is cut when its reader
/// has stopped reading.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenEnd {
    is_open: Arc<AtomicBool>,
    cut: CancellationToken,
}

impl OpenEnd {
    /// Cancelled, it cuts the connection.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// The answer has no end.
    pub(crate) fn begin(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }
}

/// Serves until `stop`, over TLS where there is a `tls`, and ends when the last answer is out.
pub(crate) async fn serve(
    listener: impl Into<Listener>,
    tls: Option<Arc<TlsServer>>,
    router: Router,
    stop: CancellationToken,
) {
    serve_with(limits(), listener.into(), tls, router, stop).await;
}

fn limits() -> Limits {
    let share = usize::try_from(crate::process::handles::limit() / 16).unwrap_or(usize::MAX);
    let connections = share.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
    let silent = MAX_SILENT.min(connections / 2);
    Limits { connections, silent, silent_of_peer: MAX_SILENT_OF_PEER.min(silent.div_ceil(2)) }
}

async fn serve_with(
    limits: Limits,
    listener: Listener,
    tls: Option<Arc<TlsServer>>,
    router: Router,
    stop: CancellationToken,
) {
    let places = Places::new(limits);
    let mut open = JoinSet::new();
    let mut failed = LogThrottle::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, mostly: try again when some have closed.
                if let Some(times) = failed.due(1) {
                    tracing::warn!(%error, times, "a connection to the API or to a page cannot be accepted");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let peer = match &accepted {
            Accepted::Tcp(_, peer) => Some(*peer),
            Accepted::Unix(_) => None,
        };
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = places.take(peer) => place,
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        open.spawn(async move {
            match accepted {
                Accepted::Tcp(stream, peer) => connection(stream, peer, tls, router, stop, place).await,
                Accepted::Unix(stream) => requests(stream, router, stop, place).await,
            }
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<Arc<TlsServer>>,
    router: Router,
    stop: CancellationToken,
    place: ConnectionPermit,
) {
    let Some(tls) = tls else { return requests(stream, router, stop, place).await };
    let accepted = tokio::select! {
        biased;
        accepted = tls.accept(stream, HANDSHAKE) => accepted,
        () = place.gives_way() => return,
        () = stop.cancelled() => return,
    };
    match accepted {
        Ok((stream, _)) => requests(stream, router, stop, place).await,
        Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
    }
}

/// Answers until the client, `stop`, or somebody who needs the place ends it.
async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    stop: CancellationToken,
    place: ConnectionPermit,
) {
    let router = TowerToHyperService::new(router);
    let watch = &place.watch;
    let open_end = OpenEnd::default();
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        watch.set(Phase::Busy);
        request.extensions_mut().insert(open_end.clone());
        let answer = router.call(request);
        let open_end = &open_end;
        async move {
            let answer = answer.await;
            if !open_end.is_open() {
                watch.set(Phase::Waiting);
            }
            answer
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_headers(64).header_read_timeout(None);
    let io = Watched::new(stream, Vec::new(), watch.clone());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut too_slow = pin!(watch.too_slow(HEAD_TIMEOUT, HEAD_TIMEOUT));
    let mut over = pin!(tokio::time::sleep(LONGEST));
    let (mut ending, mut asked, mut is_over) = (false, false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection has ended");
                }
                return;
            }
            () = &mut over, if !is_over => {
                if !open_end.is_open() {
                    return;
                }
                is_over = true;
            }
            () = open_end.cut.cancelled() => return,
            _ = &mut too_slow => return,
            () = place.gives_way(), if !asked => {
                if place.must_close() {
                    return;
                }
                asked = true;
                connection.as_mut().graceful_shutdown();
            }
            () = stop.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const FEW: Limits = Limits { connections: 8, silent: 4, silent_of_peer: 4 };

    async fn started(tls: Option<Arc<TlsServer>>) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/health", get(|| async { "ok\n" }));
        tokio::spawn(serve_with(FEW, listener.into(), tls, router, stop.clone()));
        (address, stop)
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut text = Vec::new();
        while !text.ends_with(b"ok\n") {
            let mut bytes = [0; 512];
            match stream.read(&mut bytes).await? {
                0 => break,
                n => text.extend_from_slice(&bytes[..n]),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    #[tokio::test]
    async fn clients_that_keep_their_connections_keep_nobody_out() {
        let (address, stop) = started(None).await;
        let mut held = Vec::new();
        // Each asks once, and stays; twice as many as there are places.
        for _ in 0..16 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
            held.push(stream);
        }
        // The one that has asked last still has its place, the first has not.
        assert!(ask(&mut held[15]).await.unwrap().starts_with("HTTP/1.1 200"));
        assert!(!ask(&mut held[0]).await.is_ok_and(|text| text.contains("200")));
        stop.cancel();
    }

    #[tokio::test]
    async fn clients_that_say_nothing_keep_nobody_out() {
        let (address, stop) = started(None).await;
        let mut silent = Vec::new();
        for _ in 0..12 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(3), ask(&mut stream)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        stop.cancel();
    }

    #[tokio::test]
    async fn silent_handshakes_keep_nobody_out() {
        let tls = TlsServer::open(&crate::net::tls::tests::settings("cert", "key")).unwrap();
        let (address, stop) = started(Some(tls)).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let _other_test_may_have = rustls::crypto::ring::default_provider().install_default();
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        let pem = std::fs::read(fixtures.join("cert.pem")).unwrap();
        let trusted = [reqwest::Certificate::from_pem(&pem).unwrap()];
        let client =
            reqwest::Client::builder().tls_certs_only(trusted).timeout(Duration::from_secs(4)).build().unwrap();
        let answer = client.get(format!("https://localhost:{}/health", address.port())).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        stop.cancel();
    }
}
