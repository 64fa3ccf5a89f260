//! Precedence, errors and secrets of the configuration.

use std::path::PathBuf;

use super::layers::{KEYS, variable_of};
use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flexcore.yaml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn mistakes(text: &str) -> String {
    let (dir, path) = file(text);
    let error = load(Some(&path), [], &[]).unwrap_err().to_string();
    error.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn the_documented_file_says_the_defaults_and_every_key() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/flexcore.yaml"));
    assert_eq!(load(Some(path), [], &[]).unwrap().config, Config::default());
    let documented = crate::yaml::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    for key in KEYS {
        let pointer = format!("/{}", key.replace('.', "/"));
        assert!(documented[0].value.pointer(&pointer).is_some(), "{key} is not in config/flexcore.yaml");
        assert!(Config::default().redacted().pointer(&pointer).is_some(), "{key} is not shown");
    }
}

#[test]
fn each_layer_replaces_the_one_before() {
    let (_dir, path) =
        file("http: {listen: '127.0.0.1:1', max_connections: 7}\nlog: warn\nnode: {name: from-file}\n");
    let environment =
        variables(&[("FLEXCORE_HTTP_LISTEN", "127.0.0.1:2"), ("FLEXCORE_LOG", "debug"), ("PATH", "x")]);
    let flags = [Flag { flag: "--log", key: "log", value: "trace".into() }];
    let loaded = load(Some(&path), environment, &flags).unwrap();
    assert_eq!(loaded.config.node_name.as_str(), "from-file");
    assert_eq!(loaded.config.http_max_connections, 7);
    assert_eq!(loaded.config.http_listen.port(), 2);
    assert_eq!(loaded.config.log, "trace");
    assert_eq!(loaded.config.shutdown_grace, Config::default().shutdown_grace);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn every_key_has_a_variable() {
    for (key, value, pointer) in [
        ("node.name", "n1", "n1"),
        ("data_dir", "1", "1"),
        ("http.listen", "[::1]:9", "[::1]:9"),
        ("http.max_connections", "12", "12"),
        ("grpc.listen", "0.0.0.0:9", "0.0.0.0:9"),
        ("database.url", "postgres://u:p@h/db", "<redacted>"),
        ("integrity.key_file", "/keys/k", "/keys/k"),
        ("integrity.checkpoint_dir", "seals", "seals"),
        ("secrets.key_file", "/keys/s", "/keys/s"),
        ("secrets.key", "SECRETS+KEY+x", "<redacted>"),
        ("archive.dir", "/old", "/old"),
        ("log", "debug", "debug"),
        ("log_format", "json", "json"),
        ("shutdown.grace", "5s", "5s"),
    ] {
        let loaded = load(None, variables(&[(&variable_of(key), value)]), &[]).unwrap();
        let shown = loaded.config.redacted();
        let shown = shown.pointer(&format!("/{}", key.replace('.', "/"))).unwrap();
        assert_eq!(shown.as_str().map_or_else(|| shown.to_string(), str::to_owned), pointer, "{key}");
    }
}

/// The variables of a cluster's node.
const CLUSTER: [(&str, &str); 4] = [
    ("FLEXCORE_DATABASE_URL", "postgres://u:p@h/db"),
    ("FLEXCORE_CLUSTER_REDIS_URL", "redis://:hidden@h:6379/1"),
    ("FLEXCORE_CLUSTER_SECRET", "0123456789abcdef0123456789abcdef"),
    ("FLEXCORE_CLUSTER_ADVERTISE", "node-1.internal:50051"),
];

#[test]
fn a_cluster_is_described_whole_and_its_secrets_are_never_shown() {
    let config = load(None, variables(&CLUSTER), &[]).unwrap().config;
    let cluster = config.cluster.clone().unwrap();
    assert_eq!(cluster.advertise.as_deref(), Some("node-1.internal:50051"));
    let shown = format!("{config:?} {}", config.redacted());
    assert!(!shown.contains("hidden") && !shown.contains("0123456789abcdef"), "{shown}");
    assert!(load(None, variables(&[]), &[]).unwrap().config.cluster.is_none());
}

#[test]
fn half_a_cluster_is_refused_with_what_is_missing() {
    for (changed, value, said) in [
        ("FLEXCORE_DATABASE_URL", "", "cluster.redis_url: nodes of a cluster share a database"),
        ("FLEXCORE_CLUSTER_REDIS_URL", "", "cluster.redis_url: missing"),
        ("FLEXCORE_CLUSTER_REDIS_URL", "rediss://:hidden@h", "cluster.redis_url: "),
        ("FLEXCORE_CLUSTER_SECRET", "", "cluster.secret: missing"),
        ("FLEXCORE_CLUSTER_SECRET", "too short", "cluster.secret: expected at least 32"),
        ("FLEXCORE_CLUSTER_ADVERTISE", "node-1", "cluster.advertise: \"node-1\" is not where"),
        ("FLEXCORE_CLUSTER_ADVERTISE", "node 1:50051", "cluster.advertise: "),
        ("FLEXCORE_CLUSTER_ADVERTISE", "node-1:0", "cluster.advertise: "),
    ] {
        let given = CLUSTER.map(|(name, old)| (name, if name == changed { value } else { old }));
        let error = load(None, variables(&given), &[]).unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("hidden") && !error.contains("too short"), "{error}");
    }
    let everywhere = [&CLUSTER[..3], &[("FLEXCORE_GRPC_LISTEN", "0.0.0.0:50051")]].concat();
    let error = load(None, variables(&everywhere), &[]).unwrap_err().to_string();
    assert!(error.contains("cluster.advertise: missing"), "{error}");
}

#[test]
fn every_mistake_at_once_with_its_place() {
    let shown = mistakes(concat!(
        "htttp: {listen: x}\n",
        "http:\n  listen: 0.0.0.0:8080\n  max_connections: 0\n",
        "log_format: xml\n",
        "shutdown:\n  grace: soon\n  grase: 1s\n",
        "auth: {jwt: {}, required: 1}\n",
    ));
    let lines: Vec<&str> = shown.lines().collect();
    let expected = [
        ("flexcore.yaml:4:3: http.max_connections: ", "1 to 65536"),
        ("flexcore.yaml:9:17: auth.required: ", "true or false"),
        ("flexcore.yaml:9:8: auth.jwt: ", "not supported yet: it comes with JSON Web Tokens"),
        ("flexcore.yaml:5:1: log_format: ", "text, json"),
        ("flexcore.yaml:7:3: shutdown.grace: ", "duration"),
        ("flexcore.yaml:8:3: shutdown.grase: ", "did you mean \"grace\""),
        ("flexcore.yaml:3:3: http.listen: ", "set auth.required"),
        ("flexcore.yaml:1:1: htttp: ", "did you mean \"http\""),
    ];
    assert_eq!(lines.len(), expected.len(), "{shown}");
    for (line, (place, message)) in lines.iter().zip(expected) {
        assert!(line.starts_with(place) && line.contains(message), "{line}");
    }
}

#[test]
fn a_mistake_in_the_environment_names_the_variable_and_a_flag_the_flag() {
    let flags = [Flag { flag: "--http-listen", key: "http.listen", value: "here".into() }];
    let error = load(None, variables(&[("FLEXCORE_SHUTDOWN_GRACE", "11m")]), &flags).unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("--http-listen: http.listen: \"here\" is not an address"), "{shown}");
    assert!(shown.contains("FLEXCORE_SHUTDOWN_GRACE: shutdown.grace: expected at most 10m"), "{shown}");
}

#[test]
fn files_that_cannot_be_read() {
    let error = load(Some(Path::new("/nonexistent/f.yaml")), [], &[]).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/f.yaml: cannot read the configuration file"), "{error}");
    assert!(
        mistakes("a: [").starts_with("flexcore.yaml:1:") || mistakes("a: [").starts_with("flexcore.yaml:2:")
    );
    assert!(
        mistakes("log: info\n---\nlog: warn\n")
            .starts_with("flexcore.yaml:3:1: a configuration is one document")
    );
    assert!(mistakes("just text").contains("expected an object"));
    let (_dir, empty) = file("# nothing\n");
    assert_eq!(load(Some(&empty), [], &[]).unwrap().config, Config::default());
}

#[test]
fn unknown_variables_are_warnings() {
    let environment = variables(&[
        ("FLEXCORE_AUTH_JWT_AUDIENCE", "flexcore"),
        ("FLEXCORE_DATADIR", "/x"),
        ("FLEXCORE_PORT_8080_TCP", "tcp://10.0.0.1"),
        ("FLEXCORE_SERVER", "http://x"),
        ("FLEXCORE_LOG", ""),
    ]);
    let loaded = load(None, environment, &[]).unwrap();
    assert_eq!(loaded.config, Config::default(), "an empty variable is not set");
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
    assert!(
        loaded.warnings[0].contains("FLEXCORE_AUTH_JWT_AUDIENCE is ignored")
            && loaded.warnings[0].contains("JSON Web Tokens")
    );
    assert!(loaded.warnings[1].contains("did you mean FLEXCORE_DATA_DIR?"));
    assert!(loaded.warnings[2].contains("FLEXCORE_PORT_8080_TCP is ignored: no such key"));
}

#[test]
fn a_secret_is_never_shown() {
    let url = "postgres://u:hunter2@h/db";
    let loaded = load(None, variables(&[("FLEXCORE_DATABASE_URL", url)]), &[]).unwrap();
    assert_eq!(loaded.config.database_url.as_ref().unwrap().reveal(), url);
    assert!(!format!("{loaded:?}{}", loaded.config.redacted()).contains("hunter2"));
    for bad in ["mysql://u:hunter2@h/db", "postgres://u:hunter2@h:port/db"] {
        let error = load(None, variables(&[("FLEXCORE_DATABASE_URL", bad)]), &[]).unwrap_err();
        assert!(!format!("{error}{error:?}").contains("hunter2"), "{error}");
        assert!(error.to_string().starts_with("FLEXCORE_DATABASE_URL: database.url: "), "{error}");
    }
}
