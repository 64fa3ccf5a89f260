//! Who is let in: every route for every role, and what is no token.

use flexcore_actors::domain::access::Role;
use flexcore_actors::runtime::api::CommandKind;
use flexcore_actors::testkit::MemoryTokens;
use http::{Method, StatusCode};

use super::*;
use crate::access::Access;
use crate::http::table::{ROUTES, Route};

/// A gateway that asks for a token, and one of each role.
struct Door {
    gateway: Gateway,
    access: Arc<Access>,
    tokens: Vec<(Role, String)>,
    _world: World,
}

impl Door {
    async fn new() -> Self {
        let access = Arc::new(Access::new(true, Arc::new(MemoryTokens::default()), Arc::new(System)));
        let mut tokens = Vec::new();
        for role in Role::ALL {
            tokens.push((role, access.create(None, role, None, "test").await.unwrap().text));
        }
        let world = World::new().await;
        let gateway = Gateway::new(world.node.api(), Arc::clone(&access), DEADLINE, world.shutdown.clone());
        Self { gateway, access, tokens, _world: world }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (StatusCode, Value) {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
        let response = self.gateway.handle(request, Ipv4Addr::LOCALHOST.into()).await;
        let (parts, body) = response.into_parts();
        // what goes on for ever has begun
        let endless = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes = if endless { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
        assert_eq!(parts.status == 401, parts.headers.contains_key("www-authenticate"), "{method} {path}");
        (parts.status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn bearing(&self, method: &str, path: &str, token: &str, body: &Value) -> (StatusCode, Value) {
        self.ask(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }
}

fn path_of(route: &Route) -> String {
    let stand_in = "0198c0de-0000-7000-8000-000000000001";
    ["{id}", "{name}", "{step}", "{stream}"]
        .iter()
        .fold(route.path.to_owned(), |path, part| path.replace(part, stand_in))
}

/// The order of roles is the table's, and nothing that changes anything is for those who only look.
#[tokio::test]
async fn every_route_lets_in_who_may_and_nobody_else() {
    let door = Door::new().await;
    for route in ROUTES {
        let (path, method) = (path_of(route), route.method);
        let Some(needed) = route.needs else {
            assert!(matches!(route.path, "/health" | "/ready"), "{path} is for everyone");
            let (status, _) = door.ask(method, &path, &[], &json!({})).await;
            assert!(status != 401 && status != 403, "{method} {path}: {status}");
            continue;
        };
        assert!(method == Method::GET || route.reads || needed > Role::Viewer, "{method} {path}");
        let (status, _) = door.ask(method, &path, &[], &json!({})).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} without a token");
        for (role, token) in &door.tokens {
            let (status, body) = door.bearing(method, &path, token, &json!({})).await;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path} as {role}");
            assert_eq!(status == 403, *role < needed, "{method} {path} as {role}: {status} {body}");
        }
    }
}

#[tokio::test]
async fn every_command_has_a_role_of_its_own() {
    let door = Door::new().await;
    let path = format!("{BASE}/commands");
    for kind in CommandKind::ALL {
        for (role, token) in &door.tokens {
            // a field that no command has: what may be asked is refused for it, or never seen
            let body = json!({"command_type": kind.as_str(), "nonsense": 1});
            let (status, body) = door.bearing("POST", &path, token, &body).await;
            let expected = if *role < kind.needs() { 403 } else { 422 };
            assert_eq!(status, expected, "{kind:?} as {role}: {body}");
        }
    }
}

#[tokio::test]
async fn what_is_no_token_opens_nothing() {
    let door = Door::new().await;
    let admin = &door.tokens[3].1;
    let path = format!("{BASE}/status");
    for header in
        ["", "Bearer", "Bearer x", "Basic YWRtaW46YWRtaW4=", admin, "Bearer eyJhbGciOiJub25lIn0.e30."]
    {
        let (status, body) = door.ask("GET", &path, &[("authorization", header)], &json!({})).await;
        assert_eq!(status, 401, "{header:?}");
        assert!(!body.to_string().contains(admin), "{body}");
    }
    let good = format!("Bearer {admin}");
    let twice = [("authorization", good.as_str()), ("authorization", "Bearer x")];
    assert_eq!(door.ask("GET", &path, &twice, &json!({})).await.0, 401);
    // who guesses is put off; who shares the address is not
    let mut last = StatusCode::OK;
    for _ in 0..30 {
        last = door.bearing("GET", &path, "flexcore_guess", &json!({})).await.0;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_ne!(door.bearing("GET", &path, admin, &json!({})).await.0, 429);
    // what does not exist is told to those who may look
    assert_eq!(door.ask("GET", "/nope", &[], &json!({})).await.0, 401);
    assert_eq!(door.bearing("GET", "/nope", admin, &json!({})).await.0, 404);
}

#[tokio::test]
async fn a_token_is_made_shown_once_listed_and_revoked() {
    let door = Door::new().await;
    let admin = door.tokens[3].1.clone();
    let path = format!("{BASE}/tokens");
    let key = ("idempotency-key", "0198c0de-0000-7000-8000-0000000000aa");
    let auth = format!("Bearer {admin}");
    let headers = [("authorization", auth.as_str()), key];
    let (status, made) = door.ask("POST", &path, &headers, &json!({"role": "viewer", "expires": "1h"})).await;
    assert_eq!(status, 201, "{made}");
    let (token, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!((&made["role"], made["expires_at"].is_string()), (&json!("viewer"), true));
    let (again, refused) =
        door.ask("POST", &path, &headers, &json!({"role": "viewer", "expires": "1h"})).await;
    assert_eq!(again, 409, "{refused}");
    let (status, all) = door.bearing("GET", &format!("{path}?limit=1000"), &admin, &json!({})).await;
    assert_eq!((status, all["items"].as_array().unwrap().len()), (StatusCode::OK, 5));
    assert!(!all.to_string().contains(token) && !all.to_string().contains("hash"), "{all}");
    let created_by = all["items"][4]["created_by"].as_str().or(all["items"][0]["created_by"].as_str());
    assert!(created_by.is_some_and(|by| by.starts_with("token:") || by == "test"));
    let (status, page) = door.bearing("GET", &format!("{path}?limit=2"), &admin, &json!({})).await;
    assert_eq!((status, page["items"].as_array().unwrap().len()), (StatusCode::OK, 2));
    let next = page["next_cursor"].as_str().unwrap();
    let (_, rest) = door.bearing("GET", &format!("{path}?cursor={next}"), &admin, &json!({})).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (3, &Value::Null));
    assert_ne!(door.bearing("GET", &format!("{BASE}/status"), token, &json!({})).await.0, 401);
    let (status, _) = door.bearing("DELETE", &format!("{path}/{id}"), &admin, &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(door.bearing("GET", &format!("{BASE}/status"), token, &json!({})).await.0, 401, "at once");
    let (status, _) = door.bearing("DELETE", &format!("{path}?id={id}"), &admin, &json!({})).await;
    assert_eq!(status, 200, "again");
    for (method, query, body, expected) in [
        ("DELETE", "?id=nope", json!({}), 404),
        ("DELETE", "", json!({}), 400),
        ("POST", "", json!({"role": "root"}), 422),
        ("POST", "", json!({}), 422),
        ("POST", "", json!({"role": "viewer", "expires": "0s"}), 422),
        ("POST", "", json!({"role": "viewer", "scope": "x"}), 422),
        ("GET", "?cursor=x", json!({}), 400),
    ] {
        let (status, answer) = door.bearing(method, &format!("{path}{query}"), &admin, &body).await;
        assert_eq!(status, expected, "{method} {query} {body}: {answer}");
    }
    assert_eq!(door.access.list_all().await.unwrap().len(), 5);
}
