//! The sealed log from outside: what a node writes beside its store verifies with nothing but its public key, proofs are
//! checked without the node, a killed node leaves store and copies agreeing, and a store that was rolled back is noticed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flexcore_actors::domain::integrity::checkpoint::Checkpoint;
use flexcore_actors::domain::integrity::merkle::{Hash, verify_consistency, verify_inclusion};
use flexcore_actors::domain::integrity::note::{SignedNote, VerifierKey};
use flexcore_test_support::{Node, NodeBuilder, TestDatabase, wait_for};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{DEADLINE, World};

fn builder() -> NodeBuilder {
    Node::of(env!("CARGO_BIN_EXE_flexcore"))
}

/// Waits until everything is sealed and copied outside; gives what the node says.
async fn sealed(world: &World) -> Value {
    wait_for("the log is sealed", DEADLINE, async || {
        let integrity = world.get("/integrity").await.expect(200).json;
        let published = &integrity["directory"]["published"];
        if integrity["unsealed"] == 0 && *published == integrity["position"] {
            Ok(integrity)
        } else {
            Err(integrity)
        }
    })
    .await
}

fn hash(value: &Value) -> Hash {
    STANDARD.decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

/// The notes of a directory in order, each verified by the key.
fn notes(directory: &Path, key: &VerifierKey) -> Vec<Checkpoint> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut days: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "checkpoints")).collect();
    days.sort();
    let text: String = days.iter().map(|day| std::fs::read_to_string(day).unwrap()).collect();
    let mut found = Vec::new();
    let mut note = String::new();
    for line in text.split_inclusive('\n') {
        note.push_str(line);
        if line.starts_with('—') {
            let note: SignedNote = std::mem::take(&mut note).parse().unwrap();
            note.verify(std::slice::from_ref(key)).unwrap();
            found.push(Checkpoint::of(&note).unwrap());
        }
    }
    assert_eq!(note, "", "nothing half-written is left");
    found
}

fn key(integrity: &Value) -> VerifierKey {
    integrity["keys"][0]["key"].as_str().unwrap().parse().unwrap()
}

async fn pipelines(world: &World, from: usize, to: usize) {
    for n in from..to {
        world.define(&format!("p{n}"), &json!([{"name": "a", "plugin": "work"}])).await;
    }
}

#[tokio::test]
async fn checkpoints_and_proofs_verify_without_the_node() {
    let (keys, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = keys.path().join("key");
    let made = Command::new(env!("CARGO_BIN_EXE_flexcore"))
        .args(["integrity", "keygen", "--name", "example.com/log", "--file"])
        .arg(&file)
        .output()
        .await
        .unwrap();
    let public: VerifierKey = String::from_utf8(made.stdout).unwrap().trim_end().parse().unwrap();
    let node = builder()
        .env("FLEXCORE_INTEGRITY_KEY_FILE", file.display().to_string())
        .env("FLEXCORE_INTEGRITY_CHECKPOINT_DIR", copies.path().display().to_string());
    let world = World::with(node.start().await).await;
    sealed(&world).await;
    pipelines(&world, 0, 30).await;
    let integrity = sealed(&world).await;
    assert_eq!((key(&integrity), &integrity["state"]), (public.clone(), &json!("sealing")));
    assert_eq!(integrity["trust"], "key and copies of the checkpoints lie outside the store");

    let checkpoints = notes(copies.path(), &public);
    let last = checkpoints.last().unwrap();
    assert!(checkpoints.len() >= 2, "the log was sealed while it grew");
    assert_eq!(
        (last.origin.as_str(), Value::from(last.size)),
        ("example.com/log", integrity["position"].clone())
    );
    for position in [1, 2, last.size / 2, last.size] {
        let proof = world.get(&format!("/integrity/proof?position={position}")).await.expect(200).json;
        let (leaf, parts) = (hash(&proof["leaf_hash"]), hashes(&proof["proof"]));
        verify_inclusion(&leaf, position - 1, last.size, &parts, &last.root).unwrap();
    }
    for first in &checkpoints {
        let proof = world.get(&format!("/integrity/proof?from={}", first.size)).await.expect(200).json;
        verify_consistency(first.size, last.size, &first.root, &last.root, &hashes(&proof["proof"])).unwrap();
    }
    world.get(&format!("/integrity/proof?position={}", last.size + 1)).await.expect(409);
    world.get("/integrity/proof?position=0").await.expect(400);
    world.get("/integrity/proof?from=2&to=1").await.expect(400);
    let metrics = world.client.get("/metrics").await.expect(200).text;
    assert!(metrics.contains(&format!("flexcore_integrity_sealed_size {}\n", last.size)), "{metrics}");
}

#[tokio::test]
async fn a_killed_node_leaves_store_and_copies_agreeing_on_sqlite() {
    survives_kills(builder()).await;
}

#[tokio::test]
async fn a_killed_node_leaves_store_and_copies_agreeing_on_postgres() {
    let database = TestDatabase::create().await;
    survives_kills(builder().env("FLEXCORE_DATABASE_URL", database.url())).await;
}

/// Kills fall between the seal and its copy too; each next life finds both agreeing and goes on.
async fn survives_kills(builder: NodeBuilder) {
    let mut world = World::with(builder.start().await).await;
    for kill in 0..4 {
        pipelines(&world, kill * 3, kill * 3 + 3).await;
        // not waiting for anything: the moments are spread over the second between two seals
        tokio::time::sleep(Duration::from_millis(230 * kill as u64)).await;
        world.node.kill9().await;
        world.node.restart().await;
        world.client = world.node.client();
    }
    let integrity = sealed(&world).await;
    assert_eq!(integrity["state"], "sealing", "{integrity:#}");
    assert!(integrity["trust"].as_str().unwrap().contains("beside the store"));
    let checkpoints = notes(&world.node.data_dir().join("checkpoints"), &key(&integrity));
    assert_eq!(Value::from(checkpoints.last().unwrap().size), integrity["position"]);
    assert!(checkpoints.windows(2).all(|pair| pair[0].size < pair[1].size), "they only grow");
    world.node.sigterm().await;
}

/// The file of the embedded store, with its write-ahead log where there is one.
fn store_files(world: &World) -> Vec<PathBuf> {
    let files = std::fs::read_dir(world.node.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let is_store = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with("flexcore.db");
    files.filter(is_store).collect()
}

/// The embedded store is put back to an older copy of itself, as a restored backup or an intruder would.
#[tokio::test]
async fn a_store_that_was_rolled_back_is_an_alarm() {
    let copies = tempfile::tempdir().unwrap();
    let node = builder().env("FLEXCORE_INTEGRITY_CHECKPOINT_DIR", copies.path().display().to_string());
    let mut world = World::with(node.start().await).await;
    world.node.sigterm().await;
    let older: Vec<_> =
        store_files(&world).into_iter().map(|file| (std::fs::read(&file).unwrap(), file)).collect();
    world.node.restart().await;
    world.client = world.node.client();
    pipelines(&world, 0, 3).await;
    world.node.sigterm().await;
    store_files(&world).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    older.iter().for_each(|(bytes, file)| std::fs::write(file, bytes).unwrap());
    world.node.restart().await;
    world.client = world.node.client();
    let integrity = wait_for("the alarm", DEADLINE, async || {
        let integrity = world.get("/integrity").await.expect(200).json;
        if integrity["state"] == "alarm" { Ok(integrity) } else { Err(integrity) }
    })
    .await;
    assert!(integrity["detail"].as_str().unwrap().contains("rolled back or cut"), "{integrity:#}");
    let metrics = world.client.get("/metrics").await.expect(200).text;
    assert!(metrics.contains("flexcore_integrity_alarm 1\n"), "{metrics}");
}
