//! An HTTP server on a loopback port that answers what a function says: what doubles of systems have in common.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request, its body decompressed.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// A header; the empty text where it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// After this.
    pub(crate) delay: Duration,
    /// Not at all: the client has to hang up.
    pub(crate) never: bool,
}

pub(crate) fn reply(status: u16, body: impl Into<String>) -> Reply {
    Reply { status, body: body.into(), ..Reply::default() }
}

/// A running server.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Handler = dyn FnMut(&Asked) -> Reply + Send;

impl Wire {
    /// Answers what `handler` says, one request after the other.
    pub(crate) fn start(handler: impl FnMut(&Asked) -> Reply + Send + 'static) -> Wire {
        Wire::start_with(None, handler)
    }

    /// The same, over TLS where that is set up.
    pub(crate) fn start_with(
        tls: Option<rustls::ServerConfig>,
        handler: impl FnMut(&Asked) -> Reply + Send + 'static,
    ) -> Wire {
        let tls = tls.map(Arc::new);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let handler: Arc<Mutex<Box<Handler>>> = Arc::new(Mutex::new(Box::new(handler)));
        let all = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, all, tls) = (handler.clone(), all.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &handler, &all),
                    Some(tls) => {
                        let session = rustls::ServerConnection::new(tls).unwrap();
                        serve(rustls::StreamOwned::new(session, stream), &handler, &all);
                    }
                });
            }
        });
        Wire { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// TLS with a certificate of the fixtures; clients must show one that `client_ca` has signed, where there is one.
pub(crate) fn tls_config(cert: &str, key: &str, client_ca: Option<&str>) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let read = |name: &str| CertificateDer::from_pem_file(fixture(name)).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture(key)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(read(ca)).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    builder.with_single_cert(vec![read(cert)], key).unwrap()
}

/// The file of a certificate or key of the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(format!("{name}.pem"))
}

fn serve<S: Read + Write>(stream: S, handler: &Mutex<Box<Handler>>, all: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let reply = (handler.lock().unwrap())(&asked);
        all.lock().unwrap().push(asked);
        if reply.never {
            _ = std::io::copy(&mut reader, &mut std::io::sink());
            return;
        }
        std::thread::sleep(reply.delay);
        let mut text = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&reply.body);
        let stream = reader.get_mut();
        if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |v| v.parse().unwrap());
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent).ok()?;
    let body = match headers.get("content-encoding").map_or("", String::as_str) {
        "gzip" => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&sent[..]).read_to_end(&mut plain).unwrap();
            plain
        }
        "zstd" => zstd::stream::decode_all(&sent[..]).unwrap(),
        "snappy" => snap::raw::Decoder::new().decompress_vec(&sent).unwrap(),
        _ => sent,
    };
    Some(Asked { method, path, headers, body })
}
