//! TLS of our own servers: certificates from PEM files, read again when they change; client certificates. What clients need of
//! the same files is here too.

mod error;
mod settings;
mod subject;

pub use error::TlsError;
pub use settings::{ClientAuth, ServerTls, TlsVersion};
pub use subject::{subject, validity};

use crate::error::chain;
use crate::sync::Locked;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at; a change is in use within two looks.
pub const LOOK: Duration = Duration::from_secs(2);

/// What a server shows and asks for, as its files have it now.
pub struct TlsServer {
    settings: ServerTls,
    config: Mutex<Arc<ServerConfig>>,
}

impl TlsServer {
    /// Reads the files and begins to watch them.
    ///
    /// Errors: a file cannot be read, holds no PEM, or a certificate and its key do not belong together; the text names
    /// the file.
    pub fn open(settings: &ServerTls) -> Result<Arc<TlsServer>, TlsError> {
        TlsServer::watched(settings, LOOK)
    }

    fn watched(settings: &ServerTls, look: Duration) -> Result<Arc<TlsServer>, TlsError> {
        let seen = signatures(settings);
        let config = Mutex::new(load(settings)?);
        let server = Arc::new(TlsServer { settings: settings.clone(), config });
        let watching = Arc::downgrade(&server);
        std::thread::Builder::new()
            .name("tls-watch".into())
            .spawn(move || watch(&watching, seen, look))
            .map_err(|source| TlsError::Watch { path: settings.cert.clone(), source })?;
        Ok(server)
    }

    /// What the next connection is to be accepted with.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.config.locked().clone()
    }

    /// Shakes hands with a client; the subject of its certificate, where it shows one.
    ///
    /// Errors: it does not speak TLS, nor a version that is taken, shows no certificate though it must, or takes longer
    /// than `timeout`.
    pub async fn accept<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        stream: S,
        timeout: Duration,
    ) -> std::io::Result<(TlsStream<S>, Option<Arc<str>>)> {
        let accepting = TlsAcceptor::from(self.current()).accept(stream);
        let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "the TLS handshake took too long");
        let stream = tokio::time::timeout(timeout, accepting).await.map_err(late)??;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let subject = shown.map(|certificate| subject(certificate).unwrap_or_default().into());
        Ok((stream, subject))
    }
}

/// What tells one state of a file from another; `None` where it is not there.
pub type Signature = Option<(i64, i64, u64, u64)>;

fn files(settings: &ServerTls) -> impl Iterator<Item = &Path> {
    let named = settings.names.iter().flat_map(|named| [&*named.cert, &*named.key]);
    [&*settings.cert, &*settings.key].into_iter().chain(named).chain(settings.client_ca_file.as_deref())
}

/// The state of a file, links followed.
pub fn signature(path: &Path) -> Signature {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

fn signatures(settings: &ServerTls) -> Vec<Signature> {
    files(settings).map(signature).collect()
}

/// Looks until nobody uses the server any more. Files that are still being written are left alone for one more look.
fn watch(watching: &Weak<TlsServer>, loaded: Vec<Signature>, look: Duration) {
    let (mut loaded, mut seen) = (loaded.clone(), loaded);
    loop {
        std::thread::sleep(look);
        let Some(server) = watching.upgrade() else { return };
        let now = signatures(&server.settings);
        if now == loaded || now != seen {
            seen = now;
            continue;
        }
        loaded = now;
        let cert = server.settings.cert.display();
        match load(&server.settings) {
            Ok(config) => {
                *server.config.locked() = config;
                tracing::info!(%cert, "certificates were read again");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(%cert, %error, "changed certificates cannot be used; the old ones stay in use");
            }
        }
    }
}

/// The certificates of a PEM file, one at least.
///
/// Errors: it cannot be read or holds none; the text names the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(TlsError::in_file(path))?.collect();
    let chain = chain.map_err(TlsError::in_file(path))?;
    if chain.is_empty() {
        return Err(TlsError::Lacks { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

/// The private key of a PEM file.
///
/// Errors: it cannot be read, holds none, or one that is encrypted; the text names the file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = std::fs::read(path).map_err(TlsError::in_file(path))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let has = |words: &[u8]| memchr::memmem::find(&pem, words).is_some();
        if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
            return TlsError::Encrypted { path: path.to_owned() };
        }
        match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                TlsError::Lacks { path: path.to_owned(), what: "private key" }
            }
            error => TlsError::in_file(path)(error),
        }
    })
}

fn certified(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(cert)?;
    let key_der = private_key(key)?;
    let certified = CertifiedKey::from_der(chain, key_der, provider).map_err(|source| TlsError::Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source: Box::new(source),
    })?;
    Ok(Arc::new(certified))
}

/// Reads everything that the settings name.
fn load(settings: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS12, &rustls::version::TLS13],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut shown = Shown {
        default: certified(&settings.cert, &settings.key, &provider)?,
        exact: HashMap::new(),
        below: HashMap::new(),
    };
    for named in &settings.names {
        let certified = certified(&named.cert, &named.key, &provider)?;
        for name in named.names.iter() {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(parent) => shown.below.insert(parent.to_owned(), certified.clone()),
                None => shown.exact.insert(name, certified.clone()),
            };
        }
    }
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(TlsError::in_file(&settings.cert))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(TlsError::in_file(path))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match settings.client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(TlsError::in_file(path))?)
        }
    };
    Ok(Arc::new(builder.with_cert_resolver(Arc::new(shown))))
}

/// Which certificate is shown to whom.
#[derive(Debug)]
struct Shown {
    default: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the name without its first label.
    below: HashMap<String, Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.exact.get(&name).or_else(|| self.below.get(name.split_once('.')?.1)).cloned()
        });
        Some(named.unwrap_or_else(|| self.default.clone()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
