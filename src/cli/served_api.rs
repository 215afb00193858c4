//! The API while it is served, and another in its place when its settings change: whoever asks is not refused meanwhile.

use super::agent::{Sign, new_token};
use crate::api::Api;
use crate::error::Cause;
use crate::http::server::Listener;
use crate::net::tls::TlsServer;
use crate::pipeline::{ApiConfig, ApiListen};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
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
    Listen(ApiListen, std::io::Error),
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

/// What is listened on.
enum Socket {
    Tcp(TcpListener),
    /// Removed with the last that has it.
    Unix(UnixListener, Arc<SocketFile>),
}

/// The file of a socket, removed when dropped, where it is still the same.
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

impl Socket {
    fn bind(listen: &ApiListen) -> std::io::Result<Socket> {
        match listen {
            ApiListen::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Socket::Tcp(listener))
            }
            ApiListen::Unix(path) => Socket::bind_path(path),
        }
    }

    /// A socket that only this user may open, in the place of one that an agent has left which was killed.
    fn bind_path(path: &Path) -> std::io::Result<Socket> {
        if let Ok(meta) = std::fs::symlink_metadata(path) {
            if !meta.file_type().is_socket() {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::AlreadyExists,
                    "there is a file that is no socket",
                ));
            }
            if UnixStream::connect(path).is_ok() {
                return Err(std::io::ErrorKind::AddrInUse.into());
            }
        }
        // Nobody finds it before its mode is right.
        let new = PathBuf::from(format!("{}.new", path.display()));
        drop(std::fs::remove_file(&new));
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        let inode = std::fs::symlink_metadata(&new)?.ino();
        std::fs::rename(&new, path)?;
        listener.set_nonblocking(true)?;
        Ok(Socket::Unix(listener, Arc::new(SocketFile { path: path.to_owned(), inode })))
    }

    fn try_clone(&self) -> std::io::Result<Socket> {
        match self {
            Socket::Tcp(listener) => listener.try_clone().map(Socket::Tcp),
            Socket::Unix(listener, file) => Ok(Socket::Unix(listener.try_clone()?, file.clone())),
        }
    }

    fn to_serve(&self) -> std::io::Result<Listener> {
        match self {
            Socket::Tcp(listener) => tokio::net::TcpListener::from_std(listener.try_clone()?).map(Listener::Tcp),
            Socket::Unix(listener, _) => tokio::net::UnixListener::from_std(listener.try_clone()?).map(Listener::Unix),
        }
    }

    /// The address by which this host reaches it.
    fn address(&self, is_tls: bool) -> std::io::Result<String> {
        Ok(match self {
            Socket::Tcp(listener) => {
                let scheme = if is_tls { "https" } else { "http" };
                format!("{scheme}://{}", reachable(listener.local_addr()?))
            }
            Socket::Unix(_, file) => {
                ApiListen::Unix(std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone())).to_string()
            }
        })
    }
}

/// A socket and a certificate, before anybody is served.
pub(super) struct ReadyApi {
    listen: ApiListen,
    listener: Socket,
    tls: Option<Arc<TlsServer>>,
}

impl ReadyApi {
    /// Binds the address, or takes the socket of `now` where it is the same.
    ///
    /// Errors: it is taken or not ours, or the certificate cannot be used.
    pub(super) fn new(config: &ApiConfig, now: Option<&ServedApi>) -> Result<ReadyApi, ApiError> {
        let listen = config.listen.value.clone();
        let same = now.filter(|now| now.listen == listen);
        let listener = same.map_or_else(|| Socket::bind(&listen), |now| now.listener.try_clone());
        let listener = listener.map_err(|error| ApiError::Listen(listen.clone(), error))?;
        let tls = config.tls.as_ref().map(TlsServer::open).transpose();
        let tls = tls.map_err(|error| ApiError::Certificate(error.into()))?;
        Ok(ReadyApi { listen, listener, tls })
    }
}

/// The API that is served.
pub(super) struct ServedApi {
    listen: ApiListen,
    listener: Socket,
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
        let address = match &listener {
            Socket::Tcp(listener) => listener.local_addr()?.to_string(),
            Socket::Unix(..) => listen.to_string(),
        };
        tracing::info!(%address, tls = tls.is_some(), "API listening");
        let reached_by = listener.address(tls.is_some())?;
        let put_up = new_token().and_then(|token| {
            let up = Sign::put_up(data_dir, &reached_by, &token)?;
            Ok((token, up))
        });
        match put_up {
            Ok((token, up)) => (own_token, sign) = (Some(token), Some(up)),
            Err(error) => tracing::warn!(%error, "commands do not find this agent by its data_dir"),
        }
        let (api, stop) = (Api { own_token, ..api }, CancellationToken::new());
        let (stopped, socket) = (stop.clone(), listener.to_serve()?);
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
