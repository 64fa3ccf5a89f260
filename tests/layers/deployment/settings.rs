//! Configuration in the files of `deploy/`: every key, variable, port and route in them is one of the program's.

use std::collections::BTreeSet;

use flexcore::config::{self, Config};
use serde_json::Value;

use super::{manifests, object, text, texts};
use crate::repository;

/// Variables of the command line itself.
const OF_THE_COMMAND_LINE: &[&str] = &["FLEXCORE_CONFIG", "FLEXCORE_SERVER"];

fn variable_of(key: &str) -> String {
    format!("FLEXCORE_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The keys that the program shows for its own configuration.
fn keys() -> BTreeSet<String> {
    fn walk(prefix: &str, value: &Value, keys: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, field)| {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                walk(&path, field, keys);
            }),
            _ => {
                keys.insert(prefix.to_owned());
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk("", &Config::default().redacted(), &mut keys);
    keys
}

/// The `FLEXCORE_…` words of a text that name no key.
fn unknown_variables(text: &str) -> Vec<String> {
    let known: BTreeSet<String> = keys().iter().map(|key| variable_of(key)).collect();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.strip_prefix("FLEXCORE_").is_some_and(|rest| !rest.is_empty()));
    ours.filter(|word| !known.contains(*word) && !OF_THE_COMMAND_LINE.contains(word))
        .map(str::to_owned)
        .collect()
}

/// What the program says is wrong with a configuration, read with these variables.
fn mistakes(yaml: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory for the file");
    let file = directory.path().join("flexcore.yaml");
    std::fs::write(&file, yaml).expect("the file can be written");
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let Err(error) = config::load(Some(&file), variables, &[]) else { return Vec::new() };
    error.0.into_iter().map(|mistake| format!("{}: {}", mistake.key, mistake.message)).collect()
}

fn embedded() -> String {
    let map = object("ConfigMap", "flexcore");
    map["data"]["flexcore.yaml"].as_str().expect("the ConfigMap holds flexcore.yaml").to_owned()
}

#[test]
fn every_configuration_in_deploy_is_one_the_program_takes() {
    // the compose file gives each node its own
    let reached = [("FLEXCORE_CLUSTER_ADVERTISE", "flexcore-1:50051")];
    let compose = text("compose/flexcore.example.yaml");
    assert_eq!(mistakes(&compose, &reached), Vec::<String>::new(), "{compose}");
    assert!(!mistakes(&compose, &[]).is_empty(), "without it the others reach nobody");
    assert_eq!(mistakes(&embedded(), &[]), Vec::<String>::new(), "{}", embedded());
    let commented = embedded().replace("required: no-cgroup", "").replace("# required:", "required:");
    let commented = commented.replace("# accept_missing:", "accept_missing:");
    assert_eq!(mistakes(&commented, &[]), Vec::<String>::new(), "what the comment offers:\n{commented}");
}

#[test]
fn a_wrong_configuration_would_be_noticed() {
    for wrong in
        ["http: {lisen: 127.0.0.1:80}", "sandbox: {required: strictest}", "http: {listen: 0.0.0.0:8080}"]
    {
        assert!(!mistakes(wrong, &[]).is_empty(), "{wrong}");
    }
    assert_eq!(unknown_variables("FLEXCORE_DATA_DIRS=x FLEXCORE_LOG=info"), ["FLEXCORE_DATA_DIRS"]);
}

#[test]
fn every_variable_in_deploy_names_a_key() {
    let mut seen = 0;
    for file in repository::files().iter().filter(|file| file.starts_with("deploy")) {
        let name = file.strip_prefix("deploy").expect("filtered above").display().to_string();
        let text = text(&name);
        seen += text.matches("FLEXCORE_").count();
        // an ellipsis stands for any of them
        assert_eq!(unknown_variables(&text.replace("FLEXCORE_…", "")), Vec::<String>::new(), "{name}");
    }
    assert!(seen > 5, "the files name variables");
}

#[test]
fn ports_are_the_defaults() {
    let http = u64::from(Config::default().http_listen.port());
    let service = |name: &str| object("Service", name)["spec"]["ports"][0]["port"].as_u64();
    assert_eq!(service("flexcore"), Some(http));
    let grpc = service("flexcore-nodes").expect("the headless service has a port");
    let set = object("StatefulSet", "flexcore");
    let ports = &set["spec"]["template"]["spec"]["containers"][0]["ports"];
    let of = |name: &str| {
        let all = ports.as_array().expect("a list of ports");
        all.iter().find(|port| port["name"] == name).and_then(|port| port["containerPort"].as_u64())
    };
    assert_eq!((of("http"), of("grpc")), (Some(http), Some(grpc)));
    let exposed = format!("EXPOSE {http} {grpc}");
    assert!(text("Dockerfile").lines().any(|line| line == exposed), "{exposed}");
    for (file, documents) in manifests() {
        documents.iter().for_each(|document| {
            texts(document, &mut |text| {
                let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u64>().ok());
                let is_node =
                    text.starts_with("flexcore-") || text.starts_with("0.0.0.0") || text.contains("-nodes");
                if let Some(port) = port.filter(|_| is_node) {
                    let bound = text.starts_with("0.0.0.0") && port == http;
                    assert!(port == grpc || bound, "{file}: {text}");
                }
            });
        });
    }
}

#[test]
fn probes_ask_for_routes_of_the_table_where_http_listens() {
    let set = object("StatefulSet", "flexcore");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let mut asked: Vec<String> = ["startupProbe", "livenessProbe", "readinessProbe"]
        .iter()
        .map(|probe| {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["port"], "http", "{probe}");
            get["path"].as_str().expect("a path").to_owned()
        })
        .collect();
    let dockerfile = text("Dockerfile");
    let check = dockerfile.lines().find(|line| line.starts_with("HEALTHCHECK")).expect("a health check");
    let base = format!("http://{}", Config::default().http_listen);
    let url = check.split('"').find(|word| word.starts_with("http://")).expect("a URL");
    asked.push(url.strip_prefix(&base).unwrap_or_else(|| panic!("{url} is not on {base}")).to_owned());
    for path in &asked {
        let route = flexcore::http::ROUTES.iter().find(|route| route.path == path);
        assert!(route.is_some_and(|route| route.needs.is_none()), "no such route for everyone: {path}");
    }
    assert_eq!(asked[2], "/ready");
    let alive = asked.iter().filter(|path| *path == "/health").count();
    assert_eq!(alive, 3, "a node whose database is away is not ready, and must not be restarted for it");
}

#[test]
fn nobody_is_killed_before_the_grace_ends() {
    let grace = Config::default().shutdown_grace.as_secs();
    let set = object("StatefulSet", "flexcore");
    let pod = set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(pod.is_some_and(|seconds| seconds > grace), "{pod:?}");
    let unit = text("systemd/flexcore.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    assert!(
        stop.and_then(|seconds| seconds.parse::<u64>().ok()).is_some_and(|seconds| seconds > grace),
        "{stop:?}"
    );
}

#[test]
fn every_figure_of_the_operations_guide_is_one_that_nodes_give() {
    let read = |file: &str| std::fs::read_to_string(repository::root().join(file)).expect(file);
    let (guide, source) = (read("docs/operations.md"), read("src/http/metrics.rs"));
    let figures: Vec<&str> = guide.split('`').filter(|word| word.starts_with("flexcore_")).collect();
    assert!(figures.len() > 5, "the guide names figures");
    for figure in figures {
        let name =
            figure.trim_start_matches("flexcore_").trim_end_matches("_total").trim_end_matches("_seconds");
        assert!(source.contains(&format!("\"{name}\"")), "no figure {figure}");
    }
}
