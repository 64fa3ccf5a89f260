//! What each crate may link. **Invariant:** the inside (`flexcore-actors`) links no database, Redis, HTTP or process
//! crate, directly or through another, so that no decision can depend on one.
//!
//! Read from cargo's resolved graph over normal dependencies (neither build nor test ones).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::repository;

/// The inside.
const INSIDE: &str = "flexcore-actors";
/// The outside, which must link what the inside must not.
const OUTSIDE: &str = "flexcore";

/// Crates that must not be reached from the inside by any path, by what they are.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    (
        "PostgreSQL",
        &["tokio-postgres", "postgres", "postgres-types", "deadpool", "deadpool-postgres", "sqlx"],
    ),
    ("SQLite and migrations", &["rusqlite", "libsqlite3-sys", "refinery", "refinery-core", "diesel"]),
    ("Redis", &["fred", "redis", "redis-protocol"]),
    (
        "HTTP and RPC",
        &["hyper", "hyper-util", "http", "http-body", "h2", "warp", "axum", "tonic", "reqwest", "ureq"],
    ),
    (
        "processes and the kernel",
        &["nix", "rustix", "landlock", "seccompiler", "caps", "flexcore-jailer", "flexcore"],
    ),
];

/// Crates that others may bring along for a need of their own, but that the inside itself must not name.
const FORBIDDEN_DIRECTLY: [&str; 3] = ["libc", "socket2", "mio"];

/// What the inside must not switch on in tokio. (Cargo unites the features of a whole build, so that only its own
/// declaration tells.)
const FORBIDDEN_TOKIO_FEATURES: [&str; 6] = ["full", "fs", "io-std", "net", "process", "signal"];

/// What the outside is known to link: the proof that the graph is read aright.
const LINKED_OUTSIDE: [&str; 5] = ["tokio-postgres", "rusqlite", "warp", "hyper", "flexcore-actors"];

/// Cargo's view of the workspace.
struct Graph {
    /// Package id → name.
    names: BTreeMap<String, String>,
    /// Package id → ids of its normal dependencies.
    normal: BTreeMap<String, Vec<String>>,
    /// The packages as declared.
    packages: Vec<Value>,
}

impl Graph {
    /// Asks cargo, for this machine's kind: crates of other platforms are not here, and need not be.
    fn load() -> Self {
        let version = cargo(&["-vV"]);
        let host =
            version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo -vV names its host");
        let answer = cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", host]);
        let metadata: Value = serde_json::from_str(&answer).expect("cargo metadata writes JSON");
        Self {
            names: list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect(),
            normal: list(&metadata["resolve"]["nodes"])
                .iter()
                .map(|n| (text(&n["id"]), normal_of(n)))
                .collect(),
            packages: list(&metadata["packages"]).to_vec(),
        }
    }

    fn id(&self, name: &str) -> &str {
        let found = self.names.iter().find(|(_, package)| *package == name);
        found.map(|(id, _)| id.as_str()).unwrap_or_else(|| panic!("cargo metadata has no package {name}"))
    }

    /// Every crate that this one links, with the chain of names that leads there.
    fn linked(&self, name: &str) -> BTreeMap<String, String> {
        let mut chains = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![(self.id(name).to_owned(), name.to_owned())];
        while let Some((id, chain)) = open.pop() {
            for next in self.normal.get(&id).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    let package = &self.names[next];
                    let chain = format!("{chain} → {package}");
                    chains.insert(package.clone(), chain.clone());
                    open.push((next.clone(), chain));
                }
            }
        }
        chains
    }

    /// The normal dependencies that a package declares itself.
    fn declared(&self, name: &str) -> Vec<&Value> {
        let package = self.packages.iter().find(|package| package["name"] == name);
        let package = package.unwrap_or_else(|| panic!("cargo metadata has no package {name}"));
        list(&package["dependencies"]).iter().filter(|dependency| dependency["kind"].is_null()).collect()
    }
}

/// What cargo prints for these arguments at the workspace's root.
fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(repository::root())
        .output()
        .expect("cargo runs the tests, so it can run here");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The ids of a node's dependencies that are linked into it (`kind: null`), leaving out build and test ones.
fn normal_of(node: &Value) -> Vec<String> {
    let linked =
        |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    list(&node["deps"]).iter().filter(linked).map(|dependency| text(&dependency["pkg"])).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("cargo metadata: expected text, found {value}")).to_owned()
}

#[test]
fn the_inside_links_no_database_redis_http_or_process_crate() {
    let linked = Graph::load().linked(INSIDE);
    assert!(linked.contains_key("ractor"), "the graph is not read aright: {linked:?}");
    for (kind, crates) in FORBIDDEN {
        let forbidden: Vec<&String> = crates.iter().filter_map(|name| linked.get(*name)).collect();
        assert!(forbidden.is_empty(), "{kind} belongs outside, behind a port: {forbidden:#?}");
    }
}

#[test]
fn the_inside_declares_no_system_crate_and_no_system_feature_of_tokio() {
    let graph = Graph::load();
    let declared = graph.declared(INSIDE);
    for dependency in &declared {
        let name = text(&dependency["name"]);
        assert!(!FORBIDDEN_DIRECTLY.contains(&name.as_str()), "{INSIDE} must not depend on {name} itself");
    }
    let tokio =
        declared.iter().find(|dependency| dependency["name"] == "tokio").expect("the inside uses tokio");
    assert_eq!(tokio["uses_default_features"], false, "{INSIDE}: tokio without default features");
    let features: Vec<String> = list(&tokio["features"]).iter().map(text).collect();
    let forbidden = features.iter().find(|feature| FORBIDDEN_TOKIO_FEATURES.contains(&feature.as_str()));
    assert!(forbidden.is_none(), "{INSIDE} must not switch on tokio's {forbidden:?}");
}

/// The positive control: the same reading finds in the outside what it must not find inside.
#[test]
fn the_outside_links_what_the_inside_must_not() {
    let graph = Graph::load();
    let linked = graph.linked(OUTSIDE);
    for name in LINKED_OUTSIDE {
        assert!(linked.contains_key(name), "the outside should link {name}; it links {:?}", linked.keys());
    }
    let tokio =
        graph.declared(OUTSIDE).into_iter().find(|d| d["name"] == "tokio").expect("the outside uses tokio");
    assert!(list(&tokio["features"]).iter().any(|feature| feature == "process"), "{tokio}");
}
