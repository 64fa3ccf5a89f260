//! What every request passes, whatever its route: its correlation id, the guard against web pages, the table of
//! routes, a bound on its time, a net under its handler, and the headers and figures of its answer.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flexcore_actors::domain::access::Role;
use flexcore_actors::domain::audit::AuditEvent;
use flexcore_actors::runtime::api::{Api, ApiError};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, Request};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Body;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::access::{Access, Denied};

use super::call::{CORRELATION, Call};
use super::metrics::Metrics;
use super::problem::{Kind, Problem};
use super::reply::{Answer, Ctx, CtxFilter};
use super::table::{Match, Route, find};
use super::{
    any_of, commands, events, executions, guard, inspect, integrity, node, pipelines, plugins, queries,
    read_models, subscriptions, tokens,
};

/// A request of any transport.
type AnyRequest = Request<BoxBody<Bytes, io::Error>>;
type Filters = dyn Fn(AnyRequest) -> BoxFuture<'static, Response> + Send + Sync;

/// Answers requests; shared by all connections.
pub(super) struct Gateway {
    filters: Box<Filters>,
    audit: Box<dyn Fn(AuditEvent) + Send + Sync>,
    access: Arc<Access>,
    metrics: Arc<Metrics>,
    request_timeout: Duration,
    shutdown: CancellationToken,
}

impl Gateway {
    /// A gateway to a node.
    pub(super) fn new(
        api: Api,
        access: Arc<Access>,
        request_timeout: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        let audit = api.clone();
        let node = warp::any().map(move || api.clone()).boxed();
        let gateway = Self::over(&node, access, request_timeout, shutdown);
        Self { audit: Box::new(move |request| audit.audited(request)), ..gateway }
    }

    /// A gateway whose handlers get the node from `handle`.
    fn over(
        handle: &BoxedFilter<(Api,)>,
        access: Arc<Access>,
        request_timeout: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        let metrics = Arc::new(Metrics::new());
        let service = TowerToHyperService::new(warp::service(answered(resources(handle, &access, &metrics))));
        let filters = move |request| -> BoxFuture<'static, Response> {
            let answer = service.call(request);
            Box::pin(async move { answer.await.unwrap_or_else(|never: Infallible| match never {}) })
        };
        Self { filters: Box::new(filters), audit: Box::new(drop), access, metrics, request_timeout, shutdown }
    }

    /// The gateway's figures.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Answers one request.
    pub(super) async fn handle<B>(&self, request: Request<B>, peer: IpAddr) -> Response
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let begun = Instant::now();
        let (parts, body) = request.into_parts();
        let (call, unusable) = Call::read(&parts, peer, self.shutdown.child_token());
        let call = Arc::new(call);
        let route = find(&call.method, &call.path);
        let span = tracing::info_span!(
            "request", method = %call.method, path = call.path, correlation_id = call.correlation.as_str()
        );
        let work = async {
            self.let_in(&parts, &call, &route).await?;
            let route = admit(&call, &route, unusable)?;
            let body = body.map_err(io::Error::other).boxed();
            Ok(self.carry_out(Request::from_parts(parts, body), &call, route).await)
        };
        let answer: Answer = work.instrument(span.clone()).await;
        let mut response = answer.unwrap_or_else(|problem| rendered(problem, &call));
        finish(&mut response, &call);
        let route = if let Match::Route(route) = route { Some(route) } else { None };
        let (status, took) = (response.status(), begun.elapsed());
        self.metrics.answered(route, status, took);
        if let Some(request) = call.audited(status, route.is_some_and(|route| route.reads)) {
            (self.audit)(request);
        }
        span.in_scope(|| {
            tracing::debug!(status = status.as_u16(), took_us = took.as_micros() as u64, "answered")
        });
        response
    }

    /// Refuses a request that a web page may have sent, that nobody is known to send, or whose sender may not. What does not
    /// exist is told to nobody who may not look.
    async fn let_in(&self, parts: &Parts, call: &Call, route: &Match) -> Result<(), Problem> {
        if !self.access.is_required() {
            guard::check(parts)?;
        }
        let needed = match route {
            Match::Route(route) => route.needs,
            Match::OtherMethod(_) | Match::Nothing => Some(Role::Viewer),
        };
        let mut sent = parts.headers.get_all(AUTHORIZATION).iter();
        let header = sent.next().map(HeaderValue::as_bytes);
        if sent.next().is_some() {
            return Err(Denied::Malformed.into());
        }
        // what is for everyone stays so while nobody can look tokens up
        let Some(needed) = needed else { return Ok(()) };
        call.identified(self.access.identify(header, call.peer).await?);
        call.may(needed, &format!("{} {}", call.method, call.path.chars().take(200).collect::<String>()))
    }

    /// Lets the filters answer, within the request's time; a handler that panics costs its request, not its
    /// connection.
    async fn carry_out(&self, mut request: AnyRequest, call: &Arc<Call>, route: &Route) -> Response {
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET; // the connection leaves the body out
        }
        request.extensions_mut().insert(Arc::clone(call));
        let answer = AssertUnwindSafe((self.filters)(request)).catch_unwind();
        let answer =
            if route.patient { Ok(answer.await) } else { timeout(self.request_timeout, answer).await };
        match answer {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                tracing::error!("a handler panicked");
                rendered(ApiError::Internal.into(), call)
            }
            Err(_) => {
                let detail = format!(
                    "no answer within {} s; what was asked may still happen: repeat it with the same Idempotency-Key",
                    self.request_timeout.as_secs()
                );
                rendered(Problem::unavailable(detail), call)
            }
        }
    }
}

/// Everything that is checked before a handler is asked.
fn admit(call: &Call, route: &Match, unusable: Option<Problem>) -> Result<&'static Route, Problem> {
    unusable.map_or(Ok(()), Err)?;
    let shown: String = call.path.chars().take(200).collect();
    match route {
        Match::Route(Route { later: Some(feature), .. }) => Err(Problem::not_built(feature)),
        Match::Route(route) => call.query.check(route.query).map(|()| *route),
        Match::OtherMethod(allow) => Err(Problem::method_not_allowed(&call.method, &shown, allow.clone())),
        Match::Nothing => Err(Problem::new(Kind::NoRoute, format!("there is no route {shown}"))),
    }
}

/// The filters of all routes that are built, hot ones first. `handle` gives each request the node.
fn resources(
    handle: &BoxedFilter<(Api,)>,
    access: &Arc<Access>,
    metrics: &Arc<Metrics>,
) -> BoxedFilter<(Answer,)> {
    let access = Arc::clone(access);
    let call = warp::ext::get::<Arc<Call>>();
    let ctx = move |api, call| Ctx { api, call, access: Arc::clone(&access) };
    let ctx: CtxFilter = handle.clone().and(call).map(ctx).boxed();
    let api = any_of!(
        executions::routes(&ctx),
        pipelines::routes(&ctx),
        plugins::routes(&ctx),
        commands::routes(&ctx),
        queries::routes(&ctx),
        events::routes(&ctx),
        subscriptions::routes(&ctx),
        node::routes(&ctx),
        inspect::routes(&ctx),
        integrity::routes(&ctx),
        read_models::routes(&ctx),
        tokens::routes(&ctx),
    );
    let api = warp::path!("api" / "v1" / "flexcore" / ..).and(api);
    any_of!(api, node::root_routes(&ctx, metrics))
}

/// Turns what handlers give into responses. What no filter took although the table has it is a defect.
fn answered(resources: BoxedFilter<(Answer,)>) -> BoxedFilter<(Response,)> {
    let missed = warp::any().map(|| -> Answer {
        tracing::error!("a route of the table is not served");
        Err(ApiError::Internal.into())
    });
    let call = warp::ext::get::<Arc<Call>>();
    let all = any_of!(resources, missed);
    all.and(call).map(|answer: Answer, call: Arc<Call>| answer.unwrap_or_else(|p| rendered(p, &call))).boxed()
}

fn rendered(problem: Problem, call: &Call) -> Response {
    problem.into_response(&call.path, call.correlation.as_str())
}

/// Headers of every answer: what ties it together, and that no browser may guess its type or keep it.
fn finish(response: &mut Response, call: &Call) {
    let headers = response.headers_mut();
    headers.entry(HeaderName::from_static(CORRELATION)).or_insert_with(|| call.correlation.text.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use http::StatusCode;
    use http_body_util::{Empty, Full};
    use serde_json::Value;
    use warp::reject::{Reject, Rejection};

    use super::*;
    use crate::http::table::ROUTES;

    /// That a request came as far as the handler of its route.
    #[derive(Debug)]
    struct Reached;
    impl Reject for Reached {}

    /// In the place of a node: turns away whoever asks for it.
    fn no_node() -> BoxedFilter<(Api,)> {
        warp::any().and_then(|| async { Err::<Api, Rejection>(warp::reject::custom(Reached)) }).boxed()
    }

    /// No token is asked for.
    pub(in crate::http) fn anybody() -> Arc<Access> {
        let tokens = Arc::new(flexcore_actors::testkit::MemoryTokens::default());
        Arc::new(Access::new(false, tokens, Arc::new(flexcore_actors::ports::clock::System)))
    }

    /// A gateway without a node: everything but the handlers.
    pub(in crate::http) fn gateway(shutdown: CancellationToken) -> Gateway {
        Gateway::over(&no_node(), anybody(), Duration::from_secs(5), shutdown)
    }

    async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, http::HeaderMap, Value) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = gateway(CancellationToken::new()).handle(request, Ipv4Addr::LOCALHOST.into()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The table and the filters agree: each route that is built has a filter, and each other one answers 501.
    #[tokio::test]
    async fn every_route_of_the_table_is_served() {
        let filters = resources(&no_node(), &anybody(), &Arc::new(Metrics::new()));
        let reached = filters.map(|_: Answer| StatusCode::OK).recover(|rejection: Rejection| async move {
            let code = if rejection.find::<Reached>().is_some() {
                StatusCode::IM_A_TEAPOT
            } else {
                StatusCode::GONE
            };
            Ok::<_, Rejection>(code)
        });
        let service = TowerToHyperService::new(warp::service(reached));
        let stand_in = "0198c0de-0000-7000-8000-000000000001";
        for route in ROUTES {
            let path = ["{id}", "{name}", "{step}", "{stream}"]
                .iter()
                .fold(route.path.to_owned(), |path, part| path.replace(part, stand_in));
            if let Some(feature) = route.later {
                let (status, _, body) = ask(route.method, &path, &[]).await;
                assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{route:?}");
                assert!(body["detail"].as_str().unwrap().contains(feature), "{body}");
                continue;
            }
            let request =
                Request::builder().method(route.method).uri(&path).body(Empty::<Bytes>::new()).unwrap();
            let (call, _) =
                Call::read(&request.into_parts().0, Ipv4Addr::LOCALHOST.into(), CancellationToken::new());
            let mut request =
                Request::builder().method(route.method).uri(&path).body(Empty::<Bytes>::new()).unwrap();
            request.extensions_mut().insert(Arc::new(call));
            let status = service.call(request).await.unwrap().status();
            assert_eq!(status, StatusCode::IM_A_TEAPOT, "no filter for {} {}", route.method, route.path);
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem_document() {
        let (status, headers, body) =
            ask("GET", "/api/v1/flexcore/nope?x=1", &[("x-correlation-id", "c-7")]).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(
            (&headers["x-correlation-id"], body["correlation_id"].as_str()),
            (&"c-7".parse().unwrap(), Some("c-7"))
        );
        assert_eq!(body["instance"], "/api/v1/flexcore/nope");
        assert_eq!(
            (&headers["x-content-type-options"], &headers["cache-control"]),
            (&"nosniff".parse().unwrap(), &"no-store".parse().unwrap())
        );
        let (status, headers, _) = ask("PATCH", "/api/v1/flexcore/pipelines", &[]).await;
        assert_eq!(
            (status, headers["allow"].to_str().unwrap()),
            (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, POST")
        );
    }

    #[tokio::test]
    async fn requests_are_checked_before_a_handler_sees_them() {
        for (method, path, headers, expected) in [
            ("GET", "/api/v1/flexcore/pipelines?limt=3", &[][..], 400),
            ("POST", "/api/v1/flexcore/pipelines/p/activate?force=true", &[], 400),
            ("GET", "/health", &[("x-correlation-id", "a b")], 400),
            ("POST", "/api/v1/flexcore/commands", &[("origin", "http://evil.example")], 403),
            ("GET", "http://evil.example/health", &[], 403),
        ] {
            let (status, got, body) = ask(method, path, headers).await;
            assert_eq!(status, expected, "{method} {path}");
            assert_eq!(body["status"], expected, "{body}");
            assert_eq!(got["x-correlation-id"], body["correlation_id"].as_str().unwrap());
        }
    }
}
