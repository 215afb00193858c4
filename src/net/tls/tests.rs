#![allow(clippy::unwrap_used)]
use super::settings::NamedCertificate;
use super::*;
use crate::settings::OneOrMany;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A server with this certificate and key of the fixtures.
pub(crate) fn settings(cert: &str, key: &str) -> ServerTls {
    ServerTls {
        cert: fixture(&format!("{cert}.pem")),
        key: fixture(&format!("{key}.pem")),
        names: Vec::new(),
        client_ca_file: None,
        client_auth: ClientAuth::Required,
        min_version: TlsVersion::Tls12,
    }
}

/// How a client comes.
struct Client {
    name: &'static str,
    certificate: bool,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
}

const PLAIN: Client = Client { name: "localhost", certificate: false, versions: rustls::ALL_VERSIONS };

/// Connects: the subject that the server saw, and that of the certificate the client saw; or why not.
async fn meet(server: &Arc<TlsServer>, client: &Client) -> Result<(Option<String>, String), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for file in ["ca.pem", "cert.pem"] {
        roots.add(certificates(&fixture(file)).unwrap().remove(0)).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(client.versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match client.certificate {
        false => builder.with_no_client_auth(),
        true => {
            let key = PrivateKeyDer::from_pem_file(fixture("client-key.pem")).unwrap();
            builder.with_client_auth_cert(certificates(&fixture("client.pem")).unwrap(), key).unwrap()
        }
    };
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(client.name).unwrap();
    let asking = async {
        let mut stream = connector.connect(name, near).await.map_err(|e| e.to_string())?;
        // In TLS 1.3 a client hears with its first read that its certificate is missing.
        stream.write_all(b"?").await.map_err(|e| e.to_string())?;
        stream.read_exact(&mut [0]).await.map_err(|e| e.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        Ok::<_, String>(subject(&shown).unwrap())
    };
    let serving = async {
        let (mut stream, subject) = server.accept(far, Duration::from_secs(10)).await.map_err(|e| e.to_string())?;
        stream.write_all(b"!").await.map_err(|e| e.to_string())?;
        stream.read_exact(&mut [0]).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(subject.map(|s| s.to_string()))
    };
    let (asked, served) = tokio::join!(asking, serving);
    Ok((served?, asked?))
}

#[tokio::test]
async fn a_name_gets_its_certificate_and_other_names_the_first() {
    let mut settings = settings("server", "server-key");
    settings.names.push(NamedCertificate {
        names: OneOrMany(vec!["named.example.com".into(), "*.Named.example.com".into()]),
        cert: fixture("named.pem"),
        key: fixture("named-key.pem"),
    });
    let server = TlsServer::open(&settings).unwrap();
    for (name, shown) in [
        ("named.example.com", "CN=named"),
        ("a.named.example.com", "CN=named"),
        ("logs.example.com", "CN=logs.example.com"),
        ("localhost", "CN=logs.example.com"),
        ("127.0.0.1", "CN=logs.example.com"),
    ] {
        assert_eq!(meet(&server, &Client { name, ..PLAIN }).await.unwrap(), (None, shown.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn a_client_certificate_names_its_owner() {
    let mut settings = settings("server", "server-key");
    settings.client_ca_file = Some(fixture("ca.pem"));
    let server = TlsServer::open(&settings).unwrap();
    let known = Client { certificate: true, ..PLAIN };
    let who = Some("CN=web-1,OU=Müll\\, Abfuhr,O=Shop,C=DE".to_owned());
    assert_eq!(meet(&server, &known).await.unwrap().0, who);
    assert!(meet(&server, &PLAIN).await.is_err());
    settings.client_auth = ClientAuth::Optional;
    let server = TlsServer::open(&settings).unwrap();
    assert_eq!(meet(&server, &known).await.unwrap().0, who);
    assert_eq!(meet(&server, &PLAIN).await.unwrap().0, None);
    // Signed by somebody else.
    settings.client_ca_file = Some(fixture("cert.pem"));
    assert!(meet(&TlsServer::open(&settings).unwrap(), &known).await.is_err());
}

#[tokio::test]
async fn older_versions_than_the_oldest_are_refused() {
    let mut settings = settings("server", "server-key");
    const OLD: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let old = Client { versions: OLD, ..PLAIN };
    assert!(meet(&TlsServer::open(&settings).unwrap(), &old).await.is_ok());
    settings.min_version = TlsVersion::Tls13;
    let server = TlsServer::open(&settings).unwrap();
    assert!(meet(&server, &old).await.is_err());
    assert!(meet(&server, &PLAIN).await.is_ok());
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let error = |settings: &ServerTls| chain(&TlsServer::open(settings).err().unwrap());
    assert!(error(&settings("nope", "key")).contains("nope.pem: "));
    assert!(error(&settings("key", "key")).contains("key.pem: it holds no certificate"));
    assert!(error(&settings("cert", "cert")).contains("cert.pem: "));
    assert!(error(&settings("cert", "server-key")).contains("do not go together"));
    for key in ["encrypted-key", "encrypted-key-old"] {
        let said = error(&settings("authority", key));
        assert!(said.contains(key) && said.contains("encrypted with a passphrase"), "{said}");
    }
    let with_ca = ServerTls { client_ca_file: Some(fixture("key.pem")), ..settings("cert", "key") };
    assert!(error(&with_ca).contains("key.pem: it holds no certificate"));
}

#[tokio::test]
async fn a_changed_certificate_is_used_and_a_broken_one_leaves_the_old_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    // Replaced as tools do it: the key first, so that for a while the two do not go together.
    let put = |from: &str, to: &Path| {
        let new = dir.path().join("new");
        std::fs::copy(fixture(from), &new).unwrap();
        std::fs::rename(&new, to).unwrap();
    };
    put("cert.pem", &cert);
    put("key.pem", &key);
    let settings = ServerTls { cert: cert.clone(), key: key.clone(), ..settings("cert", "key") };
    let server = TlsServer::watched(&settings, Duration::from_millis(20)).unwrap();
    let shown = async || meet(&server, &PLAIN).await.unwrap().1;
    assert_eq!(shown().await, "CN=localhost");
    put("server-key.pem", &key);
    // Several looks later the old pair is still in use.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shown().await, "CN=localhost");
    put("server.pem", &cert);
    let began = Instant::now();
    while shown().await != "CN=logs.example.com" {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let whole = std::fs::read(fixture("server.pem")).unwrap();
    let other = std::fs::read(fixture("cert.pem")).unwrap();
    // Not one certificate, cut in the first, cut in the second of a chain, nothing.
    let cut = [&whole[..], &other[..other.len() / 2]].concat();
    for broken in [b"garbage", &whole[..whole.len() / 2], &cut, b""] {
        std::fs::write(&cert, broken).unwrap();
        assert!(load(&settings).is_err());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(shown().await, "CN=logs.example.com");
    }
    std::fs::remove_file(&cert).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shown().await, "CN=logs.example.com");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let server = TlsServer::open(&settings("cert", "key")).unwrap();
    let (_silent, far) = tokio::io::duplex(64);
    let error = server.accept(far, Duration::from_millis(20)).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
