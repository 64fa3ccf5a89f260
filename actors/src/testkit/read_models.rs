//! The promises of [`ReadModels`], one function each, run against every adapter by [`read_models_conformance!`].
//! Nothing here knows an adapter.
//!
//! [`read_models_conformance!`]: crate::read_models_conformance

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::domain::ids::{EventId, Position};
use crate::domain::projection::{Parked, Row, View};
use crate::ports::read_models::{
    Advance, Advanced, Generation, Progress, Projected, RowCursor, RowQuery, row,
};
use crate::ports::{BoxFuture, ReadModels};

/// Empty read models for one test.
pub trait ReadModelsFixture: Send + Sync + Sized {
    /// Makes them.
    fn open() -> BoxFuture<'static, Self>;

    /// The read models.
    fn read_models(&self) -> Arc<dyn ReadModels>;

    /// Removes them.
    fn close(self) -> BoxFuture<'static, ()>;
}

/// Runs every promise of read models as a test of its own against the given [`ReadModelsFixture`].
#[macro_export]
macro_rules! read_models_conformance {
    ($fixture:ty) => {
        $crate::read_models_conformance! { @each $fixture:
            a_projection_begins_at_nothing_and_is_remembered,
            rows_and_position_move_together,
            of_two_projectors_one_advances,
            rows_come_back_as_they_were_given,
            lists_are_filtered_by_every_tag_alone_and_together,
            lists_are_paged_in_the_order_of_the_view,
            lists_are_bounded_by_time,
            a_rebuild_is_not_seen_before_it_replaces,
            a_rebuild_that_lags_does_not_replace,
            a_rebuild_in_another_shape_is_given_up,
            a_reset_begins_anew,
            old_generations_are_swept_in_bounded_steps,
            lists_are_whole_while_generations_are_swapped_and_swept,
            what_is_left_out_is_named_as_long_as_its_generation_lives,
        }
    };
    (@each $fixture:ty: $($promise:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let fixture = <$fixture as $crate::testkit::read_models::ReadModelsFixture>::open().await;
            let models = $crate::testkit::read_models::ReadModelsFixture::read_models(&fixture);
            $crate::testkit::read_models::$promise(models).await;
            $crate::testkit::read_models::ReadModelsFixture::close(fixture).await;
        }
    )+};
}

type Models = Arc<dyn ReadModels>;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

fn event(position: u64) -> EventId {
    EventId(Uuid::from_u128(u128::from(position)))
}

/// A row of executions.
fn execution(key: &str, second: i64, pipeline: Option<&str>, status: &str) -> Row {
    let text = |text: &str| Some(text.to_owned());
    let kind = if pipeline.is_some() { "pipeline" } else { "plugin" };
    let plugin = if pipeline.is_some() { None } else { text("tap") };
    let tags = vec![pipeline.and_then(text), plugin, text(kind), text(status)];
    row(key.to_owned(), time(second), tags, Bytes::from(key.to_owned()))
}

/// A row of plugins.
fn plugin(key: &str, status: &str) -> Row {
    row(key.to_owned(), time(0), vec![Some(status.to_owned())], Bytes::from_static(b"\x80"))
}

fn step(view: View, from: Progress, to: u64, upserts: Vec<Row>, deletes: &[&str]) -> Advance {
    Advance {
        view,
        from,
        position: Position(to),
        last_event: event(to),
        upserts,
        deletes: deletes.iter().map(|&key| key.to_owned()).collect(),
        parked: Vec::new(),
    }
}

async fn advance(models: &Models, step: &Advance) {
    assert_eq!(models.advance(step).await.expect("advance"), Advanced::Yes);
}

async fn known(models: &Models, view: View) -> Projected {
    let all = models.projections().await.expect("projections");
    all.into_iter().find(|projected| projected.view == view).expect("it was opened")
}

fn all_of(view: View) -> RowQuery {
    RowQuery { view, tags: Vec::new(), from: None, to: None, after: None, limit: 1_000 }
}

async fn listed(models: &Models, query: &RowQuery) -> Vec<String> {
    let page = models.list(query).await.expect("list");
    page.rows.into_iter().map(|row| row.key).collect()
}

/// `open` makes a projection once, with the shape of the first.
pub async fn a_projection_begins_at_nothing_and_is_remembered(models: Models) {
    assert_eq!(models.projections().await.expect("projections"), []);
    let page = models.list(&all_of(View::Audit)).await.expect("list");
    assert_eq!((page.rows.len(), page.position), (0, Position(0)), "one that was never opened is empty");
    let live = Progress { generation: Generation(1), position: Position(0), last_event: None };
    let expected = Projected { view: View::Plugins, shape: 3, live, building: None, parked: 0 };
    assert_eq!(models.open(View::Plugins, 3).await.expect("open"), expected);
    assert_eq!(models.open(View::Plugins, 4).await.expect("open"), expected, "the shape is that of the rows");
    models.open(View::Audit, 1).await.expect("open");
    let views: Vec<View> = models.projections().await.expect("projections").iter().map(|p| p.view).collect();
    assert_eq!(views, [View::Audit, View::Plugins]);
}

/// `advance` stores, replaces and removes rows, and moves the position with them.
pub async fn rows_and_position_move_together(models: Models) {
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    let rows = vec![plugin("a", "enabled"), plugin("b", "enabled"), plugin("c", "enabled")];
    advance(&models, &step(View::Plugins, begin, 5, rows, &[])).await;
    let at = known(&models, View::Plugins).await.live;
    assert_eq!((at.generation, at.position, at.last_event), (begin.generation, Position(5), Some(event(5))));
    advance(&models, &step(View::Plugins, at, 9, vec![plugin("b", "retired")], &["a", "absent"])).await;
    let page = models.list(&all_of(View::Plugins)).await.expect("list");
    assert_eq!(page.rows, [plugin("b", "retired"), plugin("c", "enabled")]);
    assert_eq!(page.position, Position(9));
    let at = known(&models, View::Plugins).await.live;
    advance(&models, &step(View::Plugins, at, 12, Vec::new(), &[])).await;
    assert_eq!(known(&models, View::Plugins).await.live.position, Position(12), "also without rows");
}

/// Many projectors at the same position: exactly one advances, and nothing of the others is stored.
pub async fn of_two_projectors_one_advances(models: Models) {
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    let tries = (0..8).map(|n| {
        let models = Arc::clone(&models);
        let step = step(View::Plugins, begin, 10 + n, vec![plugin(&format!("p{n}"), "enabled")], &[]);
        tokio::spawn(async move { models.advance(&step).await.expect("advance") })
    });
    let outcomes = futures::future::join_all(tries).await;
    let won: Vec<usize> =
        (0..8).filter(|&n| matches!(outcomes[n].as_ref().expect("no panic"), Advanced::Yes)).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert_eq!(listed(&models, &all_of(View::Plugins)).await, [format!("p{}", won[0])]);
    assert_eq!(known(&models, View::Plugins).await.live.position, Position(10 + won[0] as u64));
    let elsewhere = Progress { generation: Generation(9), ..begin };
    let refused = models.advance(&step(View::Plugins, elsewhere, 99, Vec::new(), &[])).await;
    assert_eq!(refused.expect("advance"), Advanced::Superseded, "no such generation");
}

/// Every field of a row, found by key, by list and by load.
pub async fn rows_come_back_as_they_were_given(models: Models) {
    let begin = models.open(View::Executions, 1).await.expect("open").live;
    let mut large = execution("k'\"\\ä", 1, Some("p"), "failed");
    large.document = Bytes::from(vec![0xc1; 1 << 20]);
    large.indexed.at = time(1) + SignedDuration::from_micros(7);
    let rows = vec![large.clone(), execution("other", 2, None, "running")];
    advance(&models, &step(View::Executions, begin, 2, rows.clone(), &[])).await;
    assert_eq!(models.find(View::Executions, &large.key).await.expect("find").as_ref(), Some(&large));
    assert_eq!(models.find(View::Executions, "absent").await.expect("find"), None);
    assert_eq!(models.list(&all_of(View::Executions)).await.expect("list").rows, [rows[1].clone(), large]);
    let keys = ["other".to_owned(), "absent".to_owned()];
    let loaded = models.load(View::Executions, begin.generation, &keys).await.expect("load");
    assert_eq!(loaded, [rows[1].clone()]);
    assert_eq!(models.load(View::Executions, Generation(7), &keys).await.expect("load"), []);
}

/// Thirty executions of two pipelines and a plugin in three statuses, one a second, two at each second.
async fn many(models: &Models) -> Vec<Row> {
    let begin = models.open(View::Executions, 1).await.expect("open").live;
    let rows: Vec<Row> = (0..30_i64)
        .map(|n| {
            let pipeline = [Some("p"), Some("q"), None][usize::try_from(n % 3).expect("small")];
            let status =
                ["queued", "running", "failed", "failed"][usize::try_from(n / 3 % 4).expect("small")];
            execution(&format!("e{n:02}"), n / 2, pipeline, status)
        })
        .collect();
    advance(models, &step(View::Executions, begin, 30, rows.clone(), &[])).await;
    rows
}

/// Each filter alone and all of them together give what a scan gives.
pub async fn lists_are_filtered_by_every_tag_alone_and_together(models: Models) {
    let rows = many(&models).await;
    let names = ["pipeline", "plugin", "kind", "status"];
    let wanted = [["p", "tap", "plugin", "failed"], ["q", "absent", "pipeline", "paused"]];
    for chosen in 0..16_usize {
        for values in wanted {
            let tags: Vec<(&'static str, String)> =
                (0..4).filter(|n| chosen & (1 << n) != 0).map(|n| (names[n], values[n].to_owned())).collect();
            let admitted = |row: &&Row| {
                tags.iter().all(|(tag, value)| {
                    let place = names.iter().position(|name| name == tag).expect("one of them");
                    row.indexed.tags[place].as_ref() == Some(value)
                })
            };
            let mut expected: Vec<&Row> = rows.iter().filter(admitted).collect();
            expected.sort_by(|a, b| (b.indexed.at, &b.key).cmp(&(a.indexed.at, &a.key)));
            let expected: Vec<&str> = expected.iter().map(|row| row.key.as_str()).collect();
            let query = RowQuery { tags, ..all_of(View::Executions) };
            assert_eq!(listed(&models, &query).await, expected, "{query:?}");
        }
    }
}

/// Pages of every size put together are the whole list, in order, each row once.
pub async fn lists_are_paged_in_the_order_of_the_view(models: Models) {
    many(&models).await;
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    let names = ["a", "a-b", "a.b", "a0", "a_", "b"];
    let rows = names.iter().rev().map(|name| plugin(name, "enabled")).collect();
    advance(&models, &step(View::Plugins, begin, 6, rows, &[])).await;
    for view in [View::Executions, View::Plugins] {
        let whole = models.list(&all_of(view)).await.expect("list").rows;
        for limit in [1, 2, 7, 29, 30, 31] {
            let (mut found, mut query) = (Vec::new(), RowQuery { limit, ..all_of(view) });
            loop {
                let page = models.list(&query).await.expect("list").rows;
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                query.after = Some(RowCursor { at: last.indexed.at, key: last.key.clone() });
                found.extend(page);
            }
            assert_eq!(found, whole, "{view:?} by {limit}");
        }
    }
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(listed(&models, &all_of(View::Plugins)).await, sorted, "names compare byte by byte");
}

/// `from` is inclusive, `to` exclusive, also between microseconds.
pub async fn lists_are_bounded_by_time(models: Models) {
    let rows = many(&models).await;
    for bound in [time(7), time(7) + SignedDuration::from_nanos(1), time(-1), time(99)] {
        let later = RowQuery { from: Some(bound), ..all_of(View::Executions) };
        let earlier = RowQuery { to: Some(bound), ..all_of(View::Executions) };
        let (later, earlier) = (listed(&models, &later).await, listed(&models, &earlier).await);
        let expected: BTreeSet<&str> =
            rows.iter().filter(|row| row.indexed.at >= bound).map(|row| row.key.as_str()).collect();
        assert_eq!(later.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
        assert_eq!(later.len() + earlier.len(), rows.len(), "every row is on one side of {bound}");
    }
}

/// What is built beside is not listed; the swap is seen at once, with position and shape.
pub async fn a_rebuild_is_not_seen_before_it_replaces(models: Models) {
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    advance(&models, &step(View::Plugins, begin, 4, vec![plugin("old", "enabled")], &[])).await;
    let building = models.begin_rebuild(View::Plugins, 2).await.expect("begin").building.expect("building").0;
    assert_eq!((building.position, building.last_event), (Position(0), None));
    assert_ne!(building.generation, begin.generation);
    let again = models.begin_rebuild(View::Plugins, 2).await.expect("begin");
    assert_eq!(again.building, Some((building, 2)), "asked twice it is one");
    advance(&models, &step(View::Plugins, building, 5, vec![plugin("new", "enabled")], &[])).await;
    assert_eq!(listed(&models, &all_of(View::Plugins)).await, ["old"]);
    let live = known(&models, View::Plugins).await.live;
    advance(&models, &step(View::Plugins, live, 5, vec![plugin("late", "enabled")], &[])).await;
    let swapped = models.swap(View::Plugins, building.generation).await.expect("swap");
    assert_eq!(swapped, Advanced::Yes);
    assert_eq!(listed(&models, &all_of(View::Plugins)).await, ["new"]);
    let after = known(&models, View::Plugins).await;
    assert_eq!((after.shape, after.live.position, after.building), (2, Position(5), None));
    let stale = step(View::Plugins, Progress { position: Position(5), ..live }, 6, Vec::new(), &[]);
    let refused = models.advance(&stale).await.expect("advance");
    assert_eq!(refused, Advanced::Superseded, "the old generation is gone");
    let again = models.swap(View::Plugins, building.generation).await.expect("swap");
    assert_eq!(again, Advanced::Superseded);
}

/// A list never goes back: a generation behind the live one does not replace it.
pub async fn a_rebuild_that_lags_does_not_replace(models: Models) {
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    advance(&models, &step(View::Plugins, begin, 4, vec![plugin("old", "enabled")], &[])).await;
    let building = models.begin_rebuild(View::Plugins, 1).await.expect("begin").building.expect("building").0;
    advance(&models, &step(View::Plugins, building, 3, Vec::new(), &[])).await;
    let swapped = models.swap(View::Plugins, building.generation).await.expect("swap");
    assert_eq!(swapped, Advanced::Superseded);
    assert_eq!(listed(&models, &all_of(View::Plugins)).await, ["old"]);
}

/// A newer program's rebuild takes the place of an older one's, under a number that was never used.
pub async fn a_rebuild_in_another_shape_is_given_up(models: Models) {
    models.open(View::Plugins, 1).await.expect("open");
    let first = models.begin_rebuild(View::Plugins, 2).await.expect("begin").building.expect("building").0;
    advance(&models, &step(View::Plugins, first, 3, vec![plugin("first", "enabled")], &[])).await;
    let second = models.begin_rebuild(View::Plugins, 3).await.expect("begin").building.expect("building");
    assert_eq!((second.1, second.0.position), (3, Position(0)));
    assert!(second.0.generation > first.generation);
    let stale = step(View::Plugins, Progress { position: Position(3), ..first }, 4, Vec::new(), &[]);
    assert_eq!(models.advance(&stale).await.expect("advance"), Advanced::Superseded);
    assert_eq!(models.swap(View::Plugins, first.generation).await.expect("swap"), Advanced::Superseded);
}

/// After a reset there is nothing live and nothing being built, under a number that was never used.
pub async fn a_reset_begins_anew(models: Models) {
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    advance(&models, &step(View::Plugins, begin, 4, vec![plugin("old", "enabled")], &[])).await;
    let building = models.begin_rebuild(View::Plugins, 2).await.expect("begin").building.expect("building").0;
    let anew = models.reset(View::Plugins, 2).await.expect("reset");
    assert_eq!(
        (anew.shape, anew.live.position, anew.live.last_event, anew.building),
        (2, Position(0), None, None)
    );
    assert!(anew.live.generation > building.generation);
    assert_eq!(listed(&models, &all_of(View::Plugins)).await, Vec::<String>::new());
}

/// `sweep` removes old rows, never more than asked for at once, and nothing that is live or being built.
pub async fn old_generations_are_swept_in_bounded_steps(models: Models) {
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    let rows = |prefix: &str| (0..5).map(|n| plugin(&format!("{prefix}{n}"), "enabled")).collect::<Vec<_>>();
    advance(&models, &step(View::Plugins, begin, 5, rows("old"), &[])).await;
    assert_eq!(models.sweep(View::Plugins, 10).await.expect("sweep"), 0);
    let building = models.begin_rebuild(View::Plugins, 1).await.expect("begin").building.expect("building").0;
    advance(&models, &step(View::Plugins, building, 5, rows("new"), &[])).await;
    assert_eq!(models.sweep(View::Plugins, 10).await.expect("sweep"), 0);
    assert_eq!(models.swap(View::Plugins, building.generation).await.expect("swap"), Advanced::Yes);
    let mut removed = Vec::new();
    for _ in 0..4 {
        removed.push(models.sweep(View::Plugins, 2).await.expect("sweep"));
    }
    assert_eq!(removed, [2, 2, 1, 0]);
    assert_eq!(listed(&models, &all_of(View::Plugins)).await.len(), 5);
}

/// Parked events come with the rows, are counted and listed for the live generation alone, and go with it.
pub async fn what_is_left_out_is_named_as_long_as_its_generation_lives(models: Models) {
    let park = |from, to, positions: &[u64]| {
        let parked =
            |&position: &u64| Parked { position: Position(position), error: format!("no {position}") };
        Advance {
            parked: positions.iter().map(parked).collect(),
            ..step(View::Plugins, from, to, Vec::new(), &[])
        }
    };
    let left_out = async |view, after, limit| -> Vec<u64> {
        let events = models.parked(view, Position(after), limit).await.expect("parked");
        assert!(events.iter().all(|event| event.error == format!("no {}", event.position)), "{events:?}");
        events.iter().map(|event| event.position.0).collect()
    };
    let begin = models.open(View::Plugins, 1).await.expect("open");
    assert_eq!((begin.parked, left_out(View::Plugins, 0, 10).await), (0, vec![]));
    advance(&models, &park(begin.live, 9, &[2, 4, 7])).await;
    let known_then = known(&models, View::Plugins).await;
    assert_eq!((known_then.live.position, known_then.parked), (Position(9), 3));
    assert_eq!(models.open(View::Plugins, 1).await.expect("open"), known_then);
    assert_eq!(left_out(View::Plugins, 0, 2).await, [2, 4]);
    assert_eq!(left_out(View::Plugins, 4, 2).await, [7]);
    assert_eq!(left_out(View::Audit, 0, 10).await, Vec::<u64>::new(), "of this view alone");
    let refused = models.advance(&park(begin.live, 12, &[11])).await.expect("advance");
    assert_eq!(refused, Advanced::Superseded);
    assert_eq!(known(&models, View::Plugins).await.parked, 3, "what is not stored parks nothing");

    let building = models.begin_rebuild(View::Plugins, 1).await.expect("begin").building.expect("building").0;
    advance(&models, &park(building, 9, &[4])).await;
    assert_eq!(left_out(View::Plugins, 0, 10).await, [2, 4, 7], "what is built beside is not shown");
    assert_eq!(models.sweep(View::Plugins, 10).await.expect("sweep"), 0);
    assert_eq!(models.swap(View::Plugins, building.generation).await.expect("swap"), Advanced::Yes);
    assert_eq!(left_out(View::Plugins, 0, 10).await, [4]);
    assert_eq!(known(&models, View::Plugins).await.parked, 1);
    let mut swept = Vec::new();
    for _ in 0..3 {
        swept.push(models.sweep(View::Plugins, 2).await.expect("sweep"));
    }
    assert_eq!(swept, [2, 1, 0], "the three of the generation before, in bounded steps");
    assert_eq!(left_out(View::Plugins, 0, 10).await, [4]);
    assert_eq!(models.reset(View::Plugins, 1).await.expect("reset").parked, 0);
    assert_eq!(left_out(View::Plugins, 0, 10).await, Vec::<u64>::new());
}

/// While generations replace one another, every list is one whole generation.
pub async fn lists_are_whole_while_generations_are_swapped_and_swept(models: Models) {
    const ROWS: usize = 20;
    const ROUNDS: u64 = 15;
    let begin = models.open(View::Plugins, 1).await.expect("open").live;
    let rows = |round: u64| -> Vec<Row> {
        (0..ROWS).map(|n| plugin(&format!("r{round:03}-{n:02}"), "enabled")).collect()
    };
    advance(&models, &step(View::Plugins, begin, 1, rows(0), &[])).await;
    let reader = {
        let models = Arc::clone(&models);
        tokio::spawn(async move {
            let mut last = String::new();
            while !last.starts_with(&format!("r{ROUNDS:03}")) {
                let keys = listed(&models, &all_of(View::Plugins)).await;
                assert_eq!(keys.len(), ROWS, "{keys:?}");
                assert_eq!(keys[0][..4], keys[ROWS - 1][..4], "of one generation: {keys:?}");
                assert!(keys[0] >= last, "never back: {} after {last}", keys[0]);
                last.clone_from(&keys[0]);
            }
        })
    };
    for round in 1..=ROUNDS {
        let building =
            models.begin_rebuild(View::Plugins, 1).await.expect("begin").building.expect("building").0;
        advance(&models, &step(View::Plugins, building, 1, rows(round), &[])).await;
        assert_eq!(models.swap(View::Plugins, building.generation).await.expect("swap"), Advanced::Yes);
        models.sweep(View::Plugins, ROWS).await.expect("sweep");
    }
    let reading = tokio::time::timeout(std::time::Duration::from_secs(20), reader).await;
    reading.expect("the reader ends in time").expect("every list is whole");
}
