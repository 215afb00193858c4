//! The API while it is served, and another in its place when its settings change: whoever asks is not refused meanwhile.

use super::agent::{Sign, new_token};
use crate::api::Api;
use crate::error::Cause;
use crate::net::tls::TlsServer;
use crate::pipeline::ApiConfig;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long the API's last answers may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why the API cannot be served.
#[derive(Debug)]
pub(super) enum ApiError {
    /// Its address is taken or not ours.
    Listen(SocketAddr, std::io::Error),
    /// Its certificate cannot be used.
    Certificate(Cause),
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ApiError::Listen(listen, error) => write!(f, "the API cannot listen on {listen}: {error}"),
            ApiError::Certificate(error) => write!(f, "the API's certificate: {error}"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ApiError::Listen(_, error) => Some(error),
            ApiError::Certificate(error) => Some(&**error),
        }
    }
}

/// A socket and a certificate, before anybody is served.
pub(super) struct ReadyApi {
    listen: SocketAddr,
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
}

impl ReadyApi {
    /// Binds the address, or takes the socket of `now` where it is the same.
    ///
    /// Errors: it is taken or not ours, or the certificate cannot be used.
    pub(super) fn new(config: &ApiConfig, now: Option<&ServedApi>) -> Result<ReadyApi, ApiError> {
        let listen = config.listen.value;
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let same = now.filter(|now| now.listen == listen);
        let listener: std::io::Result<TcpListener> = same.map_or_else(bind, |now| now.listener.try_clone());
        let listener = listener.map_err(|error| ApiError::Listen(listen, error))?;
        let tls = config.tls.as_ref().map(TlsServer::open).transpose();
        let tls = tls.map_err(|error| ApiError::Certificate(error.into()))?;
        Ok(ReadyApi { listen, listener, tls })
    }
}

/// The API that is served.
pub(super) struct ServedApi {
    listen: SocketAddr,
    listener: TcpListener,
    stop: CancellationToken,
    task: JoinHandle<()>,
    sign: Option<Sign>,
}

impl ServedApi {
    /// Serves `api`, and says in `data_dir` where.
    ///
    /// Errors: the socket cannot be used.
    pub(super) fn start(ready: ReadyApi, api: Api, data_dir: &Path) -> std::io::Result<ServedApi> {
        let ReadyApi { listen, listener, tls } = ready;
        let (mut sign, mut own_token) = (None, None);
        let address = listener.local_addr()?;
        tracing::info!(%address, tls = tls.is_some(), "API listening");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let put_up = new_token().and_then(|token| {
            let up = Sign::put_up(data_dir, &format!("{scheme}://{}", reachable(address)), &token)?;
            Ok((token, up))
        });
        match put_up {
            Ok((token, up)) => (own_token, sign) = (Some(token), Some(up)),
            Err(error) => tracing::warn!(%error, "commands do not find this agent by its data_dir"),
        }
        let (api, stop) = (Api { own_token, ..api }, CancellationToken::new());
        let (stopped, socket) = (stop.clone(), tokio::net::TcpListener::from_std(listener.try_clone()?)?);
        let task = tokio::spawn(async move {
            if let Err(error) = api.serve(socket, tls, stopped).await {
                tracing::error!(%error, "the API has ended");
            }
        });
        Ok(ServedApi { listen, listener, stop, task, sign })
    }

    /// Another is served in its place: what is being answered comes to its end.
    pub(super) fn replaced(mut self) {
        if let Some(sign) = self.sign.take() {
            sign.taken_over();
        }
        tokio::spawn(self.end());
    }

    /// Its address is free when it has ended; a client that is slow does not hold that up.
    pub(super) async fn end(self) {
        let ServedApi { listener, stop, mut task, sign, .. } = self;
        stop.cancel();
        drop((listener, sign));
        if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// An address that this host reaches what listens on `address` by.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
