//! The files of `deploy/`: what they say to FlexCore and to each other must be true, so that none of them is left behind
//! when a key, a port, a route or a path changes. The unit's command line is checked beside the command line itself.

mod container;
mod settings;

use std::path::Path;

use serde_json::Value;

use crate::repository;

/// The text of a file of `deploy/`.
fn text(file: &str) -> String {
    let path = repository::root().join("deploy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The documents of a YAML text.
fn documents(yaml: &str) -> Vec<Value> {
    let documents = flexcore::yaml::parse(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    documents.into_iter().map(|document| document.value).collect()
}

/// Every YAML file of `deploy/` with its documents.
fn manifests() -> Vec<(String, Vec<Value>)> {
    let in_deploy = repository::files().into_iter().filter(|file| file.starts_with("deploy"));
    let yaml = in_deploy.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let name = |file: &Path| file.strip_prefix("deploy").expect("filtered above").display().to_string();
    let read: Vec<_> = yaml.map(|file| (name(&file), documents(&text(&name(&file))))).collect();
    assert!(read.len() >= 4, "compose, its configuration, manifests, secret: {read:?}");
    read
}

/// The one document of its kind (and, where there are several, name) among the Kubernetes manifests.
fn object(kind: &str, name: &str) -> Value {
    let all = documents(&text("kubernetes/flexcore.yaml"));
    let found = all.into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Calls `visit` with every text in `value`, keys of objects included.
fn texts(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, visit)),
        Value::Object(fields) => fields.iter().for_each(|(key, item)| {
            visit(key);
            texts(item, visit);
        }),
        _ => {}
    }
}
