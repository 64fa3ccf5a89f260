//! Lost connections, lost answers, held locks: nothing is stored twice, nothing acknowledged is lost, and every
//! error says rightly whether it is certain that nothing was stored.

use std::sync::Arc;
use std::time::Duration;

use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::EventStore;
use flexcore_actors::ports::event_store::{AppendOutcome, Committed, EventFilter, StoreError};
use flexcore_actors::runtime::subscription::Log;
use flexcore_actors::testkit::conformance::{Writer, pipeline};
use flexcore_test_support::{PostgresProxy, TestDatabase};
use tokio_postgres::Client;

use super::store;

/// The backend of the writing connection, which is the one whose last statement was an append or what follows one.
const WRITER: &str = "from pg_stat_activity where datname = current_database() \
                      and query ~ 'flexcore_(append|add_partitions)' \
                      and pid <> pg_backend_pid()";

/// The writing connection is ended by an operator: the next append connects again and is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writing_connection_is_made_again() {
    let database = TestDatabase::create().await;
    let writer = Writer::claim_as(Arc::new(store(&database).await), "node-a").await;
    let stream = pipeline("killed");
    let operator = database.connect().await;
    for n in 0..3 {
        writer.commit(&writer.unit(&stream, n, 1)).await;
        let killed = operator.query(&format!("select pg_terminate_backend(pid, 10000) {WRITER}"), &[]).await;
        assert_eq!(killed.unwrap().len(), 1, "the store writes on one connection");
    }
    let unit = writer.unit(&stream, 3, 1);
    let outcome = match writer.append_all(std::slice::from_ref(&unit)).await {
        // the end of the connection was noticed only by using it: sent again, as the committer does
        Err(StoreError::Unknown { .. }) => writer.append(&unit).await,
        answered => answered.unwrap().remove(0),
    };
    assert!(matches!(outcome, AppendOutcome::Committed(_)), "{outcome:?}");
    assert_eq!(writer.stream(&stream).await.len(), 4);
}

/// The commit happened but its answer was lost: the outcome is unknown, and the identical batch sent again is
/// answered as a duplicate with the first outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_resolved_by_sending_again() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::start(&database.config(), "flexcore_append").await;
    let store = PostgresStore::connect_with(proxy.config()).await.unwrap();
    let writer = Writer::claim_as(Arc::new(store), "node-a").await;
    let (a, b) = (pipeline("a"), pipeline("b"));
    writer.commit(&writer.unit(&a, 0, 1)).await;

    let batch = [writer.unit(&a, 1, 2), writer.unit(&b, 0, 1)];
    proxy.lose_next_answer();
    let error = writer.append_all(&batch).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }) && !error.certainly_not_stored(), "{error:?}");

    let outcomes = writer.append_all(&batch).await.unwrap();
    let positions: Vec<Position> = outcomes.iter().map(|outcome| duplicate(outcome).position).collect();
    assert_eq!(positions, [Position(3), Position(4)]);
    assert_eq!(writer.log().await.len(), 4, "nothing is stored twice");
}

fn duplicate(outcome: &AppendOutcome) -> &Committed {
    match outcome {
        AppendOutcome::Duplicate(committed) => committed,
        other => panic!("expected a duplicate, got {other:?}"),
    }
}

/// The request never arrived: the outcome is just as unknown, and the identical batch sent again is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_request_is_resolved_by_sending_again() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::start(&database.config(), "flexcore_append").await;
    let store = PostgresStore::connect_with(proxy.config()).await.unwrap();
    let writer = Writer::claim_as(Arc::new(store), "node-a").await;
    let unit = writer.unit(&pipeline("lost"), 0, 1);
    proxy.lose_next_request();
    let error = writer.append_all(std::slice::from_ref(&unit)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error:?}");
    writer.commit(&unit).await;
    assert_eq!(writer.log().await.len(), 1);
}

/// Whoever holds the head's lock for long does not hang an append: it is refused in time, certainly not stored, and
/// stored when sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_lock_refuses_in_time() {
    let database = TestDatabase::create().await;
    let writer = Writer::claim_as(Arc::new(store(&database).await), "node-a").await;
    let mut holder: Client = database.connect().await;
    let transaction = holder.transaction().await.unwrap();
    transaction.execute("select from log_head for update", &[]).await.unwrap();
    let unit = writer.unit(&pipeline("held"), 0, 1);
    let error = writer.append_all(std::slice::from_ref(&unit)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }) && error.certainly_not_stored(), "{error:?}");
    transaction.rollback().await.unwrap();
    writer.commit(&unit).await;
}

/// A server that is not there is an error that a retry may help, without the password; a database that went away is
/// an error too, never an empty log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_server_is_unavailable() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = PostgresStore::connect(&format!("postgres://nobody:hunter2@{closed}/none")).await;
    let error = absent.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));

    let database = TestDatabase::create().await;
    let writer = Writer::claim_as(Arc::new(store(&database).await), "node-a").await;
    drop(database);
    assert!(writer.append_all(&[writer.unit(&pipeline("gone"), 0, 1)]).await.is_err());
    assert!(writer.store.head().await.is_err());
}

/// The listening connection is ended by an operator while another node appends: what was appended in between is
/// learnt of when listening begins again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_listening_connection_is_made_again() {
    const LISTENER: &str = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() \
                            and query like 'select next_position - 1%' and state = 'idle'";
    let database = TestDatabase::create().await;
    let writer = Writer::claim_as(Arc::new(store(&database).await), "node-a").await;
    let reader: Arc<dyn EventStore> = Arc::new(store(&database).await);
    let mut follower = Log::new(reader).follow(Position(0), EventFilter::default());
    let operator = database.connect().await;
    let stream = pipeline("heard");
    for n in 0..3 {
        let killed =
            operator.query(&format!("select pg_terminate_backend(pid, 10000) {LISTENER}"), &[]).await;
        assert!(!killed.unwrap().is_empty() || n > 0, "somebody listens");
        let position = writer.commit(&writer.unit(&stream, n, 1)).await.position;
        let page = tokio::time::timeout(Duration::from_secs(30), follower.next()).await;
        let events = page.expect("the append is heard of").unwrap().events;
        assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [position]);
    }
}
