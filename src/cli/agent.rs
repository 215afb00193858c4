//! Finding the agent that runs, and asking it: by what it leaves in its `data_dir`, with the credentials of its configuration.

use crate::error::chain;
use crate::pipeline::Globals;
use crate::sinks::delivery::{Exchange, HttpExchange, Mask, Request};
use base64::Engine;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest answer of the API.
const MAX_ANSWER: usize = 64 << 20;

/// What a running agent says of itself in `data_dir/agent.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    version: u32,
    address: String,
    process: u32,
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("agent.json")
}

/// Says where this agent can be asked, until dropped.
pub(super) struct Sign(PathBuf);

impl Sign {
    /// Errors: the file cannot be written; then nobody finds the agent by it.
    pub(super) fn put_up(data_dir: &Path, address: &str) -> std::io::Result<Sign> {
        let running = Running { version: 1, address: address.to_owned(), process: std::process::id() };
        let (path, new) = (file(data_dir), data_dir.join("agent.json.new"));
        drop(std::fs::remove_file(&new));
        let mut to = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        to.write_all(&serde_json::to_vec(&running)?)?;
        drop(to);
        std::fs::rename(&new, &path)?;
        Ok(Sign(path))
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Where the agent is: `url`, or what it left in its `data_dir`, or what its configuration says.
///
/// Errors: in words, with the next step.
pub(super) fn base(url: Option<&str>, globals: Option<&Globals>) -> Result<String, String> {
    if let Some(url) = url.filter(|url| !url.is_empty()) {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let Some(globals) = globals else {
        return Err("the configuration cannot be read, so the agent cannot be found by it: name it with `--url`".into());
    };
    let path = file(&globals.data_dir);
    match std::fs::read(&path) {
        Ok(text) => {
            let running: Running = serde_json::from_slice(&text)
                .map_err(|e| format!("{}: {e}; name the agent with `--url`", path.display()))?;
            Ok(running.address)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "no agent with an `api` runs on {}: start one with `api: {{listen: \"127.0.0.1:8686\"}}`, or name it with `--url`",
            globals.data_dir.display()
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The answer of the agent at `base`: status and body. Credentials: `TIDEGATE_API_TOKEN`, else those of its configuration.
///
/// Errors: it did not answer, in words.
pub(super) fn ask(
    base: &str,
    method: Method,
    path: &str,
    globals: Option<&Globals>,
    patience: Duration,
) -> Result<(u16, Vec<u8>), String> {
    let api = globals.and_then(|g| g.api.as_ref());
    let url = Url::parse(&format!("{base}{path}")).map_err(|e| format!("{base}: {e}"))?;
    let mut headers = HeaderMap::new();
    let configured = api.and_then(|api| api.auth.as_ref()).and_then(|auth| match (&auth.basic, auth.bearer.first()) {
        (_, Some(token)) => Some(format!("Bearer {}", token.reveal())),
        (Some(basic), None) => {
            let pair = format!("{}:{}", basic.user, basic.password.reveal());
            Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        }
        (None, None) => None,
    });
    let auth = std::env::var("TIDEGATE_API_TOKEN").ok().map(|token| format!("Bearer {token}")).or(configured);
    if let Some(mut value) = auth.and_then(|text| HeaderValue::from_str(&text).ok()) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let ca = api.and_then(|api| api.tls.as_ref()).map(|tls| tls.cert.clone());
    let request = Request { method, ..Request::get(url, headers) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let exchange = HttpExchange::plain(&request.url, ca.as_deref()).map_err(|e| format!("{base}: {}", chain(&e)))?;
    let answer = runtime.block_on(async {
        let answer = tokio::time::timeout(patience, exchange.send(request, MAX_ANSWER)).await;
        answer.map_err(|_| format!("{base}: no answer"))
    })?;
    let answer = answer.map_err(|lost| format!("{base}: {}", lost.why))?;
    match answer.status {
        _ if answer.cut => Err(format!("{base}: the answer is too long")),
        401 => Err(format!(
            "{base}: the agent asks for credentials: set TIDEGATE_API_TOKEN, or `api.auth` in the configuration"
        )),
        status => Ok((status, answer.body.to_vec())),
    }
}

/// A body that is no answer of ours, in words that may be shown.
pub(super) fn words(body: &[u8]) -> String {
    Mask::default().words(body)
}
