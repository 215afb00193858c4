//! A server for large runs: takes what the `openobserve` sink sends to `_json`, notes which records came in which order, and
//! fails as told. It keeps numbers, not records, and shares no code with the sink.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Stored, and said so.
    Store,
    /// Not stored; this status.
    Refuse(u16),
    /// Not stored; the connection ends.
    Break,
    /// Stored; the connection ends before the answer.
    StoreAndBreak,
    /// Stored, after a while.
    Slow(Duration),
    /// Never answered.
    Hang,
}

type Script = dyn FnMut() -> Fate + Send;

struct State {
    /// (origin, number) of each record as it was stored.
    stored: Vec<(u32, u32)>,
    script: Box<Script>,
    requests: u64,
}

/// A running server.
pub(crate) struct Tally {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Tally {
    /// Serves on a port of its own; `script` decides about each request.
    pub(crate) fn start(script: impl FnMut() -> Fate + Send + 'static) -> Tally {
        Tally::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn start_on(listener: TcpListener, script: impl FnMut() -> Fate + Send + 'static) -> Tally {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { stored: Vec::new(), script: Box::new(script), requests: 0 }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Tally { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many records were stored so far, repeats included.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().unwrap().stored.len()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.state.lock().unwrap().requests
    }

    /// What was stored, in order.
    pub(crate) fn stored(&self) -> Vec<(u32, u32)> {
        self.state.lock().unwrap().stored.clone()
    }
}

/// A line of input: what [`Tally`] reads the numbers from.
pub(crate) fn line(origin: u32, n: u32, padding: usize) -> String {
    format!("{{\"f\":{origin},\"n\":{n},\"message\":\"{}\"}}\n", "x".repeat(padding))
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    loop {
        let (mut length, mut post) = (0, false);
        let mut head = String::new();
        loop {
            head.clear();
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
            post |= head.starts_with("POST ");
            if let Some(value) = head.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if head == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if !post {
            writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
            continue;
        }
        let records = records(&body);
        let fate = {
            let mut state = state.lock().unwrap();
            state.requests += 1;
            (state.script)()
        };
        if let Fate::Slow(wait) = fate {
            std::thread::sleep(wait);
        }
        if matches!(fate, Fate::Store | Fate::StoreAndBreak | Fate::Slow(_)) {
            state.lock().unwrap().stored.extend_from_slice(&records);
        }
        match fate {
            Fate::Break | Fate::StoreAndBreak => return Ok(()),
            Fate::Refuse(status) => {
                let body = "{\"message\":\"not now\"}";
                write!(writer, "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
            }
            Fate::Store | Fate::Slow(_) => {
                let n = records.len();
                let body = format!("{{\"code\":200,\"status\":[{{\"name\":\"s\",\"successful\":{n},\"failed\":0}}]}}");
                write!(writer, "HTTP/1.1 200 -\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
            }
            Fate::Hang => loop {
                std::thread::park();
            },
        }
    }
}

/// The numbers of all records in a body.
fn records(body: &[u8]) -> Vec<(u32, u32)> {
    let number = |at: usize| -> u32 {
        let digits = body[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        std::str::from_utf8(&body[at..at + digits]).unwrap().parse().unwrap()
    };
    memchr::memmem::find_iter(body, b"{\"f\":")
        .map(|at| {
            let origin = number(at + 5);
            let n = at + memchr::memmem::find(&body[at..], b",\"n\":").unwrap() + 5;
            (origin, number(n))
        })
        .collect()
}
