//! Lists and the projectors behind them: they follow, they are rebuilt while they are read, they survive what happens
//! to their store.

use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::domain::audit::{RequestAccepted, RequestRefused};
use flexcore_actors::domain::ids::{CorrelationId, Position};
use flexcore_actors::domain::projection::{Executions, Parked, Plugins, Projection, View};
use flexcore_actors::ports::ReadModels;
use flexcore_actors::ports::read_models::{Advance, Generation, Progress, row};
use flexcore_actors::runtime::api::{ApiError, AuditFilter, CommandKind, ExecutionFilter, PageRequest};
use flexcore_actors::runtime::views::ProjectionView;
use flexcore_actors::testkit::conformance::Writer;
use flexcore_actors::testkit::{MemoryReadModels, MemoryStore};
use serde_json::json;

use crate::world::{DEADLINE, World, plugin, step};

fn page(limit: usize) -> PageRequest {
    PageRequest { cursor: None, limit }
}

async fn reflects(world: &World, view: View, position: Position) {
    world.api.reflects(view, position, DEADLINE).await.unwrap();
}

async fn until(world: &World, name: &str, is: impl Fn(&ProjectionView) -> bool) -> ProjectionView {
    let began = std::time::Instant::now();
    loop {
        let all = world.api.projections();
        let view = all.into_iter().find(|view| view.name == name).unwrap();
        if is(&view) {
            return view;
        }
        assert!(began.elapsed() < DEADLINE, "{view:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn lists_show_what_single_reads_show() {
    let world = World::with_tap().await;
    let id = world.start(json!([step("a", json!([{"state": {"n": 1}}]))])).await;
    world.ended(id).await;
    world.until_last("pipeline-p", "PipelineCompleted").await;
    world.until_last("plugin-tap", "PluginExecutionCompleted").await;
    let one = world.api.execution(id).await.unwrap();
    let head = world.events().await.last().unwrap().position;
    for view in View::ALL {
        reflects(&world, *view, head).await;
    }
    let filter = ExecutionFilter { pipeline: Some("p".parse().unwrap()), ..ExecutionFilter::default() };
    let listed = world.api.executions(filter, page(10)).await.unwrap();
    assert_eq!(json!(listed.items), json!([one]));
    let listed = world.api.plugins(Some("enabled"), page(10)).await.unwrap();
    assert_eq!(json!(listed.items), json!([world.api.plugin(&"tap".parse().unwrap()).await.unwrap()]));
    let listed = world.api.pipelines(page(10)).await.unwrap();
    assert_eq!(json!(listed.items), json!([world.api.pipeline(&"p".parse().unwrap()).await.unwrap()]));
    let metrics = world.api.system_metrics().await.unwrap();
    assert_eq!((metrics.days[0].completed, metrics.hours[0].queued), (1, 1));
}

#[tokio::test]
async fn lists_wait_for_a_position_within_a_bound() {
    let world = World::with_tap().await;
    let accepted = world.ok(CommandKind::RegisterPlugin, "later", plugin("later", 1)).await;
    reflects(&world, View::Plugins, accepted.position).await;
    assert_eq!(world.api.plugins(None, page(10)).await.unwrap().items.len(), 2);
    let refused = world.api.reflects(View::Plugins, Position(9_999), Duration::from_millis(20)).await;
    let Err(ApiError::Unavailable { what, .. }) = refused else { panic!("{refused:?}") };
    assert!(what.contains("plugins") && what.contains("9999"), "{what}");
}

#[tokio::test]
async fn requests_are_audited_accepted_and_refused() {
    let world = World::with_tap().await;
    for status in [409, 409, 422] {
        world.api.audited(RequestRefused {
            address: "10.0.0.7".to_owned(),
            actor: "bob".to_owned(),
            method: "POST".to_owned(),
            path: "/x".to_owned(),
            status,
            correlation_id: CorrelationId(uuid::Uuid::nil()),
            count: 1,
        });
    }
    let began = std::time::Instant::now();
    let refused = loop {
        let filter = AuditFilter { outcome: Some("refused".to_owned()), ..AuditFilter::default() };
        let refused = world.api.audit(filter, page(10)).await.unwrap().items;
        if refused.len() == 2 {
            break refused;
        }
        assert!(began.elapsed() < DEADLINE, "{refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut told: Vec<_> = refused.iter().map(|entry| (entry.status, entry.count)).collect();
    told.sort_unstable();
    assert_eq!(told, [(Some(409), 2), (Some(422), 1)]);
    let by_tester = AuditFilter { actor: Some("tester".to_owned()), ..AuditFilter::default() };
    let accepted = world.api.audit(by_tester, page(10)).await.unwrap().items;
    assert_eq!(accepted.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(), ["RegisterPlugin"]);
    assert_eq!(accepted[0].events.len(), 2, "{accepted:?}");

    world.api.audited(RequestAccepted {
        address: "10.0.0.7".to_owned(),
        actor: "ann".to_owned(),
        action: "EnablePlugin".to_owned(),
        stream: "plugin-tap".parse().ok(),
        status: 200,
        correlation_id: CorrelationId(uuid::Uuid::nil()),
        count: 1,
    });
    let by_ann = AuditFilter { actor: Some("ann".to_owned()), ..AuditFilter::default() };
    let unchanged = loop {
        if let Some(entry) = world.api.audit(by_ann.clone(), page(10)).await.unwrap().items.pop() {
            break entry;
        }
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((unchanged.outcome.as_str(), unchanged.action.as_str()), ("accepted", "EnablePlugin"));
    assert_eq!((unchanged.status, unchanged.events.len()), (Some(200), 0));
    assert_eq!(unchanged.aggregate_id.unwrap().as_str(), "plugin-tap");
}

#[tokio::test]
async fn what_was_refused_last_is_recorded_before_the_node_ends() {
    let world = World::with_tap().await;
    let store = Arc::clone(&world.store);
    world.api.audited(RequestRefused {
        address: "::1".to_owned(),
        actor: "bob".to_owned(),
        method: "DELETE".to_owned(),
        path: "/y".to_owned(),
        status: 404,
        correlation_id: CorrelationId(uuid::Uuid::nil()),
        count: 1,
    });
    world.node.shutdown(DEADLINE).await;
    let again = World::on(store).await;
    let log = again.events().await;
    assert_eq!(log.iter().filter(|event| event.kind == "RequestRefused").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_answer_while_their_model_is_rebuilt_under_load() {
    let world = Arc::new(World::with_tap().await);
    for n in 0..50 {
        world.ok(CommandKind::RegisterPlugin, &format!("q{n:02}"), plugin(&format!("q{n:02}"), 1)).await;
    }
    let registered = world.events().await.last().unwrap().position;
    reflects(&world, View::Plugins, registered).await;
    let writer = {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            for n in 0..200 {
                let kind = if n % 2 == 0 { CommandKind::DisablePlugin } else { CommandKind::EnablePlugin };
                world.ok(kind, &format!("q{:02}", n / 2 % 50), json!({})).await;
            }
        })
    };
    let (mut rebuilds, mut last) = (0, Position(0));
    while !writer.is_finished() || rebuilds < 3 {
        let before = world.api.rebuild("plugins").await.unwrap();
        assert_eq!(before.status, "rebuilding");
        while world.api.projections()[1].generation == before.generation {
            let listed = world.api.plugins(None, page(100)).await.unwrap();
            assert_eq!(listed.items.len(), 51, "never a part of them");
            assert!(listed.position >= last, "never back");
            last = listed.position;
            tokio::task::yield_now().await;
        }
        rebuilds += 1;
    }
    writer.await.unwrap();
    let head = world.events().await.last().unwrap().position;
    reflects(&world, View::Plugins, head).await;
    let listed = world.api.plugins(Some("enabled"), page(100)).await.unwrap();
    assert_eq!(listed.items.len(), 51, "each was enabled again last");
    assert!(matches!(world.api.rebuild("nope").await, Err(ApiError::NotFound { .. })));
}

/// A store with something in it, and the position of its last event.
async fn prepared() -> (Arc<MemoryStore>, Position) {
    let world = World::with_tap().await;
    let head = world.events().await.last().unwrap().position;
    let store = Arc::clone(&world.store);
    world.node.shutdown(DEADLINE).await;
    (store, head)
}

async fn claim(models: &MemoryReadModels, view: View, shape: u32, position: u64, keys: &[&str]) {
    let known = models.open(view, shape).await.unwrap();
    let tags = vec![None; view.tags().len()];
    let rows = keys.iter().map(|key| {
        row((*key).to_owned(), jiff::Timestamp::UNIX_EPOCH, tags.clone(), bytes::Bytes::from_static(b"\x01"))
    });
    let advance = Advance {
        view,
        from: known.live,
        position: Position(position),
        last_event: flexcore_actors::domain::ids::EventId(uuid::Uuid::from_u128(9)),
        upserts: rows.collect(),
        deletes: Vec::new(),
        parked: Vec::new(),
    };
    models.advance(&advance).await.unwrap();
}

async fn world_on(store: Arc<MemoryStore>, models: &Arc<MemoryReadModels>) -> World {
    World::with_models(store, Arc::clone(models) as _).await
}

#[tokio::test]
async fn rows_of_another_history_are_begun_anew() {
    let models = Arc::new(MemoryReadModels::default());
    let (store, head) = prepared().await;
    // ahead of the log, and at a position where the log holds another event
    claim(&models, View::Plugins, Plugins::SHAPE, 500, &["ghost"]).await;
    claim(&models, View::Executions, Executions::SHAPE, 1, &["ghost"]).await;
    let world = world_on(store, &models).await;
    for name in ["plugins", "executions"] {
        until(&world, name, |view| view.generation == 2 && view.position >= head).await;
    }
    let listed = world.api.plugins(None, page(10)).await.unwrap();
    assert_eq!(listed.items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["tap"]);
}

#[tokio::test]
async fn rows_of_an_earlier_shape_are_rebuilt_by_themselves() {
    let models = Arc::new(MemoryReadModels::default());
    let (store, head) = prepared().await;
    models.open(View::Plugins, Plugins::SHAPE - 1).await.unwrap();
    let world = world_on(store, &models).await;
    let view = until(&world, "plugins", |view| view.generation == 2).await;
    assert!(view.position >= head && view.status == "live", "{view:?}");
    assert_eq!(models.open(View::Plugins, 0).await.unwrap().shape, Plugins::SHAPE);
}

#[tokio::test]
async fn rows_of_a_later_shape_are_left_alone() {
    let models = Arc::new(MemoryReadModels::default());
    let (store, _) = prepared().await;
    let later = models.open(View::Plugins, Plugins::SHAPE + 1).await.unwrap();
    let world = world_on(store, &models).await;
    let view = until(&world, "plugins", |view| view.status == "waiting").await;
    assert_eq!((view.position, view.generation), (Position(0), 1));
    until(&world, "executions", |view| view.lag == 0).await;
    assert_eq!(models.open(View::Plugins, 0).await.unwrap(), later);
    let unchanged = Progress { generation: Generation(1), position: Position(0), last_event: None };
    assert_eq!(later.live, unchanged);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_costs_a_rebuild_and_no_answer_for_ever() {
    let models = Arc::new(MemoryReadModels::default());
    let (store, head) = prepared().await;
    let first = store_event(&store, 1).await;
    let known = models.open(View::Plugins, Plugins::SHAPE).await.unwrap();
    let broken =
        row("tap".to_owned(), jiff::Timestamp::UNIX_EPOCH, vec![None], bytes::Bytes::from_static(b"\x01"));
    let advance = Advance {
        view: View::Plugins,
        from: known.live,
        position: Position(1),
        last_event: first,
        upserts: vec![broken],
        deletes: Vec::new(),
        parked: Vec::new(),
    };
    models.advance(&advance).await.unwrap();
    let world = world_on(store, &models).await;
    until(&world, "plugins", |view| view.generation == 2 && view.position >= head).await;
    assert_eq!(world.api.plugins(None, page(10)).await.unwrap().items.len(), 1);
}

/// An event whose payload is no payload, in a stream of a plugin that nobody asks for.
async fn poison(store: &Arc<MemoryStore>) -> Position {
    let writer = Writer::claim_as(Arc::clone(store) as _, "node-of-before").await;
    let mut unit = writer.unit(&"plugin-ghost".parse().unwrap(), 0, 1);
    unit.streams[0].events[0].kind = "PluginRegistered";
    unit.streams[0].events[0].payload = bytes::Bytes::from_static(b"\xc1");
    writer.commit(&unit).await.position
}

#[tokio::test]
async fn an_event_that_cannot_be_folded_is_parked_and_stops_nothing() {
    let models = Arc::new(MemoryReadModels::default());
    let (store, _) = prepared().await;
    let poisoned = poison(&store).await;
    let world = world_on(Arc::clone(&store), &models).await;
    let later = world.ok(CommandKind::RegisterPlugin, "later", plugin("later", 1)).await.position;
    assert!(later > poisoned);
    let view = until(&world, "plugins", |view| view.position >= later).await;
    assert_eq!(view.parked, 1);
    let parked = world.api.left_out("plugins", Position(0), 10).await.unwrap();
    assert_eq!(parked.items.iter().map(|event| event.position).collect::<Vec<_>>(), [poisoned]);
    assert!(!parked.items[0].error.is_empty());
    assert!(world.api.left_out("plugins", poisoned, 10).await.unwrap().items.is_empty());
    assert!(world.api.left_out("executions", Position(0), 10).await.unwrap().items.is_empty());
    assert!(matches!(
        world.api.left_out("nope", Position(0), 10).await,
        Err(ApiError::NotFound { kind: "projection", .. })
    ));
    assert_eq!(world.api.plugins(None, page(10)).await.unwrap().items.len(), 2);
    // a rebuild tries it again, and parks it again; another life of the node knows it too
    world.api.rebuild("plugins").await.unwrap();
    let view = until(&world, "plugins", |view| view.generation == 2 && view.status == "live").await;
    assert_eq!(view.parked, 1);
    world.node.shutdown(DEADLINE).await;
    let again = world_on(store, &models).await;
    until(&again, "plugins", |view| view.generation == 2 && view.parked == 1).await;
}

/// What an earlier program could not fold is folded by the rebuild of one that can.
#[tokio::test]
async fn a_rebuild_takes_in_what_was_parked() {
    let models = Arc::new(MemoryReadModels::default());
    let (store, head) = prepared().await;
    let known = models.open(View::Plugins, Plugins::SHAPE).await.unwrap();
    let advance = Advance {
        view: View::Plugins,
        from: known.live,
        position: head,
        last_event: store_event(&store, head.0).await,
        upserts: Vec::new(),
        deletes: Vec::new(),
        parked: vec![Parked { position: Position(1), error: "the program was older".to_owned() }],
    };
    models.advance(&advance).await.unwrap();
    let world = world_on(store, &models).await;
    until(&world, "plugins", |view| view.position >= head && view.parked == 1).await;
    assert!(world.api.plugins(None, page(10)).await.unwrap().items.is_empty());
    world.api.rebuild("plugins").await.unwrap();
    until(&world, "plugins", |view| view.generation == 2 && view.status == "live" && view.parked == 0).await;
    assert!(world.api.left_out("plugins", Position(0), 10).await.unwrap().items.is_empty());
    assert_eq!(world.api.plugins(None, page(10)).await.unwrap().items.len(), 1);
}

async fn store_event(store: &MemoryStore, position: u64) -> flexcore_actors::domain::ids::EventId {
    use flexcore_actors::ports::EventStore;
    let filter = flexcore_actors::ports::event_store::EventFilter::default();
    store.read_all(Position(position - 1), 1, &filter).await.unwrap()[0].id
}
