//! One request: from its head to the answer.

use super::Shared;
use super::auth::{Shown, SignedBody};
use super::body::{self, Charge, Encoding, Limits};
use super::decode::JSON;
use super::format::{Answer, AnswerBody, BodyPart, Format, Head, Refusal, Request, Taken};
use super::forwarded;
use super::headers::KeptHeader;
use super::peer::Peer;
use super::route::{FoundRoute, RouteAction};
use crate::ack::{Ack, Settled, Verdict};
use crate::component::{Closed, Output};
use crate::event::{Chunk, Frames};
use crate::event::{Origin, Slab};
use crate::http::origin::is_of_foreign_page;
use crate::sync::Locked;
use crate::time::clock;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};

/// Bytes of a body that are read through on the spot; larger ones go to a thread of their own, so that they hold up nobody.
const AT_ONCE: usize = 256 << 10;

/// The body of an answer on its way out.
pub(super) struct Body {
    rest: AnswerBody,
    /// Memory that the pieces still to be made refer to.
    _charge: Option<Charge>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.rest {
            AnswerBody::Whole(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            AnswerBody::Pieces(pieces) => pieces.find(|piece| !piece.is_empty()),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(Bytes::from(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.rest, AnswerBody::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            AnswerBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            AnswerBody::Pieces(_) => SizeHint::default(),
        }
    }
}

/// Why nothing is answered: the client is gone, or breaks the protocol.
#[derive(Debug)]
pub(super) struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client is gone")
    }
}

impl std::error::Error for Gone {}

/// Answers one request.
pub(super) async fn handle(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Gone> {
    let (parts, body) = request.into_parts();
    let lacks_length = lacks_length(&parts);
    let head =
        Head { method: parts.method, path: parts.uri.path().to_owned(), headers: parts.headers, variables: Vec::new() };
    let asked = shared.cors.as_ref().map(|_| head.headers.clone());
    let answered = match lacks_length {
        true => {
            let text = "a body needs a Content-Length in HTTP/1.0";
            // What follows would be taken for the next request.
            Err(NotTaken::Answer(Answer::text(StatusCode::LENGTH_REQUIRED, text).with(header::CONNECTION, "close")))
        }
        false => answer(&shared, &peer, head, body).await,
    };
    let (answer, refusal, charge) = match answered {
        Ok((answer, charge)) => (answer, None, charge),
        Err(NotTaken::Refused(format, head, refusal)) => {
            shared.counters.update(|t| t.error(refusal.kind(), 1));
            (format.refuse(&head, &refusal), Some(refusal), None)
        }
        Err(NotTaken::Answer(answer)) => {
            if lacks_length {
                shared.counters.update(|t| t.error("length_required", 1));
            }
            (answer, None, None)
        }
        Err(NotTaken::Gone) => return Err(Gone),
    };
    let mut response = Response::new(Body { rest: answer.body, _charge: charge });
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if shared.leave.is_cancelled() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer.headers.into_iter().for_each(|(name, value)| {
        headers.insert(name, value);
    });
    if let Some(refusal) = refusal {
        if let Some(after) = refusal.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if matches!(refusal, Refusal::Slow | Refusal::TooLarge(_) | Refusal::Stopping) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if let (Some(cors), Some(asked)) = (&shared.cors, asked) {
        cors.mark(&asked, headers);
    }
    Ok(response)
}

/// Whether a body may follow of which nobody can tell where it ends. Version 1.0 has no chunks, and its clients may end a body
/// by closing; in 1.1 there is none without a word of it.
fn lacks_length(parts: &hyper::http::request::Parts) -> bool {
    parts.version == hyper::Version::HTTP_10
        && matches!(parts.method, Method::POST | Method::PUT)
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
}

/// Why a request is not taken.
enum NotTaken {
    Refused(Arc<dyn Format>, Arc<Head>, Refusal),
    Answer(Answer),
    Gone,
}

async fn answer(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    mut head: Head,
    body: Incoming,
) -> Result<(Answer, Option<Charge>), NotTaken> {
    if let Some(answer) = shared.cors.as_ref().and_then(|cors| cors.preflight(&head.method, &head.headers)) {
        return Ok((answer, None));
    }
    if !matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS)
        && is_of_foreign_page(&head.headers, peer.loopback)
        && !shared.cors.as_ref().is_some_and(|cors| cors.allows(&head.headers))
    {
        shared.counters.update(|t| t.error("foreign_page", 1));
        shared.counters.example("foreign_page", || {
            let origin = head.header(header::ORIGIN).unwrap_or("no Origin").to_owned();
            format!("{} {} of {origin}", head.method, head.path)
        });
        let text = "pages of other sites may not send here, except those that `cors` names";
        return Err(NotTaken::Answer(Answer::text(StatusCode::FORBIDDEN, text)));
    }
    let does = match shared.routes.find(&head.method, &head.path) {
        FoundRoute::Route(does, variables) => {
            head.variables = variables;
            does.clone()
        }
        FoundRoute::Method(methods) => {
            let answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method");
            return Err(NotTaken::Answer(answer.with(header::ALLOW, &methods.join(", "))));
        }
        FoundRoute::Nothing => {
            return Err(NotTaken::Answer(Answer::text(StatusCode::NOT_FOUND, "nothing is at this path")));
        }
    };
    match does {
        RouteAction::Open(say) => Ok((say(&head), None)),
        RouteAction::Say(say, format) => {
            let shown = match shared.auth.shown(&head.headers).await {
                Shown::Unavailable => return Err(NotTaken::Refused(format, Arc::new(head), Refusal::Busy)),
                Shown::Allowed { .. } => None,
                Shown::Signed(signed) => (!signed.verifies(b"")).then_some(true),
                Shown::Refused { wrong } => Some(wrong),
            };
            match shown {
                None => Ok((say(&head), None)),
                Some(shown) => Err(NotTaken::Refused(format, Arc::new(head), Refusal::Unauthorized { shown })),
            }
        }
        RouteAction::Take(format) => take(shared, peer, Arc::new(head), body, format).await,
    }
}

async fn take(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    head: Arc<Head>,
    body: Incoming,
    format: Arc<dyn Format>,
) -> Result<(Answer, Option<Charge>), NotTaken> {
    let (encoding, signed, user, permit) = match admit(shared, &head, &*format).await {
        Ok(admitted) => admitted,
        Err(refusal) => return Err(NotTaken::Refused(format, head, refusal)),
    };
    let mut charge = shared.budget.charge();
    let body = match read(shared, body, encoding, signed, &mut charge).await {
        Ok(body) => body,
        Err(None) => {
            shared.counters.update(|t| t.error("broken_off", 1));
            return Err(NotTaken::Gone);
        }
        Err(Some(refusal)) => return Err(NotTaken::Refused(format, head, refusal)),
    };
    let origin = Arc::new(origin(shared, peer, &head, user));
    let received_at = clock::now_ns();
    let request = Request {
        head: head.clone(),
        body,
        origin: origin.clone(),
        received_at,
        max_body: shared.max_body,
        max_event: shared.max_event,
    };
    let taken = if request.body.len() <= AT_ONCE {
        Ok(format.read(request))
    } else {
        let format = format.clone();
        tokio::task::spawn_blocking(move || format.read(request)).await
    };
    let taken = match taken {
        Ok(Ok(taken)) => taken,
        Err(_) => return Err(bug("reading a request")),
        Ok(Err(answer)) => {
            shared.counters.update(|t| t.error("refused", 1));
            return Err(NotTaken::Answer(answer));
        }
    };
    let Taken { parts, answer, keeps_body, dropped, refused, invalid_utf8 } = taken;
    let delivery = Delivery { shared: shared.clone(), parts, origin, received_at, charge, keeps_body, _permit: permit };
    let shared = shared.clone();
    // In a task of its own: what has begun to be handed over is, and what is not handed over is counted, whether the client
    // waits for it or not.
    let delivered = tokio::spawn(async move {
        let charge = delivery.run().await?;
        if refused > 0 || invalid_utf8 > 0 || !dropped.is_empty() {
            shared.counters.update(|t| {
                t.error("refused_records", refused);
                t.error("invalid_utf8", invalid_utf8);
                for (reason, n) in dropped {
                    t.events_in += n;
                    t.drop_events(reason, n);
                }
            });
        }
        Ok(charge)
    });
    match delivered.await {
        Ok(Ok(charge)) => {
            let answer = answer();
            let charge = matches!(answer.body, AnswerBody::Pieces(_)).then_some(charge);
            Ok((answer, charge))
        }
        Ok(Err(refusal)) => Err(NotTaken::Refused(format, head, refusal)),
        Err(_) => Err(bug("handing over a request")),
    }
}

/// Where the events of a request come from.
fn origin(shared: &Shared, peer: &Peer, head: &Head, user: Option<Arc<str>>) -> Origin {
    let forwarded = forwarded::sender(&shared.trusted_proxies, peer.ip, &head.headers);
    let mut http = head.variables.clone();
    http.extend(KeptHeader::values(&shared.headers, &head.headers));
    Origin {
        source: shared.source.clone(),
        host: Some(shared.host.clone()),
        peer: forwarded.map(|address| address.to_string().into()).or_else(|| peer.address.clone()),
        user,
        tls_subject: peer.tls_subject.clone(),
        http,
        order: peer.order,
        ..Origin::default()
    }
}

/// Something panicked; the request is refused and others go on.
fn bug(what: &str) -> NotTaken {
    tracing::error!("{what} panicked; this is a bug");
    NotTaken::Answer(Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
}

type Admitted = (Encoding, Option<SignedBody>, Option<Arc<str>>, OwnedSemaphorePermit);

/// What the head alone decides.
async fn admit(shared: &Shared, head: &Head, format: &dyn Format) -> Result<Admitted, Refusal> {
    let named = head.header(header::CONTENT_ENCODING).unwrap_or_default();
    let encoding = match Encoding::named(named) {
        // It is snappy whether the header says so or not.
        _ if named.is_empty() && format.takes_snappy() => Encoding::Snappy,
        Some(encoding) if encoding != Encoding::Snappy || format.takes_snappy() => encoding,
        Some(_) | None => return Err(Refusal::Encoding(named.chars().take(40).collect())),
    };
    let (signed, user) = match shared.auth.shown(&head.headers).await {
        Shown::Unavailable => return Err(Refusal::Busy),
        Shown::Allowed { user } => (None, user),
        Shown::Signed(signed) => (Some(signed), None),
        Shown::Refused { wrong } => return Err(Refusal::Unauthorized { shown: wrong }),
    };
    if shared.shutdown.is_cancelled() {
        return Err(Refusal::Stopping);
    }
    let permit = shared.in_flight.clone().try_acquire_owned().map_err(|_| Refusal::Busy)?;
    Ok((encoding, signed, user, permit))
}

/// The body, checked and decompressed. `None`: the client is gone.
async fn read(
    shared: &Shared,
    body: Incoming,
    encoding: Encoding,
    signed: Option<SignedBody>,
    charge: &mut Charge,
) -> Result<Vec<u8>, Option<Refusal>> {
    let limits = Limits {
        max_body: shared.max_body,
        idle: shared.idle_timeout,
        deadline: Instant::now() + shared.body_timeout,
        patience: shared.acknowledge_timeout,
    };
    let body = tokio::select! {
        biased;
        body = body::read(body, &limits, charge) => body?,
        () = shared.shutdown.cancelled() => return Err(Some(Refusal::Stopping)),
    };
    if signed.is_some_and(|signed| !signed.verifies(&body)) {
        return Err(Some(Refusal::Unauthorized { shown: true }));
    }
    body::decompress(body, encoding, &limits, charge).await.map_err(Some)
}

/// A request's events on their way to the workers, and back as a verdict.
struct Delivery {
    shared: Arc<Shared>,
    parts: Box<dyn Iterator<Item = BodyPart> + Send>,
    origin: Arc<Origin>,
    received_at: i64,
    charge: Charge,
    keeps_body: bool,
    _permit: OwnedSemaphorePermit,
}

/// Hears the verdict on a request.
struct Waiter(Mutex<Option<oneshot::Sender<Verdict>>>);

impl Settled for Waiter {
    fn settled(&self, _: u64, verdict: Verdict) {
        if let Some(to) = self.0.locked().take() {
            // The request may have been answered already.
            let _gone = to.send(verdict);
        }
    }

    fn waits(&self) -> bool {
        true
    }
}

impl Delivery {
    async fn run(self) -> Result<Charge, Refusal> {
        let Delivery { shared, mut parts, origin, received_at, mut charge, keeps_body, _permit } = self;
        let output = shared.output().ok_or(Refusal::Stopping)?;
        let deadline = Instant::now() + shared.acknowledge_timeout;
        let (to, verdict) = oneshot::channel();
        let ack = match shared.wait_for_delivery {
            true => Ack::new(Arc::new(Waiter(Mutex::new(Some(to)))), 0),
            false => Ack::none(),
        };
        let sent =
            send(&output, &mut *parts, Arrival { origin: &origin, received_at, ack: &ack }, deadline, &shared).await;
        // The source's end must not be held up by requests that wait.
        drop((output, parts));
        sent?;
        if !keeps_body {
            // What is handed over is charged where it waits.
            charge.shrink_to(0);
        }
        ack.settle(Verdict::Delivered);
        if shared.wait_for_delivery {
            let verdict = tokio::select! {
                biased;
                verdict = timeout_at(deadline, verdict) => verdict,
                () = shared.deadline.cancelled() => return Err(Refusal::Stopping),
            };
            match verdict {
                Ok(Ok(Verdict::Delivered | Verdict::Rejected)) => {}
                Ok(_) if shared.shutdown.is_cancelled() => return Err(Refusal::Stopping),
                Ok(_) | Err(_) => return Err(Refusal::NotDelivered),
            }
        }
        Ok(charge)
    }
}

/// What the parts of a body share.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    origin: &'a Arc<Origin>,
    /// Nanoseconds since 1970 UTC.
    received_at: i64,
    ack: &'a Ack,
}

/// Hands over all parts, in order.
async fn send(
    output: &Output,
    parts: &mut (dyn Iterator<Item = BodyPart> + Send),
    Arrival { origin, received_at, ack }: Arrival<'_>,
    deadline: Instant,
    shared: &Shared,
) -> Result<(), Refusal> {
    let mut first = true;
    for part in parts {
        let chunk = chunk(part, origin, received_at, ack.clone());
        let sent = tokio::select! {
            biased;
            sent = timeout_at(deadline, output.send_async(chunk)) => sent,
            () = shared.deadline.cancelled() => return Err(Refusal::Stopping),
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(Closed)) => return Err(Refusal::Stopping),
            Err(_) if first => return Err(Refusal::Busy),
            Err(_) => return Err(Refusal::NotDelivered),
        }
        first = false;
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn chunk(part: BodyPart, origin: &Arc<Origin>, received_at: i64, ack: Ack) -> Chunk {
    let (text, frames, origin) = match part {
        BodyPart::Lines(text) => (text, None, origin.clone()),
        BodyPart::Json { text, frames, origin: own } => (text, Some(frames), own.unwrap_or_else(|| origin.clone())),
        BodyPart::Events(mut batch) => {
            (batch.ack, batch.received_at) = (ack, received_at);
            let origin = batch.origin.clone();
            let frames = Frames::Decoded(batch);
            return Chunk { text: Slab::default(), frames, origin, offset: 0, received_at, ack: Ack::none() };
        }
    };
    let frames = match frames {
        None => Frames::Lines { start: 0, end: text.len() },
        Some(frames) => Frames::Spans(frames.into_iter().map(|(from, to)| (from, to, JSON)).collect()),
    };
    Chunk { text: Slab::from_vec(text), frames, origin, offset: 0, received_at, ack }
}
