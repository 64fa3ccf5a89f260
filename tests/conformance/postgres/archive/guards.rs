//! What guards archived events: files that are not what was recorded are not read, and whoever may run a node may not
//! take events away.

use flexcore_actors::ports::EventStore;

use super::*;

const ARCHIVE: &str = "flexcore_archive(text, bigint, bigint, text, bytea)";

/// What the store says of its archive files.
async fn said(log: &Log) -> String {
    let error = log.open().await.read_all(Position(0), 10, &EventFilter::default()).await.unwrap_err();
    assert!(!error.retryable(), "{error:?}");
    std::error::Error::source(&error).unwrap().to_string()
}

/// Changed bytes and a name that leads elsewhere are refused, whatever SQLite would make of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_recorded_file_is_read() {
    let log = Log::sealed().await;
    let before = log.reads().await;
    let file = log.archive().await.unwrap().archived.remove(0).file;
    assert_eq!(log.reads().await, before);

    let path = log.dir.path().join(&file);
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let damaged = said(&log).await;
    assert!(damaged.contains("sha-256") && damaged.contains(&file), "{damaged}");
    std::fs::write(&path, &good).unwrap();
    assert_eq!(log.reads().await, before);

    let operator = log.database.connect().await;
    let elsewhere = format!("update archive set file = '../{file}'");
    let refused = operator.batch_execute(&elsewhere).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "23514", "the table takes no such name");
    log.execute(&format!("alter table archive drop constraint archive_file_is_a_bare_name; {elsewhere}"))
        .await;
    let name = said(&log).await;
    assert!(name.contains("no bare file name"), "{name}");
}

/// The role of a node reads archived events and cannot archive; one that was granted to can take away the sealed
/// beginning of the log, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archiving_is_granted_apart() {
    let log = Log::sealed().await;
    let before = log.reads().await;
    let (owner, role) = (log.database.connect().await, format!("node_{}", log.database.name()));
    owner.batch_execute(&format!("create role {role} login password 'only-here'")).await.unwrap();
    PostgresStore::grant(&log.database.url(), &role).await.unwrap();
    let url = log.database.url();
    let as_role = format!("postgres://{role}:only-here@{}", url.split_once('@').unwrap().1);
    let request = ArchiveRequest { keep: Keep::Partitions(1), dir: log.dir.path().to_path_buf() };

    let error = PostgresStore::archive(&as_role, &request).await.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("may not remove partitions"), "{said}");
    assert_eq!(std::fs::read_dir(log.dir.path()).unwrap().count(), 0, "nothing was copied");
    let (client, connection) = tokio_postgres::connect(&as_role, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let call = |partition: &str, first: u64, last: u64| {
        format!("select flexcore_archive('{partition}', {first}, {last}, 'file.db', sha256(''))")
    };
    let refused = client.batch_execute(&call("event_p000000", 1, SEAM - 1)).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "42501", "{refused}");

    owner.batch_execute(&format!("grant execute on function {ARCHIVE} to {role}")).await.unwrap();
    for (partition, first, last) in [
        ("command", 1, SEAM - 1),
        ("event", 1, SEAM - 1),
        ("event_p000000", 1, SEAM),
        ("event_p000000", 2, SEAM - 1),
        ("event_rest", SEAM, 24_999_999),
    ] {
        let refused = client.batch_execute(&call(partition, first, last)).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "22023", "{partition} {first} {last}: {refused}");
    }
    assert_eq!(log.in_database().await.unsigned_abs(), EVENTS);
    let report = PostgresStore::archive(&as_role, &request).await.unwrap();
    assert_eq!(report.archived.len(), 1, "{report:?}");
    assert_eq!(log.reads().await, before);
    let by_role = PostgresStore::connect(&as_role).await.unwrap().with_archive_dir(log.dir.path());
    let all = by_role.read_all(Position(0), 2_000, &EventFilter::default()).await.unwrap();
    assert_eq!(all, before[6]);
    drop((by_role, client));
    owner.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}

/// Functions of the schema that do not act as their owner, or that anybody may call.
const UNGUARDED: &str = "select p.proname::text from pg_proc p \
    where p.pronamespace = 'public'::regnamespace and p.proname like 'flexcore\\_%' and ( \
      has_function_privilege('public', p.oid, 'execute') \
      or (p.proname not in ('flexcore_grant', 'flexcore_refuse') \
          and not (p.prosecdef and p.proconfig = array['search_path=public, pg_temp']))) \
    order by p.proname";

/// Whichever migration made a function, it is guarded: nobody needs to remember it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_function_is_guarded() {
    let database = TestDatabase::create().await;
    drop(store(&database).await);
    let operator = database.connect().await;
    let unguarded = async || -> Vec<String> {
        operator.query(UNGUARDED, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let count = "select count(*) from pg_proc where proname like 'flexcore\\_%'";
    assert!(operator.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > 10, "there are functions");
    assert_eq!(unguarded().await, Vec::<String>::new());
    // as a migration could leave one, also one that is there and is only replaced
    let forgotten = "create function flexcore_new() returns integer language sql as 'select 1'; \
        create or replace function flexcore_position_at(t timestamptz) returns bigint language sql as 'select 1::bigint'";
    operator.batch_execute(forgotten).await.unwrap();
    assert_eq!(unguarded().await, ["flexcore_new", "flexcore_position_at"]);
    drop(store(&database).await);
    assert_eq!(unguarded().await, Vec::<String>::new());
}
