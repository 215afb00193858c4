//! An HTTP server on a loopback port that answers what a function says: what doubles of systems have in common.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let handler: Arc<Mutex<Box<Handler>>> = Arc::new(Mutex::new(Box::new(handler)));
        let all = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, all) = (handler.clone(), all.clone());
                std::thread::spawn(move || serve(&stream, &handler, &all));
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

fn serve(stream: &TcpStream, handler: &Mutex<Box<Handler>>, all: &Mutex<Vec<Asked>>) {
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
        if (&mut &*stream).write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
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
