//! The command line's client of a node: HTTP and JSON, safe repetition, errors as people need them. Never in here:
//! what a command prints.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use uuid::Uuid;

use crate::config::Secret;

use super::failure::{Exit, Failure};
use super::refusal::{Refusal, refused};

/// Where a node listens unless told otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: a little longer than the node itself waits.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// Largest answer, bytes.
const MAX_ANSWER: usize = 64 << 20;
/// How often a request is sent again after its connection was lost.
const RESENDS: u32 = 20;
/// The pause before it is sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(250);
const BASE: &str = "/api/v1/flexcore";

/// Speaks with one node.
#[derive(Clone)]
pub struct Client {
    server: String,
    token: Option<Secret>,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// Why there is no answer, or not the wanted one.
#[derive(Debug, Clone)]
pub enum ClientError {
    /// No connection could be made: nothing was sent.
    Unreachable {
        /// The node's address.
        server: String,
        /// What the system says.
        reason: String,
    },
    /// The connection was lost, or no answer came in time; the request may have been carried out.
    Lost {
        /// The node's address.
        server: String,
        /// What the system says.
        reason: String,
    },
    /// The node refused.
    Refused(Box<Refusal>),
    /// It is not the answer of a FlexCore node.
    Strange(String),
}

impl Client {
    /// A client of the node at `server`, an `http://` URL.
    ///
    /// # Errors
    /// When `server` is no such URL, or `token` cannot stand in a header.
    pub fn new(server: &str, token: Option<Secret>) -> Result<Self, Failure> {
        let server = server.trim_end_matches('/');
        let uri: http::Uri = server
            .parse()
            .map_err(|_| Failure::usage(format!("--server {server:?} is not a URL")).hint(server_hint()))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() || !matches!(uri.path(), "" | "/") {
            let message =
                format!("--server {server:?} is not an http:// URL of a node (https is not built yet)");
            return Err(Failure::usage(message).hint(server_hint()));
        }
        if token.as_ref().is_some_and(|token| bearer(token).is_none()) {
            return Err(Failure::usage("FLEXCORE_TOKEN holds characters that no token has"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = HttpClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self { server: server.to_owned(), token, http })
    }

    /// Reads `path` (below the API's base, with its query).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None).await
    }

    /// Does what `method` and `path` say. A lost connection is no reason to wonder: the request is sent again under
    /// the same `Idempotency-Key`, so it is carried out once.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let key = Uuid::now_v7().to_string();
        let mut sent_before = false;
        for _ in 0..RESENDS {
            match self.once(&method, path, body, &key).await {
                Err(ClientError::Lost { .. }) => sent_before = true,
                // it was there a moment ago: a restart
                Err(ClientError::Unreachable { .. }) if sent_before => {}
                other => return other,
            }
            tokio::time::sleep(RESEND_PAUSE).await;
        }
        self.once(&method, path, body, &key).await
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Result<Value, ClientError> {
        let mut request = self.request(method, path)?;
        if method == Method::POST {
            let key = HeaderValue::from_str(key).map_err(|error| ClientError::Strange(error.to_string()))?;
            request.headers_mut().insert("idempotency-key", key);
            // an execution is followed by its id, never by waiting for one answer
            request.headers_mut().insert("prefer", HeaderValue::from_static("respond-async"));
        }
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Full::from(body.to_string());
        }
        let exchange = async {
            let response = self.answered(request).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            body.map(|body| body.to_bytes()).map_err(|error| self.lost(error.to_string()))
        };
        let bytes = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.unwrap_or_else(|_| {
            Err(self.lost(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())))
        })?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| ClientError::Strange(format!("{} does not answer JSON: {error}", self.server)))
    }

    /// Opens a stream of lines: `path` is read for as long as the node sends.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stream(&self, path: &str, accept: &'static str) -> Result<Response<Incoming>, ClientError> {
        let mut request = self.request(&Method::GET, path)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        self.answered(request).await
    }

    fn request(&self, method: &Method, path: &str) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{BASE}{path}", self.server));
        if let Some(token) = self.token.as_ref().and_then(bearer) {
            request = request.header(AUTHORIZATION, token);
        }
        request
            .body(Full::default())
            .map_err(|error| ClientError::Strange(format!("{path:?} cannot be asked for: {error}")))
    }

    async fn answered(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let response = self.http.request(request).await.map_err(|error| {
            let reason = root_cause(&error);
            if error.is_connect() {
                ClientError::Unreachable { server: self.server.clone(), reason }
            } else {
                self.lost(reason)
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        let mut refusal: Refusal = serde_json::from_slice(&bytes).unwrap_or_default();
        refusal.status = status.as_u16();
        refusal.retry_after = retry_after;
        if refusal.title.is_empty() {
            status.canonical_reason().unwrap_or("refused").clone_into(&mut refusal.title);
        }
        Err(ClientError::Refused(Box::new(refusal)))
    }

    fn lost(&self, reason: String) -> ClientError {
        ClientError::Lost { server: self.server.clone(), reason }
    }
}

impl ClientError {
    /// Whether the same request may succeed soon: the node is restarting or overloaded.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused(refusal) => matches!(refusal.status, 429 | 502..=504),
            Self::Strange(_) => false,
        }
    }

    /// Whether the node says that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::NOT_FOUND)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable { server, reason } => {
                Self::new(Exit::Unavailable, format!("cannot reach {server}: {reason}"))
                    .hint("is a node running? start one with: flexcore serve")
            }
            ClientError::Lost { server, reason } => {
                Self::new(Exit::Unavailable, format!("lost the connection to {server}: {reason}"))
                    .hint("what was asked for may have been done: look before you repeat it")
            }
            ClientError::Strange(message) => Self::failed(message).hint(server_hint()),
            ClientError::Refused(refusal) => refused(*refusal),
        }
    }
}

/// One segment of a path, or one value of a query, with everything escaped that could end it.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    // a segment of dots would be taken for a directory
    if !escaped.is_empty() && escaped.bytes().all(|b| b == b'.') {
        escaped.replace('.', "%2E")
    } else {
        escaped
    }
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn server_hint() -> String {
    format!("name a node with --server URL or FLEXCORE_SERVER; the default is {DEFAULT_SERVER}")
}

/// The innermost reason: "connection refused" rather than "client error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
