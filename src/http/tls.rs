//! TLS of clients: whom they trust and what they show, from PEM files.
//!
//! Trusted are the system's authorities and those in `ca_file`, and beyond that a server's certificate that itself stands in
//! `ca_file`: what `openssl req -x509` makes is marked as an authority, which verifiers refuse as a server's own. For such a
//! certificate name and time are checked as for any other.

use super::failure::ClientError;
use super::settings::TlsConfig;
use crate::net::tls::{TlsError, certificates, private_key, validity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;

/// The files that the settings name.
pub(super) fn files(config: &TlsConfig) -> Vec<PathBuf> {
    [&config.ca_file, &config.cert, &config.key].into_iter().flatten().cloned().collect()
}

/// Reads the files.
///
/// Errors: one cannot be read or holds no certificate or key; the text names setting and file.
pub(super) fn client_config(config: &TlsConfig) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = match &config.ca_file {
        Some(path) => certificates(path).map_err(ClientError::file("tls.ca_file"))?,
        None => Vec::new(),
    };
    let verifier: Arc<dyn ServerCertVerifier> = if config.verify {
        let failed = |source: Error| match &config.ca_file {
            Some(path) => ClientError::file("tls.ca_file")(TlsError::in_file(path)(source)),
            None => ClientError::Trust(source),
        };
        let system = rustls_platform_verifier::Verifier::new_with_extra_roots(own.clone(), provider.clone());
        Arc::new(Verifier { authorities: Arc::new(system.map_err(failed)?), own })
    } else {
        tracing::warn!("tls.verify is false: the server's certificate is not checked");
        Arc::new(TakesAll(provider.clone()))
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Trust)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&config.cert, &config.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (None, Some(_)) => Err(ClientError::KeyAlone),
        (Some(cert), key) => {
            let chain = certificates(cert).map_err(ClientError::file("tls.cert"))?;
            // Certificate and key may stand in one file.
            let (setting, path) = key.as_ref().map_or(("tls.cert", cert), |key| ("tls.key", key));
            let key = private_key(path).map_err(ClientError::file(setting))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                let (cert, key) = (cert.clone(), path.clone());
                ClientError::file("tls.cert")(TlsError::Pair { cert, key, source: Box::new(error) })
            })
        }
    }
}

/// Trusts authorities, and certificates that are known themselves.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<dyn ServerCertVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        further: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let error = match self.authorities.verify_server_cert(shown, further, name, ocsp, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        if self.own.iter().any(|own| own.as_ref() == shown.as_ref()) {
            rustls::client::verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            return match validity(shown) {
                Some(when) if when.contains(&seconds) => Ok(ServerCertVerified::assertion()),
                Some(when) if seconds < *when.start() => Err(CertificateError::NotValidYet.into()),
                Some(_) => Err(CertificateError::Expired.into()),
                None => Err(CertificateError::BadEncoding.into()),
            };
        }
        Err(match format!("{error:?}").contains("CaUsedAsEndEntity") {
            true => Error::Other(OtherError(Arc::new(AuthorityAsServer))),
            false => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Told where a server shows an authority's certificate that is not known.
#[derive(Debug)]
struct AuthorityAsServer;

impl std::fmt::Display for AuthorityAsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the server shows an authority's certificate as its own (self-signed?): put that certificate into `tls.ca_file`, or \
             have the server show one that it signed",
        )
    }
}

impl std::error::Error for AuthorityAsServer {}

/// `verify: false`: whatever is shown is taken.
#[derive(Debug)]
struct TakesAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Exchange, HttpExchange, Mask, Request};
    use super::*;
    use crate::net::tls::tests::settings;
    use crate::net::tls::{ServerTls, TlsServer};
    use crate::settings::{Secret, Settings};
    use reqwest::header::HeaderMap;
    use std::path::Path;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
    }

    fn trusting(ca_file: Option<PathBuf>) -> TlsConfig {
        TlsConfig { ca_file, ..TlsConfig::defaults() }
    }

    /// A server that answers every request; its port.
    async fn serve(server: ServerTls) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = TlsServer::open(&server).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let Ok((mut stream, _)) = server.accept(stream, Duration::from_secs(10)).await else { return };
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                            return;
                        }
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_ok() {
                        _ = stream.shutdown().await;
                    }
                });
            }
        });
        port
    }

    fn exchange(port: u16, host: &str, tls: TlsConfig) -> HttpExchange {
        let mut common = super::super::ClientConfig::defaults();
        common.proxy = Some(Secret::new("none"));
        common.tls = tls;
        let url = format!("https://{host}:{port}/").parse().unwrap();
        HttpExchange::looking(&common, &url, Mask::default(), Duration::from_millis(5)).unwrap()
    }

    async fn ask(exchange: &HttpExchange, port: u16, host: &str) -> Result<u16, String> {
        let url = format!("https://{host}:{port}/").parse().unwrap();
        let request = Request { method: reqwest::Method::GET, url, headers: HeaderMap::new(), body: None };
        exchange.send(request, 100).await.map(|answer| answer.status).map_err(|lost| lost.why)
    }

    /// What one request to this server comes to.
    async fn reach(server: ServerTls, host: &str, tls: TlsConfig) -> Result<u16, String> {
        let port = serve(server).await;
        ask(&exchange(port, host, tls), port, host).await
    }

    #[tokio::test]
    async fn a_certificate_that_is_itself_in_the_ca_file_is_trusted_for_its_names_and_time() {
        let own = || settings("authority", "authority-key");
        let file = |name: &str| trusting(Some(fixture(name)));
        assert_eq!(reach(own(), "localhost", file("authority.pem")).await, Ok(200));
        // Not marked as an authority, as ever; and signed by one.
        assert_eq!(reach(settings("cert", "key"), "localhost", file("cert.pem")).await, Ok(200));
        assert_eq!(reach(settings("server", "server-key"), "localhost", file("ca.pem")).await, Ok(200));
        let mut other = file("authority.pem");
        other.server_name = Some("other.example".into());
        let why = reach(own(), "localhost", other).await.unwrap_err();
        assert!(why.contains("other.example"), "{why}");
        let why = reach(settings("expired", "authority-key"), "localhost", file("expired.pem")).await.unwrap_err();
        assert!(why.to_lowercase().contains("expired"), "{why}");
        // One of the same name and key that is not in the file.
        let why = reach(own(), "localhost", file("expired.pem")).await.unwrap_err();
        assert!(!why.is_empty());
        let why = reach(own(), "localhost", file("ca.pem")).await.unwrap_err();
        assert!(why.contains("put that certificate into `tls.ca_file`"), "{why}");
        let unchecked = TlsConfig { verify: false, ..trusting(None) };
        assert_eq!(reach(own(), "localhost", unchecked).await, Ok(200));
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_the_reason() {
        let error = |tls: TlsConfig| crate::error::chain(&client_config(&tls).err().unwrap());
        let pair = |cert: &str, key: Option<&str>| TlsConfig {
            cert: Some(fixture(cert)),
            key: key.map(fixture),
            ..trusting(Some(fixture("ca.pem")))
        };
        for key in ["encrypted-key.pem", "encrypted-key-old.pem"] {
            let said = error(pair("authority.pem", Some(key)));
            assert!(said.starts_with("`tls.key`") && said.contains(key), "{said}");
            assert!(said.contains("encrypted with a passphrase") && said.contains("openssl pkey -in"), "{said}");
        }
        for (tls, parts) in [
            (trusting(Some(fixture("key.pem"))), ["`tls.ca_file`", "key.pem: it holds no certificate"]),
            (trusting(Some(fixture("none.pem"))), ["`tls.ca_file`", "none.pem"]),
            (pair("client.pem", None), ["`tls.cert`", "client.pem: it holds no private key"]),
            (pair("client.pem", Some("key.pem")), ["client.pem", "key.pem do not go together"]),
            (TlsConfig { key: Some(fixture("key.pem")), ..trusting(None) }, ["`tls.key` needs", "`tls.cert`"]),
        ] {
            let said = error(tls);
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
    }

    #[tokio::test]
    async fn changed_files_are_read_again_and_broken_ones_leave_the_old_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let put = |from: &str, to: &str| {
            std::fs::copy(fixture(from), dir.path().join("new")).unwrap();
            std::fs::rename(dir.path().join("new"), dir.path().join(to)).unwrap();
        };
        let mut server = settings("server", "server-key");
        server.client_ca_file = Some(fixture("ca.pem"));
        let port = serve(server).await;
        // Neither is the server trusted, nor the client taken.
        put("cert.pem", "ca");
        put("cert.pem", "cert");
        put("key.pem", "key");
        let at = |name: &str| Some(dir.path().join(name));
        let tls = TlsConfig { cert: at("cert"), key: at("key"), ..trusting(at("ca")) };
        let exchange = exchange(port, "localhost", tls);
        let until = async |wanted: bool| {
            let began = Instant::now();
            while ask(&exchange, port, "localhost").await.is_ok() != wanted {
                assert!(began.elapsed() < Duration::from_secs(30), "it never became {wanted}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(ask(&exchange, port, "localhost").await.is_err());
        put("ca.pem", "ca");
        put("client-key.pem", "key");
        put("client.pem", "cert");
        until(true).await;
        // A key that does not go with the certificate changes nothing, nor does a file that is gone.
        put("key.pem", "key");
        std::fs::remove_file(dir.path().join("ca")).unwrap();
        for _ in 0..50 {
            assert_eq!(ask(&exchange, port, "localhost").await, Ok(200));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        put("cert.pem", "ca");
        put("client-key.pem", "key");
        until(false).await;
    }
}
