//! Several servers of one kind, which take requests in turns. One that cannot be reached, breaks off, answers late or says that it
//! is not there (502, 503, 504) gets none for a while, then one request that shows whether it is back; the while doubles with
//! each that shows the contrary. Where no connection came about the request goes to the next server at once: nobody has seen it.
//! Where all are left alone, the one whose time is over first gets it.

use super::client::HttpExchange;
use super::exchange::{Answer, Exchange, Lost, LostKind, Request};
use super::failure::ClientError;
use super::mask::Mask;
use super::settings::ClientConfig;
use crate::sync::BoxFuture;
use crate::sync::Locked;
use reqwest::Url;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long a server that failed once is left alone, and how long at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Sends to the servers in turns.
pub struct Turns(Arc<All>);

struct All {
    servers: Vec<(Url, Box<dyn Exchange>)>,
    states: Mutex<States>,
}

struct States {
    next: usize,
    /// Failures in a row, and until when a server is left alone.
    of: Vec<(u32, Option<Instant>)>,
}

impl Turns {
    /// Of the servers at these addresses; requests are made for the first.
    pub fn new(common: &ClientConfig, urls: &[Url], mask: &Mask) -> Result<Self, ClientError> {
        let mut servers: Vec<(Url, Box<dyn Exchange>)> = Vec::with_capacity(urls.len());
        for url in urls {
            servers.push((url.clone(), Box::new(HttpExchange::build(common, url, mask.clone())?)));
        }
        Ok(Self::of(servers))
    }

    fn of(servers: Vec<(Url, Box<dyn Exchange>)>) -> Self {
        let states = Mutex::new(States { next: 0, of: vec![(0, None); servers.len()] });
        Turns(Arc::new(All { servers, states }))
    }
}

impl All {
    /// The next server that is not in `tried`; `None` where all are.
    fn choose(&self, tried: &[usize], now: Instant) -> Option<usize> {
        let mut states = self.states.locked();
        let count = states.of.len();
        let order = (0..count).map(|n| (states.next + n) % count).filter(|n| !tried.contains(n));
        let rests = |n: usize| states.of[n].1.filter(|until| *until > now);
        let chosen = order.clone().find(|n| rests(*n).is_none()).or_else(|| order.min_by_key(|n| states.of[*n].1))?;
        states.next = (chosen + 1) % count;
        let (failures, until) = &mut states.of[chosen];
        if until.is_some() {
            // One request shows whether it is back: others pass it by until that is known.
            *until = Some(now + rest_after(*failures));
        }
        Some(chosen)
    }

    fn answered(&self, server: usize) {
        self.states.locked().of[server] = (0, None);
    }

    fn failed(&self, server: usize, now: Instant) {
        let state = &mut self.states.locked().of[server];
        state.0 = state.0.saturating_add(1);
        state.1 = Some(now + rest_after(state.0));
    }

    /// The request as it is for another server than the first.
    fn directed(&self, mut request: Request, server: usize) -> Request {
        let (first, to) = (&self.servers[0].0, &self.servers[server].0);
        let path = request.url.path();
        let rest = path.strip_prefix(first.path().trim_end_matches('/')).unwrap_or(path);
        let path = format!("{}{rest}", to.path().trim_end_matches('/'));
        let mut url = to.clone();
        url.set_path(&path);
        url.set_query(request.url.query());
        request.url = url;
        request
    }
}

fn rest_after(failures: u32) -> Duration {
    FIRST_REST.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(LONGEST_REST)
}

impl Exchange for Turns {
    fn send(&self, request: Request, max_answer: usize) -> BoxFuture<Result<Answer, Lost>> {
        let all = self.0.clone();
        Box::pin(async move {
            let mut tried = Vec::new();
            let mut last = Lost { kind: LostKind::Connect, why: "no server".into() };
            while let Some(server) = all.choose(&tried, Instant::now()) {
                tried.push(server);
                // Given up on the way, it counts as a server that is late.
                let mut guard = Late { all: all.clone(), server: Some(server) };
                let result = all.servers[server].1.send(all.directed(request.clone(), server), max_answer).await;
                guard.server = None;
                let well = result.as_ref().is_ok_and(|answer| !matches!(answer.status, 502..=504));
                if well {
                    all.answered(server)
                } else {
                    all.failed(server, Instant::now())
                }
                match result {
                    Err(lost) if lost.kind == LostKind::Connect => last = lost,
                    result => return result,
                }
            }
            Err(last)
        })
    }
}

/// Tells of a request that was given up.
struct Late {
    all: Arc<All>,
    server: Option<usize>,
}

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(server) = self.server {
            self.all.failed(server, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use reqwest::Method;
    use reqwest::header::HeaderMap;

    /// Answers with what stands in it; 0 is no connection. Notes where requests went.
    struct Server(Arc<Mutex<u16>>, Arc<Mutex<Vec<String>>>);

    impl Exchange for Server {
        fn send(&self, request: Request, _max: usize) -> BoxFuture<Result<Answer, Lost>> {
            self.1.lock().unwrap().push(request.url.to_string());
            let status = *self.0.lock().unwrap();
            Box::pin(std::future::ready(match status {
                0 => Err(Lost { kind: LostKind::Connect, why: "refused".into() }),
                status => Ok(Answer { status, ..Answer::default() }),
            }))
        }
    }

    type Seen = Arc<Mutex<Vec<String>>>;

    fn turns(states: &[Arc<Mutex<u16>>]) -> (Turns, Seen) {
        let seen = Seen::default();
        let urls = ["http://a/x", "http://b", "http://c/y/z"];
        let servers = urls.iter().zip(states).map(|(url, state)| {
            let exchange: Box<dyn Exchange> = Box::new(Server(state.clone(), seen.clone()));
            (url.parse().unwrap(), exchange)
        });
        (Turns::of(servers.collect()), seen)
    }

    #[tokio::test]
    async fn a_request_that_found_no_connection_goes_to_the_next_server_at_once() {
        let states: Vec<_> = [0, 503, 200].map(|status| Arc::new(Mutex::new(status))).into();
        let (turns, seen) = turns(&states);
        let url = "http://a/x/_bulk?p=1".parse().unwrap();
        let request = Request { method: Method::POST, url, headers: HeaderMap::new(), body: None };
        assert_eq!(turns.send(request.clone(), 10).await.unwrap().status, 503, "somebody has seen it");
        assert_eq!(turns.send(request.clone(), 10).await.unwrap().status, 200);
        let went = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(went, ["http://a/x/_bulk?p=1", "http://b/_bulk?p=1", "http://c/y/z/_bulk?p=1"]);
        states.iter().for_each(|state| *state.lock().unwrap() = 0);
        assert_eq!(turns.send(request, 10).await.unwrap_err().kind, LostKind::Connect);
        assert_eq!(seen.lock().unwrap().len(), 3, "all are tried");
    }

    #[test]
    fn servers_take_turns_and_one_that_fails_is_left_alone_until_it_is_back() {
        let states: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(200))).collect();
        let all = turns(&states).0.0;
        let start = Instant::now();
        let set = |n: usize, status| *states[n].lock().unwrap() = status;
        let send = |ms: u64| {
            let (now, mut tried) = (start + Duration::from_millis(ms), Vec::new());
            while let Some(n) = all.choose(&tried, now) {
                tried.push(n);
                let status = *states[n].lock().unwrap();
                if status == 200 {
                    all.answered(n)
                } else {
                    all.failed(n, now)
                }
                if status != 0 {
                    break;
                }
            }
            tried
        };
        assert_eq!([send(0), send(0), send(0), send(0)], [[0], [1], [2], [0]]);
        set(1, 0);
        assert_eq!(send(0), [1, 2]);
        assert_eq!([send(10), send(10), send(10)], [[0], [2], [0]], "it is passed by");
        // After a second one request looks, after two more the next.
        assert_eq!([send(1100), send(1100), send(1100), send(1100)], [vec![1, 2], vec![0], vec![2], vec![0]]);
        assert_eq!([send(3000), send(3000), send(3000)], [[2], [0], [2]]);
        set(0, 503);
        set(1, 200);
        set(2, 503);
        assert_eq!([send(3200), send(3200), send(3200)], [[0], [1], [2]]);
        assert_eq!([send(3200), send(3200)], [[1], [1]], "only one is left");
    }

    #[test]
    fn with_none_left_the_one_whose_rest_ends_first_gets_it() {
        let states: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(503))).collect();
        let all = turns(&states).0.0;
        let now = Instant::now();
        for (n, ms) in [(0, 20), (1, 10), (2, 0)] {
            all.failed(n, now + Duration::from_millis(ms));
        }
        assert_eq!(all.choose(&[], now + Duration::from_millis(30)), Some(2));
    }
}
