//! Migrating, and what the schema does by itself: partitions and notifications.

use std::sync::Arc;
use std::time::Duration;

use flexcore::postgres::PostgresStore;
use flexcore_actors::domain::ids::Position;
use flexcore_actors::ports::event_store::StoreError;
use flexcore_actors::testkit::conformance::{Writer, pipeline};
use futures::StreamExt;
use tokio_postgres::{AsyncMessage, NoTls};

use super::database::Database;

/// Nodes that start at the same time on an empty database take turns; all of them start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_migrate_once() {
    let database = Database::create().await;
    let stores = futures::future::join_all((0..6).map(|_| database.store())).await;
    assert_eq!(stores.len(), 6);
    let applied = database.client().await.query("select version from refinery_schema_history", &[]).await;
    let migrations = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap();
    assert_eq!(applied.unwrap().len(), migrations.count());
    drop(stores);
    database.drop().await;
}

/// A database that cannot hold every text is refused with the cure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_encoding_is_refused() {
    let database = Database::create_with("encoding 'SQL_ASCII' locale 'C' template template0").await;
    let error = PostgresStore::connect_with(database.config()).await.err().unwrap();
    assert!(matches!(error, StoreError::Failed { .. }));
    assert!(format!("{error:?}").contains("create it with encoding 'UTF8'"), "{error:?}");
    database.drop().await;
}

/// The log grows over the end of a partition, and the one after the next is made in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_made_ahead() {
    let database = Database::create().await;
    let writer = Writer::claim_as(Arc::new(database.store().await), "node-a").await;
    let operator = database.client().await;
    for (n, start) in (0..).zip([49_999_998_i64, 74_999_998, 99_999_998]) {
        operator.execute("update log_head set next_position = $1", &[&start]).await.unwrap();
        let stream = pipeline(&format!("grown-{n}"));
        let committed = writer.commit(&writer.unit(&stream, 0, 5)).await;
        assert_eq!(committed.position, Position(start.unsigned_abs() + 4));
        assert_eq!(writer.stream(&stream).await.len(), 5);
        let next = format!("event_p{:06}", n + 3);
        let made = operator.query_one("select to_regclass($1) is not null", &[&next]).await.unwrap();
        assert!(made.get::<_, bool>(0), "{next} is missing");
    }
    database.drop().await;
}

/// One notification for each batch that stored events, with its last position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_notifies_once() {
    let database = Database::create().await;
    let writer = Writer::claim_as(Arc::new(database.store().await), "node-a").await;
    let (client, mut connection) = database.config().connect(NoTls).await.unwrap();
    let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
    let (sender, mut heard) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(note) = message {
                sender.send(note.payload().to_owned()).await.unwrap();
            }
        }
    });
    client.batch_execute("listen flexcore_events").await.unwrap();
    let (a, b) = (pipeline("a"), pipeline("b"));
    writer.append_all(&[writer.unit(&a, 0, 2), writer.unit(&b, 0, 1)]).await.unwrap();
    writer.commit(&writer.unit(&a, 2, 0)).await;
    writer.commit(&writer.unit(&a, 2, 1)).await;
    for expected in ["3", "4"] {
        let note = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("a notification");
        assert_eq!(note.as_deref(), Some(expected));
    }
    database.drop().await;
}
