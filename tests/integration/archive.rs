//! `archive` beside a running node, which works as a role that may change nothing: whatever is read over the seam
//! between files and database is what it was before. The partitions are made small by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flexcore_test_support::{Node, TestDatabase, wait_for};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::world::{API, DEADLINE, Done, World, flexcore, items};

/// A node on a database whose first partitions are small.
struct Archive {
    world: World,
    owner: Client,
    database: TestDatabase,
    role: String,
}

impl Archive {
    /// Partitions that end before these positions, then one for everything else.
    async fn with_partitions(ends: &[u64]) -> Self {
        let (database, folder) = (TestDatabase::create().await, tempfile::tempdir().unwrap());
        let (owner, role) = (database.connect().await, format!("node_{}", database.name()));
        owner.batch_execute(&format!("create role {role} login password 'only-here'")).await.unwrap();
        let url = database.url();
        let migrate = ["migrate", "--grant-to", &role, "--database-url", &url];
        flexcore(folder.path(), &migrate).await.expect(0);
        owner.batch_execute("drop table event_p000000").await.unwrap();
        let mut from = 0;
        for (n, &end) in ends.iter().enumerate() {
            partition(&owner, &format!("event_small_{n}"), from, end).await;
            from = end;
        }
        partition(&owner, "event_p000000", from, 25_000_000).await;
        let as_role = format!("postgres://{role}:only-here@{}", url.split_once('@').unwrap().1);
        let node = Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_DATABASE_URL", as_role);
        Self { world: World::with(node.start().await).await, owner, database, role }
    }

    /// Where the node looks for archived events.
    fn dir(&self) -> PathBuf {
        self.world.node.data_dir().join("archive")
    }

    /// `flexcore archive` as the owner of the tables.
    async fn archive(&self, arguments: &[&str]) -> Done {
        let (dir, url) = (self.dir(), self.database.url());
        let place = ["archive", "--dir", dir.to_str().unwrap(), "--database-url", &url, "-o", "json"];
        flexcore(self.world.node.folder(), &[&place, arguments].concat()).await
    }

    async fn in_database(&self) -> u64 {
        let count = self.owner.query_one("select count(*) from event", &[]).await.unwrap();
        count.get::<_, i64>(0).unsigned_abs()
    }

    async fn sealed(&self) {
        wait_for("everything is sealed", DEADLINE, async || {
            let state = self.world.get("/integrity").await.expect(200).json;
            if state["unsealed"] == 0 { Ok(()) } else { Err(state) }
        })
        .await;
    }

    /// What a user can see of the first `events`, which end before `until`: lists, and what is read from the log itself.
    async fn seen(&self, execution: &str, (events, until): (u64, &str)) -> BTreeMap<String, Value> {
        let mut seen = BTreeMap::new();
        let audit = format!("/audit?limit=1000&to={until}");
        for path in ["/pipelines?limit=1000", "/plugins?limit=1000", "/executions?limit=1000", &audit] {
            seen.insert(path.to_owned(), self.world.list(path).await.expect(200).json["items"].clone());
        }
        let (log, its) =
            (format!("/events?limit={events}"), format!("/executions/{execution}/events?limit=5"));
        for path in [
            &log,
            &its,
            "/events?after=190&limit=20",
            "/events?event_type=PipelineActivated&limit=1000",
            "/pipelines/p-0/revisions",
        ] {
            seen.insert(path.to_owned(), self.world.get(path).await.expect(200).json["items"].clone());
        }
        let execution = format!("/executions/{execution}");
        let reads = [
            "/pipelines/p-0",
            "/pipelines/p-0?at_version=1",
            "/pipelines/p-0?at_version=3",
            "/pipelines/story",
            "/plugins/tap?at_version=1",
            &execution,
            &format!("{execution}?at_version=2"),
        ];
        for path in reads {
            seen.insert(path.to_owned(), self.world.get(path).await.expect(200).json);
        }
        seen
    }

    async fn end(self) {
        let Self { world, owner, database: _database, role } = self;
        drop(world);
        wait_for("the node's sessions end", DEADLINE, async || {
            owner.batch_execute(&format!("drop owned by {role}; drop role {role}")).await
        })
        .await;
    }
}

async fn partition(owner: &Client, name: &str, from: u64, end: u64) {
    let made = format!(
        "create table {name} (like event including all); \
         alter table event attach partition {name} for values from ({from}) to ({end})"
    );
    owner.batch_execute(&made).await.unwrap();
}

async fn define(world: &World, name: &str) {
    world.define(name, &json!([{"name": "a", "plugin": "work"}])).await;
    world.post(&format!("/pipelines/{name}/activate"), &json!({})).await.expect(200);
}

/// Single reads, the past, pages and filters over the seam, lists, a rebuild, a subscription from the beginning, loading
/// without snapshots, and commands on what is archived: all as if nothing had moved.
#[tokio::test]
async fn nobody_notices_that_events_were_archived() {
    let mut archive = Archive::with_partitions(&[200]).await;
    let world = &archive.world;
    define(world, "p-0").await;
    let execution = world.run_pipe("story", "tap", json!({"records": 50})).await;
    let id = execution["id"].as_str().unwrap().to_owned();
    for n in 1..130 {
        define(world, &format!("p-{n}")).await;
    }
    let revised = json!({"name": "p-0", "owner": "later", "steps": [{"name": "a", "plugin": "work"}]});
    world.client.put(&format!("{API}/pipelines/p-0"), &revised).await.expect(200);
    archive.sealed().await;

    let last = items(&archive.world.get("/events?limit=1000").await.expect(200).json).last().unwrap().clone();
    let events = last["position"].as_u64().unwrap();
    assert!(events > 256, "{events}");
    let until: jiff::Timestamp = last["timestamp"].as_str().unwrap().parse().unwrap();
    let until = (until + jiff::SignedDuration::from_micros(1)).to_string();
    let those = (events, until.as_str());
    let before = archive.seen(&id, those).await;

    refused(&archive).await;
    let done = archive.archive(&["--before", "250"]).await.expect(0).json();
    let part = &items(&done)[0];
    assert_eq!((&part["first_position"], &part["last_position"]), (&json!(1), &json!(199)), "{done:#}");
    let bytes = std::fs::read(archive.dir().join(part["file"].as_str().unwrap())).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(part["sha256"], sha256.as_str());
    assert_eq!(archive.in_database().await, events - 199);
    assert_eq!(archive.seen(&id, those).await, before, "after archiving");

    archive.world.cli(&["projections", "rebuild"]).await.expect(0);
    assert_eq!(archive.seen(&id, those).await, before, "after a rebuild");

    // a node that remembers nothing: no snapshot, and its subscriptions begin with the first event
    archive.world.node.sigterm().await;
    let forget = "delete from snapshot; update subscription set position = 0";
    archive.owner.batch_execute(forget).await.unwrap();
    archive.world.node.restart().await;
    archive.world.client = archive.world.node.client();
    assert_eq!(archive.seen(&id, those).await, before, "after a restart without snapshots");
    wait_for("the subscriptions have caught up", DEADLINE, async || {
        let list = archive.world.get("/subscriptions").await.expect(200).json;
        let done = items(&list).iter().all(|one| one["behind"] == 0 && one["parked"] == 0);
        if done && !items(&list).is_empty() { Ok(()) } else { Err(list) }
    })
    .await;
    let paused = archive.world.post("/pipelines/p-1/pause", &json!({})).await.expect(200).json;
    assert_eq!((&paused["status"], &paused["version"]), (&json!("paused"), &json!(3)));
    archive.world.cli(&["verify"]).await.expect(0).prints("intact: ");
    archive.end().await;
}

/// What `archive` will not do, and says.
async fn refused(archive: &Archive) {
    let folder = archive.world.node.folder();
    let embedded = ["archive", "--data-dir", "elsewhere"];
    flexcore(folder, &embedded).await.expect(1).says("archiving needs a PostgreSQL store");
    archive.archive(&["--before", "1", "--keep-partitions", "2"]).await.expect(2);
    archive.archive(&["--keep-partitions", "0"]).await.expect(2);
    let away = ["archive", "--database-url", "postgres://nobody@127.0.0.1:1/none"];
    flexcore(folder, &away).await.expect(6);
    for keep in [["--before", "199"], ["--keep-partitions", "2"]] {
        let nothing = archive.archive(&keep).await.expect(0).json();
        assert_eq!(nothing, json!({"items": [], "stopped_by": "the rest is to be kept"}));
    }
    assert!(!archive.dir().exists(), "nothing was copied");
}

/// Appends wait for the removal of a partition and are all there afterwards.
#[tokio::test]
async fn what_is_appended_meanwhile_is_not_lost() {
    const ENDS: [u64; 4] = [60, 120, 180, 240];
    let archive = Archive::with_partitions(&ENDS).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (client, stopped) = (archive.world.client.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                while !*stopped.borrow() {
                    let name = format!("w-{writer}-{}", made.len());
                    let body = json!({"name": name, "steps": [{"name": "a", "plugin": "work"}]});
                    client.post(&format!("{API}/pipelines"), &body).await.expect(201);
                    made.push(name);
                }
                made
            })
        })
        .collect();
    let mut archived = 0;
    wait_for("all small partitions are archived", DEADLINE, async || {
        let done = archive.archive(&["--keep-partitions", "1"]).await.expect(0).json();
        archived += items(&done).len();
        if archived == ENDS.len() { Ok(()) } else { Err(done) }
    })
    .await;
    stop.send_replace(true);
    let mut made = Vec::new();
    for writer in writers {
        made.extend(writer.await.unwrap());
    }
    let mut positions = Vec::new();
    let mut created = Vec::new();
    loop {
        let after = positions.last().copied().unwrap_or(0);
        let page = archive.world.get(&format!("/events?limit=1000&after={after}")).await.expect(200).json;
        if items(&page).is_empty() {
            break;
        }
        for event in items(&page) {
            positions.push(event["position"].as_u64().unwrap());
            if event["type"] == "PipelineCreated" {
                created.push(event["stream"].as_str().unwrap().replacen("pipeline-", "", 1));
            }
        }
    }
    assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
    assert_eq!(archive.in_database().await, positions.len() as u64 + 1 - ENDS[3]);
    created.sort();
    made.sort();
    assert_eq!(created, made);
    archive.world.cli(&["verify"]).await.expect(0).prints("intact: ");
    archive.end().await;
}
