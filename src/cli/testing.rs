//! What the command line's tests share: captured output, and a node that answers from a script. Never in here:
//! anything that ships.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use super::client::Client;
use super::output::Terminal;

/// What a command wrote.
#[derive(Clone, Default)]
pub(super) struct Output {
    out: Buffer,
    err: Buffer,
}

impl Output {
    pub(super) fn out(&self) -> String {
        self.out.text()
    }

    pub(super) fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A terminal whose output can be read.
pub(super) fn captured() -> (Terminal, Output) {
    let output = Output::default();
    (Terminal::plain(output.out.clone(), output.err.clone()), output)
}

/// A request the fake node saw.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    /// `POST /pipelines?dry_run=true`, without the API's base.
    pub(super) what: String,
    pub(super) key: Option<String>,
    pub(super) token: Option<String>,
    pub(super) body: Value,
}

/// What the fake node does with one request.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Answers with a status and JSON.
    Answer(u16, Value),
    /// Answers with a status, a `Retry-After` and nothing else.
    Busy(u16),
    /// Closes the connection without an answer.
    HangUp,
}

/// A node that answers each request with the first matching act of its script (method and path prefix), used up
/// unless it is the last that matches.
pub(super) struct FakeNode {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    script: VecDeque<(&'static str, Act)>,
    seen: Vec<Seen>,
}

impl FakeNode {
    pub(super) async fn start(script: Vec<(&'static str, Act)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { script: script.into(), seen: Vec::new() }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, state }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address), Some(crate::config::Secret::new("sesame"))).unwrap()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub(super) fn seen_words(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.what).collect()
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let path = request.uri().path_and_query().unwrap().as_str();
    let what = format!("{} {}", request.method(), path.strip_prefix("/api/v1/flexcore").unwrap());
    let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    let (key, token) = (header("idempotency-key"), header("authorization"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut state = state.lock().unwrap();
    let matching: Vec<usize> =
        (0..state.script.len()).filter(|n| what.starts_with(state.script[*n].0)).collect();
    let act = match matching[..] {
        [] => Act::Answer(
            404,
            serde_json::json!({"title": "not found", "detail": format!("{what} is not scripted")}),
        ),
        [only] => state.script[only].1.clone(),
        [first, ..] => state.script.remove(first).map_or(Act::HangUp, |(_, act)| act),
    };
    state.seen.push(Seen { what, key, token, body });
    match act {
        Act::Answer(status, value) => {
            Ok(Response::builder().status(status).body(Full::from(value.to_string())).unwrap())
        }
        Act::Busy(status) => {
            Ok(Response::builder().status(status).header("retry-after", "7").body(Full::default()).unwrap())
        }
        Act::HangUp => Err(io::Error::other("scripted")),
    }
}
