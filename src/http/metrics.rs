//! Figures for Prometheus: requests, counted as they are answered, and the node's own, read when asked. Labels come
//! from the table of routes and other closed sets, never from a request, so that their number is bounded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flexcore_actors::runtime::views::{NodeMetrics, NodeStatus, ProjectionView};
use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::table::Route;

/// What the answer's `Content-Type` says.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The gateway's figures.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    connections: Gauge,
    ready: Gauge,
    dependencies: Family<DependencyLabels, Gauge>,
    projections: Vec<(ProjectionReading, Family<ProjectionLabels, Gauge>)>,
    counters: Vec<(Reading, Counter)>,
    gauges: Vec<(Reading, Gauge<u64, AtomicU64>)>,
}

/// Takes one figure out of the node's.
type Reading = fn(&NodeMetrics) -> u64;
/// Name, help text, value.
type Figure = (&'static str, &'static str, Reading);

const COUNTERS: &[Figure] = &[
    ("executions_completed", "Executions completed", |m| m.executions_completed),
    ("executions_failed", "Executions failed", |m| m.executions_failed),
    ("executions_cancelled", "Executions cancelled", |m| m.executions_cancelled),
    ("programs_started", "Programs started", |m| m.programs_started),
    ("events_appended", "Events stored", |m| m.events_appended),
    ("commits", "Group commits", |m| m.commits),
    ("relayed_records", "Records relayed by attempts that have ended", |m| m.records),
    ("relayed_bytes", "Bytes relayed by attempts that have ended", |m| m.bytes),
    ("actor_restarts", "Actors restarted by their supervisors", |m| m.actor_restarts),
    ("integrity_seals", "Checkpoints this node made", |m| m.seals),
    ("integrity_failures", "Attempts to seal or to copy a checkpoint outside that failed", |m| {
        m.seal_failures
    }),
    ("snapshots_saved", "Snapshots of aggregates saved", |m| m.snapshots_saved),
    ("snapshots_failed", "Snapshots that could not be saved", |m| m.snapshots_failed),
    ("snapshots_ignored", "Snapshots that could not be used", |m| m.snapshots_ignored),
];

const GAUGES: &[Figure] = &[
    ("actors", "Actors alive", |m| m.actors),
    ("executions_running", "Executions that run on this node", |m| m.executions_running),
    ("position", "Position of the last event this node stored", |m| m.position),
    ("integrity_sealed_size", "Events that the latest checkpoint covers", |m| m.sealed_size),
    ("integrity_unsealed_events", "Events that no checkpoint covers yet", |m| m.unsealed_events),
    ("integrity_published_size", "Events that the latest copy of a checkpoint covers", |m| m.published_size),
    ("integrity_alarm", "1 while the log contradicts what was sealed before", |m| m.integrity_alarm),
];

/// Takes one figure out of a projection's.
type ProjectionReading = fn(&ProjectionView) -> u64;

const PROJECTIONS: &[(&str, &str, ProjectionReading)] = &[
    ("projection_position", "Position that a read model reflects", |p| p.position.0),
    ("projection_generation", "Generation of the rows that a read model shows", |p| p.generation.into()),
    ("projection_lag_events", "Events that a read model does not reflect yet", |p| p.lag),
    ("projection_lag_milliseconds", "Age of what a read model reflects, while there is more", |p| p.lag_ms),
    ("projection_parked_events", "Events left out of what a read model shows", |p| p.parked),
];

impl Metrics {
    /// All of them at zero.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("flexcore");
        let requests = Family::<RequestLabels, Histogram, fn() -> Histogram>::new_with_constructor(latency);
        let help = "Time from a request's head to its answer's head";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, requests.clone());
        let connections = Gauge::default();
        registry.register("http_connections", "HTTP connections open", connections.clone());
        let ready = Gauge::default();
        registry.register("ready", "Whether the node takes new work", ready.clone());
        let dependencies = Family::<DependencyLabels, Gauge>::default();
        registry.register("dependency_up", "Whether a dependency answers", dependencies.clone());
        let mut counters = Vec::new();
        for (name, help, read) in COUNTERS {
            let counter = Counter::default();
            registry.register(*name, *help, counter.clone());
            counters.push((*read, counter));
        }
        let mut gauges = Vec::new();
        for (name, help, read) in GAUGES {
            let gauge = Gauge::<u64, AtomicU64>::default();
            registry.register(*name, *help, gauge.clone());
            gauges.push((*read, gauge));
        }
        let mut projections = Vec::new();
        for (name, help, read) in PROJECTIONS {
            let family = Family::<ProjectionLabels, Gauge>::default();
            registry.register(*name, *help, family.clone());
            projections.push((*read, family));
        }
        Self { registry, requests, connections, ready, dependencies, projections, counters, gauges }
    }

    /// Counts an answer.
    pub(super) fn answered(&self, route: Option<&'static Route>, status: StatusCode, took: Duration) {
        let (method, route) = route.map_or(("other", "unmatched"), |route| (route.method, route.path));
        let labels = RequestLabels { method, route, status: status.as_u16() };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connection(&self) -> ConnectionGuard {
        self.connections.inc();
        ConnectionGuard(self.connections.clone())
    }

    /// The text of all figures, with the node's own as they are now.
    pub(super) fn render(&self, status: &NodeStatus) -> String {
        self.ready.set(status.ready.into());
        for (name, dependency) in &status.dependencies {
            let labels = DependencyLabels { dependency: name };
            self.dependencies.get_or_create(&labels).set((dependency.status == "up").into());
        }
        for projection in &status.projections {
            let labels = ProjectionLabels { projection: projection.name };
            for (read, family) in &self.projections {
                let value = i64::try_from(read(projection)).unwrap_or(i64::MAX);
                family.get_or_create(&labels).set(value);
            }
        }
        for (read, counter) in &self.counters {
            counter.inner().store(read(&status.metrics), Ordering::Relaxed);
        }
        for (read, gauge) in &self.gauges {
            gauge.set(read(&status.metrics));
        }
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("a String takes everything");
        out
    }
}

/// An open connection.
pub(super) struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DependencyLabels {
    dependency: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProjectionLabels {
    projection: &'static str,
}

/// From 0.25 ms to about 30 s: an append takes a few milliseconds, a waiting `/execute` seconds.
fn latency() -> Histogram {
    Histogram::new([
        0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
    ])
}

#[cfg(test)]
mod tests {
    use flexcore_actors::domain::ids::Position;
    use std::collections::BTreeMap;

    use flexcore_actors::runtime::views::DependencyView;

    use super::*;
    use crate::http::table::{Match, find};

    #[test]
    fn figures_are_rendered() {
        let metrics = Metrics::new();
        let Match::Route(route) = find(&http::Method::GET, "/api/v1/flexcore/pipelines/p") else {
            panic!("no route")
        };
        metrics.answered(Some(route), StatusCode::OK, Duration::from_millis(3));
        metrics.answered(None, StatusCode::NOT_FOUND, Duration::from_millis(1));
        let guard = metrics.connection();
        let down = DependencyView { status: "down", latency_ms: 1.0, error: None };
        let status = NodeStatus {
            service: "flexcore",
            version: "0",
            node: "n".into(),
            incarnation: "i".into(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            ready: true,
            dependencies: BTreeMap::from([("event_store", down)]),
            metrics: NodeMetrics { events_appended: 42, actors: 7, ..NodeMetrics::default() },
            projections: vec![ProjectionView {
                name: "executions",
                status: "live",
                position: Position(40),
                lag: 2,
                lag_ms: 9,
                generation: 1,
                rebuild: None,
                events: 40,
                parked: 0,
            }],
        };
        let text = metrics.render(&status);
        for line in [
            "flexcore_events_appended_total 42",
            "flexcore_actors 7",
            "flexcore_projection_lag_events{projection=\"executions\"} 2",
            "flexcore_ready 1",
            "flexcore_dependency_up{dependency=\"event_store\"} 0",
            "flexcore_http_connections 1",
            "flexcore_http_request_duration_seconds_count{method=\"GET\",route=\"/api/v1/flexcore/pipelines/{name}\",status=\"200\"} 1",
            "flexcore_http_request_duration_seconds_count{method=\"other\",route=\"unmatched\",status=\"404\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        drop(guard);
        assert!(metrics.render(&status).contains("flexcore_http_connections 0"));
    }
}
