//! What all sinks over HTTP do alike: start, probe, ask for the clock, hide their secrets, ask for memory. A sink says what
//! is its own ([`HttpSink`]) and is a [`SinkPlan`] by that.

use super::compression::Encoding;
use super::driver::{Driver, Plan, check_health};
use super::preview::Shown;
use super::protocol::Protocol;
use super::settings::NetworkSinkCommon;
use crate::component::common::SinkCommon;
use crate::component::plan::{Preview, SinkPlan};
use crate::component::probe::ProbeError;
use crate::component::{BoxFuture, BuildContext, SinkRun};
use crate::doctor::{Finding, Host};
use crate::error::BuildError;
use crate::http::Exchange;
use crate::http::HttpExchange;
use crate::http::Mask;
use crate::http::Request;
use crate::http::Turns;
use crate::http::{ClientConfig, secrets_of};
use crate::http::{Credentials, Sign, signer_of};
use crate::settings::{Map, Reader};
use crate::time::Zone;
use reqwest::Url;
use reqwest::header::HeaderMap;
use std::sync::Arc;
use tokio::time::timeout;

/// Settings of a sink over HTTP, read and free of mistakes.
pub trait HttpSink: Send {
    /// How it speaks.
    type Protocol: Protocol;
    /// How it proves who it is.
    type Auth: Credentials;
    /// What `compression: auto` begins with.
    const AUTO: Encoding = Encoding::Zstd;
    /// Whether it sends `headers` itself; else each request has them.
    const OWN_HEADERS: bool = false;

    /// The settings that all such sinks have, and its credentials.
    fn shared(&self) -> (&NetworkSinkCommon, Option<&Self::Auth>);
    /// Notes mistakes in its own settings. Touches nothing outside.
    fn check_own(&self, cx: &mut Reader<'_>);
    /// What will lose or surprise behind it.
    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }
    /// Addresses of its servers, which take turns.
    fn servers(&self) -> Vec<Url>;
    /// When requests are full, how many there are, and what becomes of them.
    fn plan(&self) -> Plan {
        Plan::new(self.shared().0)
    }
    /// What speaks; `server` is the first of its servers, `mask` hides what must never be shown.
    fn connect(&self, server: &Url, zone: Zone, mask: &Mask) -> Result<Self::Protocol, BuildError>;
}

/// A sink that is ready to run.
struct Ready<P> {
    protocol: P,
    signer: Arc<dyn Sign>,
    exchange: Arc<dyn Exchange>,
    mask: Mask,
}

fn prepare<S: HttpSink>(sink: &S, zone: Zone) -> Result<Ready<S::Protocol>, BuildError> {
    let (common, auth) = sink.shared();
    let mut client = &common.client;
    let servers = sink.servers();
    let mut secrets = auth.map(Credentials::secrets).unwrap_or_default();
    secrets.extend(client.secrets());
    secrets.extend(servers.iter().flat_map(secrets_of));
    let mask = Mask::new(secrets.iter().map(String::as_str));
    let signer = signer_of(auth, client, &mask)?;
    let without;
    if S::OWN_HEADERS {
        without = ClientConfig { headers: Map::default(), ..client.clone() };
        client = &without;
    }
    let first = servers.first().ok_or_else(|| BuildError::config("it has no address of a server"))?;
    let exchange: Arc<dyn Exchange> = match servers.as_slice() {
        [url] => Arc::new(HttpExchange::build(client, url, mask.clone())?),
        several => Arc::new(Turns::new(client, several, &mask)?),
    };
    let protocol = sink.connect(first, zone, &mask)?;
    Ok(Ready { protocol, signer, exchange, mask })
}

/// Whether somebody answers at a server of which nothing else may be asked: a HEAD of its root, without credentials, to which any
/// answer will do. Proxy and certificate are as for requests.
///
/// Errors: nobody does, in words.
async fn is_there(exchange: &dyn Exchange, mut server: Url, patience: std::time::Duration) -> Result<(), ProbeError> {
    server.set_path("/");
    server.set_query(None);
    server.set_fragment(None);
    let ask = Request { method: reqwest::Method::HEAD, url: server, headers: HeaderMap::new(), body: None };
    match timeout(patience, exchange.send(ask, 4096)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(lost)) => Err(ProbeError::Request(None, lost.why)),
        Err(_) => Err(ProbeError::NoAnswer(patience)),
    }
}

impl<S: HttpSink> SinkPlan for S {
    fn common(&self) -> &SinkCommon {
        &self.shared().0.sink
    }

    fn sends_requests(&self) -> bool {
        true
    }

    fn check(&self, cx: &mut Reader<'_>) {
        let (network, auth) = self.shared();
        network.check(cx);
        if !S::OWN_HEADERS {
            network.client.check_headers(cx);
        }
        self.check_own(cx);
        if let Some(auth) = auth {
            cx.within("auth", |cx| auth.check(cx));
        }
    }

    fn examine(&self, _host: &Host) -> Vec<Finding> {
        self.findings()
    }

    fn server_clock(&self) -> Option<BoxFuture<Result<Option<i64>, ProbeError>>> {
        let ready = prepare(self, Zone::UTC);
        let patience = self.shared().0.client.timeout;
        Some(Box::pin(async move {
            let Ready { protocol, signer, exchange, mask } = ready.map_err(ProbeError::Build)?;
            let Some(ask) = protocol.health_checks().into_iter().next() else { return Ok(None) };
            let way = async {
                let failed = |why: String| ProbeError::Request(None, why);
                let signed = signer.sign(ask).await.map_err(|why| failed(mask.text(why.words())))?;
                exchange.send(signed.request, 4096).await.map(|a| a.date).map_err(|lost| failed(lost.why))
            };
            timeout(patience, way).await.unwrap_or_else(|_| Err(ProbeError::NoAnswer(patience)))
        }))
    }

    fn reads_times(&self) -> bool {
        true
    }

    fn preview(&self, zone: &jiff::tz::TimeZone) -> Option<Box<dyn Preview>> {
        let servers = self.servers();
        let protocol = self.connect(servers.first()?, Zone::from_jiff(zone.clone()), &Mask::default()).ok()?;
        Some(Box::new(Shown(protocol)))
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("its queue goes to the new one; requests without an answer after `shutdown_timeout` are sent again")
    }

    fn working_bytes(&self) -> usize {
        self.plan().wanted_bytes()
    }

    fn probe(&self) -> Option<BoxFuture<Result<(), ProbeError>>> {
        let ready = prepare(self, Zone::UTC);
        let server = self.servers().into_iter().next()?;
        let patience = self.shared().0.client.timeout;
        Some(Box::pin(async move {
            let Ready { protocol, signer, exchange, mask } = ready.map_err(ProbeError::Build)?;
            match protocol.health_checks() {
                none if none.is_empty() => is_there(&*exchange, server, patience).await,
                checks => check_health(exchange, checks, signer, patience, mask).await,
            }
        }))
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SinkRun, BuildError> {
        let plan = self.plan().within(cx.working_bytes).auto(S::AUTO);
        let Ready { protocol, signer, exchange, mask } = prepare(&*self, Zone::from_jiff(cx.timezone.clone()))?;
        Ok(SinkRun::Task(Box::new(move |input| {
            Box::pin(Driver::new(protocol, plan, input, exchange, signer, mask).run())
        })))
    }
}
