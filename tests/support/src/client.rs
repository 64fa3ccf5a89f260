//! A small HTTP client for one node: JSON in, JSON out, every answer bounded in time and size.
//!
//! It knows HTTP, not FlexCore: what an answer means is for the test to say.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// How long one request may take, its answer read.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// The largest answer that is read: 64 MiB.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

type HyperClient = hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>;

/// One answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body; what is not UTF-8 in it is replaced.
    pub text: String,
    /// The body as JSON, null when it is none.
    pub json: Value,
}

impl Reply {
    /// The answer itself, if it has this status.
    ///
    /// # Panics
    /// With the body, if it has another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "unexpected answer: {}", self.text);
        self
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A client for the server at one address. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    headers: HeaderMap,
    hyper: HyperClient,
}

impl Client {
    /// A client for this address; nothing is connected yet.
    pub fn new(address: SocketAddr) -> Self {
        let hyper = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { address, headers: HeaderMap::new(), hyper }
    }

    /// The same client with one more header on every request.
    ///
    /// # Panics
    /// If name or value is no header text.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap_or_else(|e| panic!("header {name}: {e}")));
        self
    }

    /// `GET path`.
    ///
    /// # Panics
    /// As all requests do, when no whole answer arrives: use [`Client::request`] where that is expected.
    pub async fn get(&self, path: &str) -> Reply {
        self.whole(Method::GET, path, None).await
    }

    /// `POST path` with a JSON body. Panics without a whole answer.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.whole(Method::POST, path, Some(body)).await
    }

    /// `PUT path` with a JSON body. Panics without a whole answer.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.whole(Method::PUT, path, Some(body)).await
    }

    /// `DELETE path`. Panics without a whole answer.
    pub async fn delete(&self, path: &str) -> Reply {
        self.whole(Method::DELETE, path, None).await
    }

    /// A request of any kind, JSON or not; `Err` says why no whole answer arrived, as when the node is dead.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let mut request = request.body(Full::new(body.into())).map_err(|e| e.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let answer = tokio::time::timeout(REQUEST_DEADLINE, self.answer(request)).await;
        answer.map_err(|_| format!("no whole answer within {REQUEST_DEADLINE:?}"))?
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let response = self.hyper.request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, LARGEST_ANSWER).collect().await.map_err(|error| chain(&*error))?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, text, json })
    }

    async fn whole(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let content_type = body.map(|_| "application/json");
        let text = body.map(Value::to_string).unwrap_or_default();
        let answer = self.request(method.clone(), path, content_type, text).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers 201 with what it was asked.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request: Request<hyper::body::Incoming>| async {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let header =
                        |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                    let seen = json!({
                        "method": head.method.as_str(), "path": head.uri.to_string(),
                        "type": header("content-type"), "key": header("idempotency-key"),
                        "body": serde_json::from_slice::<Value>(&body).unwrap_or_default(),
                    });
                    let answer = Response::builder().status(201).header("etag", "\"7\"");
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(seen.to_string()))).unwrap())
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    #[tokio::test]
    async fn requests_carry_method_path_body_and_headers() {
        let client = Client::new(echo().await).with_header("idempotency-key", "k");
        let reply = client.post("/p?q=1", &json!({"a": [1, 2]})).await.expect(201);
        assert_eq!(
            reply.json,
            json!({"method": "POST", "path": "/p?q=1", "type": "application/json", "key": "k", "body": {"a": [1, 2]}})
        );
        assert_eq!(reply.header("etag"), Some("\"7\""));
        assert_eq!(client.put("/", &json!(1)).await.json["method"], "PUT");
        assert_eq!(client.delete("/").await.json["method"], "DELETE");
        let get = client.get("/").await;
        assert_eq!((&get.json["method"], &get.json["type"]), (&json!("GET"), &Value::Null));
    }

    #[tokio::test]
    async fn a_dead_server_is_an_error_and_not_a_panic() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Client::new(address).request(Method::GET, "/", None, "").await.unwrap_err();
        assert!(error.contains("refused"), "{error}");
    }
}
