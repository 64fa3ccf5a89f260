//! Somebody who may write the embedded store's file.

use std::sync::{Arc, Mutex};

use flexcore::sqlite::SqliteStore;
use flexcore_actors::ports::{BoxFuture, IntegrityStore};
use flexcore_actors::testkit::conformance::Store;
use rusqlite::Connection;

use super::{Attacker, hex};

struct Sqlite {
    store: Arc<SqliteStore>,
    connection: Mutex<Connection>,
    _folder: tempfile::TempDir,
}

impl Sqlite {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flexcore.db");
        let store = Arc::new(SqliteStore::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        refuses_without_being_asked_twice(&connection);
        for table in ["event", "command", "merkle_tile", "checkpoint"] {
            for operation in ["update", "delete"] {
                connection.execute(&format!("drop trigger {table}_no_{operation}"), []).unwrap();
            }
        }
        Self { store, connection: Mutex::new(connection), _folder: folder }
    }
}

/// As long as nobody takes the triggers away, nothing can be changed by mistake.
fn refuses_without_being_asked_twice(connection: &Connection) {
    connection
        .execute_batch("begin; insert into checkpoint (size, root, note, sealed_at) values (1, x'00', '', 0)")
        .unwrap();
    for statement in ["update checkpoint set note = 'x'", "delete from checkpoint"] {
        let refused = connection.execute(statement, []).unwrap_err().to_string();
        assert!(refused.contains("table checkpoint is refused: it is append-only"), "{refused}");
    }
    connection.execute_batch("rollback").unwrap();
}

impl Attacker for Sqlite {
    fn events(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    fn integrity(&self) -> Arc<dyn IntegrityStore> {
        Arc::clone(&self.store) as _
    }

    fn sql<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()> {
        self.connection.lock().unwrap().execute_batch(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        Box::pin(std::future::ready(()))
    }

    fn blob(&self, bytes: &[u8]) -> String {
        format!("x'{}'", hex(bytes))
    }

    fn later(&self) -> &'static str {
        "recorded_at + 1000000"
    }
}

super::attacks!(Sqlite);
