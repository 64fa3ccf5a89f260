//! One request as the handlers see it: who asks, what ties it together, and the headers of the contract read once
//! and strictly. Nothing here touches a body or the node.

use std::net::IpAddr;
use std::sync::OnceLock;

use flexcore_actors::domain::access::Role;
use flexcore_actors::domain::audit::{AuditEvent, RequestAccepted, RequestRefused};
use flexcore_actors::domain::ids::{CommandId, CorrelationId, StreamId, Version};
use flexcore_actors::runtime::api::{Accepted, CommandKind, Context};
use http::header::{ACCEPT, HeaderMap, HeaderValue, IF_MATCH};
use http::request::Parts;
use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::access::Identity;

use super::limits::{MAX_AUDITED, MAX_CORRELATION, MAX_IDEMPOTENCY_KEY};
use super::problem::{Kind, Problem};
use super::query::Query;

/// The header that carries the correlation id, in and out.
pub(super) const CORRELATION: &str = "x-correlation-id";
/// The header by which a repeated request is recognised.
pub(super) const IDEMPOTENCY: &str = "idempotency-key";

/// Correlation ids that are not UUIDs become version 5 UUIDs of this namespace, so that the same text is always the
/// same id.
const CORRELATION_SPACE: Uuid = Uuid::from_u128(0x6b1f_6a0e_57c3_4c55_9d2e_0b7a_3f58_c6d1);
/// The same for idempotency keys.
const COMMAND_SPACE: Uuid = Uuid::from_u128(0x2f7c_9b84_1d0a_4e0c_8f6b_94d1_5a2e_7c03);

/// What ties together everything that one request sets in motion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Correlation {
    /// As events carry it.
    pub id: CorrelationId,
    /// As the client wrote it, which is what it gets back.
    pub text: HeaderValue,
}

impl Correlation {
    /// A new one.
    pub(super) fn fresh() -> Self {
        let id = Uuid::now_v7();
        let text = HeaderValue::from_str(&id.to_string()).expect("a uuid is visible ASCII");
        Self { id: CorrelationId(id), text }
    }

    /// The client's own: a UUID is taken as it is, other visible ASCII has its own UUID.
    pub(super) fn of(field: &str, value: &[u8]) -> Result<Self, Problem> {
        let visible = value.iter().all(u8::is_ascii_graphic);
        let text = HeaderValue::from_bytes(value)
            .ok()
            .filter(|_| visible && (1..=MAX_CORRELATION).contains(&value.len()))
            .ok_or_else(|| {
                let message = format!("{field} is 1 to {MAX_CORRELATION} visible ASCII characters");
                Problem::parameter(field, message)
            })?;
        let id = Uuid::try_parse_ascii(value).unwrap_or_else(|_| Uuid::new_v5(&CORRELATION_SPACE, value));
        Ok(Self { id: CorrelationId(id), text })
    }

    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        headers
            .get(CORRELATION)
            .map_or_else(|| Ok(Self::fresh()), |value| Self::of("X-Correlation-ID", value.as_bytes()))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        self.text.to_str().unwrap_or_default()
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query parameters.
    pub query: Query,
    /// Its headers.
    pub headers: HeaderMap,
    /// What ties it together.
    pub correlation: Correlation,
    /// Where it comes from.
    pub peer: IpAddr,
    /// Cancelled when the node shuts down: what waits or streams ends then.
    pub shutdown: CancellationToken,
    /// What its command did, when it was one and was accepted.
    done: OnceLock<Done>,
    /// Who sends it, once that is known.
    identity: OnceLock<Identity>,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    kind: CommandKind,
    stream: Option<StreamId>,
    /// Whether events tell of it.
    recorded: bool,
}

impl Call {
    /// Reads a request's head. A correlation id that cannot be used is replaced, and the problem handed back.
    pub(super) fn read(parts: &Parts, peer: IpAddr, shutdown: CancellationToken) -> (Self, Option<Problem>) {
        let (correlation, problem) = match Correlation::read(&parts.headers) {
            Ok(correlation) => (correlation, None),
            Err(problem) => (Correlation::fresh(), Some(problem)),
        };
        let call = Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: Query::read(parts.uri.query()),
            headers: parts.headers.clone(),
            correlation,
            peer,
            shutdown,
            done: OnceLock::new(),
            identity: OnceLock::new(),
        };
        (call, problem)
    }

    /// Who asks and how, for a command.
    pub(super) fn context(&self) -> Result<Context, Problem> {
        Ok(Context {
            actor: self.actor(),
            correlation_id: self.correlation.id,
            command_id: self.command_id()?,
            if_match: self.if_match()?,
        })
    }

    /// The request's command was accepted.
    pub(super) fn carried_out(&self, kind: CommandKind, accepted: &Accepted) {
        let stream = format!("{}-{}", kind.category().as_str(), accepted.aggregate_id).parse().ok();
        let done = Done { kind, stream, recorded: accepted.events_generated > 0 };
        self.done.set(done).unwrap_or_default(); // a request carries out one command
    }

    /// What the audit log keeps of it beside events; nothing when it only looked, or its own events tell. `reads` says
    /// that it could only look.
    pub(super) fn audited(&self, status: StatusCode, reads: bool) -> Option<AuditEvent> {
        let looks = matches!(self.method, Method::GET | Method::HEAD);
        let forbidden = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if forbidden || (!looks && status.is_client_error()) {
            return Some(self.refused(status).into());
        }
        let reads = looks || reads || matches!(self.query.flag("dry_run"), Ok(true));
        if reads || !status.is_success() || self.done.get().is_some_and(|done| done.recorded) {
            return None;
        }
        Some(self.accepted(status).into())
    }

    fn refused(&self, status: StatusCode) -> RequestRefused {
        RequestRefused {
            address: self.peer.to_string(),
            actor: self.actor(),
            method: self.method.to_string().chars().take(MAX_AUDITED).collect(),
            path: self.path.chars().take(MAX_AUDITED).collect(),
            status: status.as_u16(),
            correlation_id: self.correlation.id,
            count: 1,
        }
    }

    fn accepted(&self, status: StatusCode) -> RequestAccepted {
        let action = match self.done.get() {
            Some(done) => done.kind.as_str().to_owned(),
            None => format!("{} {}", self.method, self.path).chars().take(MAX_AUDITED).collect(),
        };
        RequestAccepted {
            address: self.peer.to_string(),
            actor: self.actor(),
            action,
            stream: self.done.get().and_then(|done| done.stream.clone()),
            status: status.as_u16(),
            correlation_id: self.correlation.id,
            count: 1,
        }
    }

    /// It is known who sends the request.
    pub(super) fn identified(&self, identity: Identity) {
        self.identity.set(identity).unwrap_or_default(); // a request is sent by one
    }

    /// Who sends it, as events and the audit log name them.
    pub(super) fn actor(&self) -> String {
        self.identity.get().map_or_else(|| format!("anonymous@{}", self.peer), |known| known.actor.clone())
    }

    /// Refuses who may not.
    pub(super) fn may(&self, needed: Role, what: &str) -> Result<(), Problem> {
        match self.identity.get().map(|known| known.role) {
            Some(role) if role >= needed => Ok(()),
            Some(role) => Err(Problem::new(
                Kind::Forbidden,
                format!("{what} needs the role {needed}, and the token has the role {role}"),
            )),
            None => Err(Problem::new(Kind::Unauthorized, "nobody knows who sends this request")),
        }
    }

    /// Whether the client prefers an answer before the end (`Prefer: respond-async`, RFC 7240).
    pub(super) fn prefers_async(&self) -> bool {
        let values = self.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("respond-async"))
    }

    /// Whether `Accept` names this media type itself; wildcards leave the choice to the route.
    pub(super) fn asks_for(&self, media_type: &str) -> bool {
        let values = self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next())
            .any(|name| name.trim().eq_ignore_ascii_case(media_type))
    }

    /// A key that is a UUID is the command's id; any other is a key for this method and path alone.
    fn command_id(&self) -> Result<Option<CommandId>, Problem> {
        let Some(value) = self.headers.get(IDEMPOTENCY) else { return Ok(None) };
        let key = value.as_bytes();
        if !(1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) || !key.iter().all(|b| (0x20..0x7f).contains(b)) {
            let message = format!("Idempotency-Key is 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters");
            return Err(Problem::parameter("Idempotency-Key", message));
        }
        let id = Uuid::try_parse_ascii(key).unwrap_or_else(|_| {
            let scope = format!("{} {}\n", self.method, self.path);
            Uuid::new_v5(&COMMAND_SPACE, &[scope.as_bytes(), key].concat())
        });
        Ok(Some(CommandId(id)))
    }

    /// `If-Match: "7"` is version 7, `*` is any; weak tags are refused, as they never match (RFC 9110).
    fn if_match(&self) -> Result<Option<Version>, Problem> {
        let mut values = self.headers.get_all(IF_MATCH).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" && values.next().is_none() {
            return Ok(None);
        }
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let version = quoted.and_then(|digits| digits.parse().ok()).filter(|_| values.next().is_none());
        version.map(|version| Some(Version(version))).ok_or_else(|| {
            Problem::parameter("If-Match", "If-Match is the ETag of the answer you read, such as \"7\", or *")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    pub(super) fn call(method: &str, path: &str, headers: &[(&str, &str)]) -> (Call, Option<Problem>) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        Call::read(&parts, Ipv4Addr::LOCALHOST.into(), CancellationToken::new())
    }

    fn command_id(method: &str, path: &str, key: &str) -> Uuid {
        call(method, path, &[(IDEMPOTENCY, key)]).0.context().unwrap().command_id.unwrap().0
    }

    #[test]
    fn a_correlation_id_is_kept_as_written() {
        let uuid = "0198c0de-0000-7000-8000-000000000001";
        let (known, _) = call("GET", "/", &[(CORRELATION, uuid)]);
        assert_eq!(known.correlation.id.to_string(), uuid);
        let (one, problem) = call("GET", "/", &[(CORRELATION, "order-17")]);
        assert_eq!((one.correlation.as_str(), problem), ("order-17", None));
        let (same, _) = call("GET", "/", &[(CORRELATION, "order-17")]);
        assert_eq!(one.correlation, same.correlation);
        let (other, _) = call("GET", "/", &[(CORRELATION, "order-18")]);
        assert_ne!(one.correlation.id, other.correlation.id);
        for bad in ["", "a b", &"x".repeat(129)] {
            let (call, problem) = call("GET", "/", &[(CORRELATION, bad)]);
            assert_eq!(problem.unwrap().status(), 400, "{bad}");
            assert_eq!(call.correlation.as_str(), call.correlation.id.to_string());
        }
    }

    #[test]
    fn an_idempotency_key_belongs_to_its_method_and_path() {
        let uuid = "0198c0de-0000-7000-8000-000000000002";
        assert_eq!(command_id("POST", "/a", uuid).to_string(), uuid);
        assert_eq!(command_id("POST", "/a", "k"), command_id("POST", "/a", "k"));
        assert_ne!(command_id("POST", "/a", "k"), command_id("POST", "/b", "k"));
        assert_ne!(command_id("POST", "/a", "k"), command_id("PUT", "/a", "k"));
        assert_eq!(call("POST", "/", &[]).0.context().unwrap().command_id, None);
        for bad in ["", &"x".repeat(256)] {
            assert_eq!(call("POST", "/", &[(IDEMPOTENCY, bad)]).0.context().unwrap_err().status(), 400);
        }
    }

    #[test]
    fn if_match_is_a_version() {
        let version = |text| call("PUT", "/", &[("if-match", text)]).0.context().map(|c| c.if_match);
        assert_eq!(version("\"7\"").unwrap(), Some(Version(7)));
        assert_eq!(version("*").unwrap(), None);
        for bad in ["7", "W/\"7\"", "\"a\"", "\"1\", \"2\"", ""] {
            assert_eq!(version(bad).unwrap_err().status(), 400, "{bad}");
        }
    }

    #[test]
    fn preferences_and_types_are_found_in_lists() {
        assert!(call("POST", "/", &[("prefer", "wait=5, Respond-Async")]).0.prefers_async());
        assert!(!call("POST", "/", &[("prefer", "wait=5")]).0.prefers_async());
        let (call, _) = call("GET", "/", &[("accept", "text/plain;q=0.5, application/x-ndjson")]);
        assert!(call.asks_for("application/x-ndjson") && !call.asks_for("text/event-stream"));
    }

    #[test]
    fn the_actor_is_the_peer() {
        assert_eq!(call("GET", "/", &[]).0.context().unwrap().actor, "anonymous@127.0.0.1");
    }

    #[test]
    fn the_audit_log_gets_what_no_event_tells() {
        let path = "/api/v1/flexcore/projections/audit/rebuild";
        let audited = |method: &str, path: &str, status: u16, reads| {
            call(method, path, &[]).0.audited(StatusCode::from_u16(status).unwrap(), reads)
        };
        assert!(matches!(audited("POST", path, 409, false), Some(AuditEvent::RequestRefused(_))));
        assert!(matches!(audited("GET", path, 403, false), Some(AuditEvent::RequestRefused(_))));
        let Some(AuditEvent::RequestAccepted(rebuild)) = audited("POST", path, 202, false) else { panic!() };
        assert_eq!((rebuild.action, rebuild.stream, rebuild.status), (format!("POST {path}"), None, 202));
        for (method, path, status, reads) in [
            ("GET", path, 200, false),
            ("GET", path, 404, false),
            ("HEAD", path, 200, false),
            ("POST", "/api/v1/flexcore/queries", 200, true),
            ("POST", "/api/v1/flexcore/pipelines?dry_run=true", 200, false),
            ("POST", path, 503, false),
        ] {
            assert_eq!(audited(method, path, status, reads), None, "{method} {path} {status}");
        }
    }

    #[test]
    fn a_command_is_audited_when_it_recorded_no_event() {
        let accepted = |events| Accepted {
            command_id: CommandId(Uuid::nil()),
            aggregate_id: "tap".to_owned(),
            version: Version(2),
            position: flexcore_actors::domain::ids::Position(2),
            events_generated: events,
            execution_id: None,
            warnings: flexcore_actors::domain::problem::Problems::default(),
        };
        let audited = |events| {
            let (call, _) = call("POST", "/api/v1/flexcore/commands", &[]);
            call.carried_out(CommandKind::EnablePlugin, &accepted(events));
            call.audited(StatusCode::OK, false)
        };
        assert_eq!(audited(1), None);
        let Some(AuditEvent::RequestAccepted(enabled)) = audited(0) else { panic!() };
        assert_eq!(
            (enabled.action.as_str(), enabled.actor.as_str()),
            ("EnablePlugin", "anonymous@127.0.0.1")
        );
        assert_eq!(enabled.stream.unwrap().as_str(), "plugin-tap");
    }
}
