//! A database for one test on the private server that the test command started.

use flexcore::postgres::PostgresStore;
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

const VARIABLE: &str = "FLEXCORE_TEST_POSTGRES_URL";

/// A database of its own.
pub(crate) struct Database {
    server: Config,
    name: String,
}

impl Database {
    /// Creates an empty one; the store migrates it.
    pub(crate) async fn create() -> Self {
        Self::create_with("").await
    }

    /// Creates an empty one with options of `create database`.
    pub(crate) async fn create_with(options: &str) -> Self {
        let url = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} is not set, so there is no PostgreSQL: run: cargo xtask test")
        });
        let server: Config = url.parse().expect("the test command's url");
        let name = format!("fc_{}", Uuid::now_v7().simple());
        let database = Self { server, name };
        let create = format!("create database {} {options}", database.name);
        connect(&database.server).await.batch_execute(&create).await.expect("create the test's database");
        database
    }

    /// Settings to reach it.
    pub(crate) fn config(&self) -> Config {
        let mut config = self.server.clone();
        config.dbname(&self.name);
        config
    }

    /// A store on it.
    pub(crate) async fn store(&self) -> PostgresStore {
        PostgresStore::connect_with(self.config()).await.expect("connect the store")
    }

    /// A plain connection to it.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.config()).await
    }

    /// Drops it, connections included.
    pub(crate) async fn drop(self) {
        let drop = format!("drop database {} with (force)", self.name);
        connect(&self.server).await.batch_execute(&drop).await.expect("drop the test's database");
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("connect to the test's server");
    // ends with its client
    tokio::spawn(connection);
    client
}
