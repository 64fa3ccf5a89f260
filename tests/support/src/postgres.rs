//! A fresh PostgreSQL database for one test, on the private server of the test command.
//!
//! It is empty: the code under test runs its own migrations.

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use crate::given_by_the_test_command;

/// The superuser's URL, ending in `/postgres`, the database it can always connect to.
const SERVER_VARIABLE: &str = "FLEXCORE_TEST_POSTGRES_URL";

/// A database that exists as long as this value.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// Creates an empty database with a name that no other test uses.
    ///
    /// # Panics
    /// Outside the test command, or when the server refuses.
    pub async fn create() -> Self {
        Self::create_with("").await
    }

    /// The same with options of `CREATE DATABASE`.
    ///
    /// # Panics
    /// As [`TestDatabase::create`].
    pub async fn create_with(options: &str) -> Self {
        let server = given_by_the_test_command(SERVER_VARIABLE);
        let name = format!("fc_{}", Uuid::now_v7().simple());
        run(&server, &format!("CREATE DATABASE {name} {options}"))
            .await
            .unwrap_or_else(|e| panic!("create {name}: {e}"));
        Self { server, name }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of this database for its owner, who is a superuser. It holds a password.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// The same as settings of the driver.
    ///
    /// # Panics
    /// When the test command's URL is not one.
    pub fn config(&self) -> Config {
        self.url().parse().expect("the test command gives a URL")
    }

    /// A connection of the test's own, to look at or disturb what the code under test does.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connect(&self) -> Client {
        connect(&self.url()).await.unwrap_or_else(|e| panic!("connect to {}: {e}", self.name))
    }
}

impl Drop for TestDatabase {
    /// Drops the database, cutting off whoever is still connected. On a thread of its own, because a test's runtime
    /// may be ending just now.
    fn drop(&mut self) {
        let (server, sql) =
            (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| e.to_string())?.block_on(run(&server, &sql)).map_err(|e| e.to_string())
        });
        // Not a panic: the server and all its databases go with the test command anyway.
        match dropped.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("warning: cannot drop the database {}: {error}", self.name),
            Err(_) => eprintln!("warning: cannot drop the database {}: the thread panicked", self.name),
        }
    }
}

async fn run(url: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    connect(url).await?.batch_execute(sql).await
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends by itself when the client is dropped; a broken connection shows in the client's calls.
    tokio::spawn(connection);
    Ok(client)
}

/// The same URL with another database, its last path segment.
fn with_database(url: &str, name: &str) -> String {
    let (server, query) = url.split_once('?').map_or((url, None), |(server, query)| (server, Some(query)));
    let base = server.rsplit_once('/').map_or(server, |(base, _)| base);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{base}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exists(server: &Client, name: &str) -> bool {
        let sql = "SELECT count(*) FROM pg_database WHERE datname = $1";
        server.query_one(sql, &[&name]).await.unwrap().get::<_, i64>(0) == 1
    }

    #[test]
    fn only_the_database_of_the_url_changes() {
        assert_eq!(with_database("postgres://u:p@127.0.0.1:1/postgres", "x"), "postgres://u:p@127.0.0.1:1/x");
        assert_eq!(with_database("postgres://u@h/postgres?a=b/c", "x"), "postgres://u@h/x?a=b/c");
    }

    #[tokio::test]
    async fn a_database_is_fresh_and_gone_at_the_end() {
        let (one, other) = (TestDatabase::create().await, TestDatabase::create().await);
        let server = connect(&given_by_the_test_command(SERVER_VARIABLE)).await.unwrap();
        let client = one.connect().await;
        client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        other.connect().await.batch_execute("CREATE TABLE t (n int)").await.unwrap();

        let name = one.name().to_owned();
        assert!(exists(&server, &name).await);
        drop(one); // with `client` still connected
        assert!(!exists(&server, &name).await);
        assert!(client.batch_execute("SELECT 1").await.is_err(), "its connections are cut off");
        assert!(exists(&server, other.name()).await);
    }

    #[tokio::test]
    async fn the_server_is_durable_as_in_production() {
        let database = TestDatabase::create().await;
        let client = database.connect().await;
        for (setting, expected) in [("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]
        {
            let row = client.query_one("SELECT current_setting($1)", &[&setting]).await.unwrap();
            assert_eq!(row.get::<_, String>(0), expected, "{setting}");
        }
    }
}
