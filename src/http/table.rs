//! Every route of the contract in one table: method, path, the query parameters it takes and what it does. The
//! filters serve what stands here and nothing else (a test compares both); 404, 405 and 501 are answered from it,
//! and metrics are labelled with its paths.

use flexcore_actors::domain::access::Role;
use http::Method;

/// Under which the API lies.
pub const BASE: &str = "/api/v1/flexcore";

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST`, `PUT` or `DELETE`; `GET` answers `HEAD` too.
    pub method: &'static str,
    /// The path, with `{…}` for a part that varies.
    pub path: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// The query parameters it takes; another one is refused.
    pub query: &'static [&'static str],
    /// The feature it waits for, when this version does not serve it yet (501).
    pub later: Option<&'static str>,
    /// Whether it bounds its own time, longer than other requests may take.
    pub patient: bool,
    /// Whether it only looks, whatever its method.
    pub reads: bool,
    /// Who may use it; nobody is asked who they are where there is none. Each command has a role of its own besides
    /// ([`CommandKind::needs`](flexcore_actors::runtime::api::CommandKind::needs)).
    pub needs: Option<Role>,
}

impl Route {
    const fn new(method: &'static str, path: &'static str, about: &'static str, needs: Option<Role>) -> Self {
        Self { method, path, about, query: &[], later: None, patient: false, reads: false, needs }
    }

    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn later(self, feature: &'static str) -> Self {
        Self { later: Some(feature), ..self }
    }

    const fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    const fn reads(self) -> Self {
        Self { reads: true, ..self }
    }

    const fn by(self, role: Role) -> Self {
        Self { needs: Some(role), ..self }
    }

    const fn by_anyone(self) -> Self {
        Self { needs: None, ..self }
    }
}

/// What looks is for viewers, unless it says otherwise.
const fn get(path: &'static str, about: &'static str) -> Route {
    Route::new("GET", path, about, Some(Role::Viewer))
}

/// What changes something is for administrators, unless it says otherwise.
const fn post(path: &'static str, about: &'static str) -> Route {
    Route::new("POST", path, about, Some(Role::Admin))
}

const fn put(path: &'static str, about: &'static str) -> Route {
    Route::new("PUT", path, about, Some(Role::Admin))
}

const fn delete(path: &'static str, about: &'static str) -> Route {
    Route::new("DELETE", path, about, Some(Role::Admin))
}

const PAGE: &[&str] = &["limit", "cursor", "min_position"];
/// Of one resource as it was.
const AT: &[&str] = &["at", "at_version"];
const EXECUTIONS: &[&str] =
    &["pipeline", "plugin", "status", "kind", "from", "to", "limit", "cursor", "min_position"];
const AUDIT: &[&str] = &["actor", "outcome", "from", "to", "limit", "cursor", "min_position"];
const EVENTS: &[&str] = &[
    "aggregate_id",
    "event_type",
    "from_timestamp",
    "to_timestamp",
    "after",
    "cursor",
    "limit",
    "min_position",
];

const PROOF: &[&str] = &["position", "size", "from", "to"];
const STREAM: &[&str] = &["aggregate_id", "event_type", "from_timestamp", "to_timestamp", "after"];

macro_rules! api {
    ($path:literal) => {
        concat!("/api/v1/flexcore", $path)
    };
}

/// All routes, hot ones first.
pub const ROUTES: &[Route] = &[
    get("/health", "whether the process is alive").by_anyone(),
    get("/ready", "whether the node takes work, with the state of each dependency").by_anyone(),
    get("/metrics", "figures for Prometheus"),
    get(api!("/executions/{id}"), "one execution, live while it runs; or as it was").query(AT),
    get(api!("/executions"), "executions, newest first").query(EXECUTIONS),
    post(api!("/executions/{id}/cancel"), "cancel it; durable at once, final").by(Role::Operator),
    post(api!("/executions/{id}/pause"), "start no further step").by(Role::Operator),
    post(api!("/executions/{id}/resume"), "go on").by(Role::Operator),
    post(api!("/executions/{id}/retry"), "run what failed again").by(Role::Operator),
    get(api!("/executions/{id}/logs"), "what its programs said").query(&["follow", "after"]),
    get(api!("/executions/{id}/events"), "its events").query(&["after", "cursor", "limit"]),
    get(api!("/executions/{id}/timeline"), "its attempts in time"),
    get(api!("/pipelines"), "pipelines by name").query(PAGE),
    post(api!("/pipelines"), "create a pipeline as a draft; dry_run only checks")
        .by(Role::Developer)
        .query(&["dry_run"]),
    get(api!("/pipelines/{name}"), "one pipeline, now or as it was").query(AT),
    put(api!("/pipelines/{name}"), "revise it").by(Role::Developer),
    delete(api!("/pipelines/{name}"), "archive it; its name stays reserved").by(Role::Developer),
    post(api!("/pipelines/{name}/activate"), "let it run").by(Role::Developer),
    post(api!("/pipelines/{name}/pause"), "start no further execution").by(Role::Operator),
    post(api!("/pipelines/{name}/resume"), "go on").by(Role::Operator),
    post(api!("/pipelines/{name}/execute"), "start an execution").by(Role::Operator),
    post(api!("/pipelines/{name}/backfill"), "one execution per missed tick")
        .by(Role::Operator)
        .later("backfill"),
    get(api!("/pipelines/{name}/revisions"), "its definitions, oldest first"),
    get(api!("/pipelines/{name}/bookmarks"), "how far its steps have come"),
    put(api!("/pipelines/{name}/bookmarks/{step}"), "set a step's bookmark").by(Role::Operator),
    delete(api!("/pipelines/{name}/bookmarks/{step}"), "clear it, so that the step begins anew")
        .by(Role::Operator),
    get(api!("/plugins"), "plugins by name").query(PAGE),
    post(api!("/plugins"), "register and enable a plugin; dry_run only checks").query(&["dry_run"]),
    get(api!("/plugins/{name}"), "one plugin, now or as it was").query(AT),
    put(api!("/plugins/{name}"), "revise it"),
    delete(api!("/plugins/{name}"), "retire it"),
    post(api!("/plugins/{name}/enable"), "let it run"),
    post(api!("/plugins/{name}/disable"), "start it no more"),
    get(api!("/plugins/{name}/status"), "its health and counts"),
    post(api!("/plugins/{name}/execute"), "run it alone and wait for its result")
        .by(Role::Operator)
        .patient(),
    get(api!("/events"), "events in the order of the store").query(EVENTS),
    get(api!("/events/export"), "the log as lines that can be verified without the node")
        .query(&["aggregate_id", "after"])
        .patient(),
    post(api!("/events"), "append an event of your own").by(Role::Operator).later("external events"),
    get(api!("/events/stream"), "events as they happen (SSE)").query(STREAM),
    get(api!("/subscriptions"), "what reacts to events, and how far it has come"),
    get(api!("/subscriptions/{name}/parked"), "events it could not handle")
        .query(&["after", "cursor", "limit"]),
    post(api!("/subscriptions/{name}/replay"), "handle parked events again")
        .by(Role::Operator)
        .query(&["position"]),
    get(api!("/ws/pipelines/{name}/status"), "a pipeline live (WebSocket)").later("WebSocket status"),
    get(api!("/status"), "the node, its dependencies and headline figures"),
    post(api!("/commands"), "any command").by(Role::Operator),
    post(api!("/queries"), "any query").by(Role::Viewer).reads(),
    get(api!("/audit"), "who asked for what, and what was refused").query(AUDIT),
    get(api!("/projections"), "the read models, and how far they have come"),
    get(api!("/projections/{name}/parked"), "events it could not take in").query(&[
        "after",
        "cursor",
        "limit",
        "min_position",
    ]),
    post(api!("/projections/{name}/rebuild"), "build one anew beside the live one").by(Role::Operator),
    get(api!("/inspect/actors"), "the actors as a tree"),
    get(api!("/inspect/actors/top"), "the busiest actors").query(&["by", "limit"]),
    get(api!("/inspect/aggregates/{stream}"), "one aggregate's actor"),
    get(api!("/inspect/quarantine"), "what is quarantined, and why"),
    post(api!("/inspect/quarantine/{stream}/release"), "release it").by(Role::Operator),
    get(api!("/inspect/shards"), "who owns which shard"),
    get(api!("/inspect/cluster"), "the nodes of the cluster, as this one sees them"),
    get(api!("/integrity"), "how the log is sealed: checkpoint, keys, what the trust rests on"),
    get(api!("/integrity/proof"), "that an event is in the log, or that the log only grew").query(PROOF),
    post(api!("/integrity/verify"), "verify the store; one at a time").by(Role::Operator).patient().reads(),
    get(api!("/integrity/verify"), "how far the latest verification has come, or its verdict"),
    get(api!("/tokens"), "API tokens").query(&["limit", "cursor"]).by(Role::Admin),
    post(api!("/tokens"), "create a token, which is shown once"),
    delete(api!("/tokens"), "revoke a token by its id").query(&["id"]),
    delete(api!("/tokens/{id}"), "revoke a token"),
    get("/openapi.json", "this table for machines").later("the OpenAPI document"),
    get("/", "the operator's console").later("the operator console"),
];

/// What the table says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// This route.
    Route(&'static Route),
    /// The path exists for other methods: what `Allow` says.
    OtherMethod(String),
    /// Nothing of that path.
    Nothing,
}

/// Finds the route of a request. `HEAD` counts as `GET`; one slash at the end of a path is ignored, as the filters do.
pub(super) fn find(method: &Method, path: &str) -> Match {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    let mut allow: Vec<&str> = Vec::new();
    for route in ROUTES.iter().filter(|route| fits(route.path, path)) {
        if route.method == method {
            return Match::Route(route);
        }
        allow.push(route.method);
        if route.method == "GET" {
            allow.push("HEAD");
        }
    }
    if allow.is_empty() { Match::Nothing } else { Match::OtherMethod(allow.join(", ")) }
}

fn fits(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    template.split('/').all(|wanted| {
        segments.next().is_some_and(|got| got == wanted || (wanted.starts_with('{') && !got.is_empty()))
    }) && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_route() {
        let found = |method: Method, path: &str| match find(&method, path) {
            Match::Route(route) => route.path,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(found(Method::GET, "/"), "/");
        assert_eq!(found(Method::HEAD, "/health"), "/health");
        assert_eq!(found(Method::GET, "/api/v1/flexcore/pipelines/p/"), "/api/v1/flexcore/pipelines/{name}");
        assert_eq!(found(Method::GET, "/api/v1/flexcore/events/stream"), "/api/v1/flexcore/events/stream");
    }

    #[test]
    fn what_is_not_there_is_told_from_what_takes_other_methods() {
        for path in ["/nope", "//health", "/api/v1/flexcore", "/api/v1/flexcore/pipelines//execute", ""] {
            assert_eq!(find(&Method::GET, path), Match::Nothing, "{path}");
        }
        let other = find(&Method::PATCH, "/api/v1/flexcore/pipelines/p");
        assert_eq!(other, Match::OtherMethod("GET, HEAD, PUT, DELETE".to_owned()));
    }

    #[test]
    fn no_route_stands_twice_and_all_lie_where_they_should() {
        for (n, route) in ROUTES.iter().enumerate() {
            let twin = |other: &Route| (other.method, other.path) == (route.method, route.path);
            assert!(!ROUTES[..n].iter().any(twin), "{} {}", route.method, route.path);
            let at_root = ["/", "/health", "/ready", "/metrics", "/openapi.json"].contains(&route.path);
            assert!(at_root || route.path.starts_with(BASE), "{}", route.path);
        }
    }

    #[test]
    fn every_route_is_in_the_users_page() {
        let page = include_str!("../../docs/http.md");
        for route in ROUTES {
            let last = route.path.rsplit('/').find(|part| !part.starts_with('{')).unwrap_or_default();
            assert!(
                page.contains(&format!("/{last}")),
                "{} {} is not in docs/http.md",
                route.method,
                route.path
            );
            for parameter in route.query {
                assert!(page.contains(parameter), "{parameter} of {} is not in docs/http.md", route.path);
            }
        }
    }
}
