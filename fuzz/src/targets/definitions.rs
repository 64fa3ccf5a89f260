//! What people write: manifests, pipelines and the operator's policy, from text to what is kept.

use std::collections::BTreeMap;

use flexcore::yaml::{self, Document};
use flexcore_actors::domain::pipeline::{read_definition, resolve_parameters, secret_problems, validate};
use flexcore_actors::domain::plugin::{Capabilities, Granted, Manifest, Policy, read_manifest, read_policy};
use flexcore_actors::domain::problem::Problems;
use serde_json::{Map, json};

/// A file that registers plugins.
pub fn manifest(bytes: &[u8]) -> bool {
    each_document(bytes, |document| {
        let manifest = told(document, read_manifest(&document.value))?;
        let judgement = Policy::default().judge(&manifest);
        assert_eq!(judgement.granted.capabilities, manifest.capabilities, "no policy takes nothing");
        // what was accepted is accepted again as it is kept
        let kept = serde_json::to_value(&manifest).expect("a manifest has a wire form");
        assert_eq!(read_manifest(&kept).expect("what is kept can be read"), manifest);
        Some(())
    })
}

/// A file that defines pipelines.
pub fn pipeline(bytes: &[u8]) -> bool {
    let plugins = plugins();
    each_document(bytes, |document| {
        let definition = told(document, read_definition(&document.value))?;
        let kept = serde_json::to_value(&definition).expect("a definition has a wire form");
        assert_eq!(serde_json::from_value::<_>(kept).ok().as_ref(), Some(&definition));
        told(document, validate(&definition, &plugins))?;
        for program in definition.steps.iter().flat_map(|step| &step.pipe) {
            let manifest = &plugins[&program.plugin];
            let (config, parameters) = (json!(program.config), json!(program.parameters));
            let problems = secret_problems(manifest, &config, &parameters, "");
            assert_eq!(problems, Problems::default(), "validation missed what a start refuses");
        }
        drop(resolve_parameters(&definition.parameters, &Map::new(), jiff::civil::date(2026, 1, 2)));
        Some(())
    })
}

/// The operator's policy: nothing is granted that was not asked for, and more denied or less allowed grants no more.
pub fn policy(bytes: &[u8]) -> bool {
    each_document(bytes, |document| {
        let policy = told(document, read_policy(&document.value, "sha256:0".to_owned()))?;
        for manifest in plugins().values() {
            let granted = policy.judge(manifest).granted;
            assert!(covers(&manifest.capabilities, &granted.capabilities), "more than was asked for");
            assert_eq!(granted.policy.as_deref(), Some("sha256:0"));
            let rules = policy.rules().expect("it was read from a file");
            for left_out in 0..rules.len() {
                let mut fewer = rules.to_vec();
                fewer[left_out].allow = Default::default();
                assert!(
                    covers(&granted.capabilities, &judge(fewer, manifest).capabilities),
                    "less allows more"
                );
                let mut milder = rules.to_vec();
                milder[left_out].deny = Default::default();
                assert!(
                    covers(&judge(milder, manifest).capabilities, &granted.capabilities),
                    "denial grants"
                );
            }
        }
        Some(())
    })
}

fn judge(rules: Vec<flexcore_actors::domain::plugin::Rule>, manifest: &Manifest) -> Granted {
    Policy::new(rules, "sha256:0".to_owned()).judge(manifest).granted
}

/// Whether `more` holds all of `less`.
fn covers(more: &Capabilities, less: &Capabilities) -> bool {
    let lists = |of: &Capabilities| {
        [&of.read, &of.write, &of.connect, &of.secrets, &of.env, &of.api].map(Clone::clone)
    };
    let listed =
        lists(more).iter().zip(&lists(less)).all(|(more, less)| less.iter().all(|l| more.contains(l)));
    listed && (more.subprocess || !less.subprocess)
}

/// Reads a file as `apply` does; whether every document of it was accepted.
fn each_document(bytes: &[u8], mut read: impl FnMut(&Document) -> Option<()>) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(documents) = yaml::parse(text) else { return false };
    let accepted = documents.iter().filter_map(&mut read).count();
    accepted > 0 && accepted == documents.len()
}

/// A refusal names at least one problem, each can be shown in the file, and the text is not boundless.
fn told<T>(document: &Document, read: Result<T, Problems>) -> Option<T> {
    let problems = match read {
        Ok(read) => return Some(read),
        Err(problems) => problems,
    };
    assert!(!problems.0.is_empty());
    for problem in &problems.0 {
        let mark = document.position(&problem.field);
        assert!(mark.line >= 1 && mark.column >= 1);
        // a refusal may name every field, but does not repeat the file
        assert!(!problem.message.is_empty() && problem.message.len() < 10_000);
    }
    None
}

/// Plugins that pipelines may name and that ask a policy for everything there is.
fn plugins() -> BTreeMap<flexcore_actors::domain::ids::Name, Manifest> {
    let manifest = |name: &str, kind: &str, protocol: &str| {
        let manifest = read_manifest(&json!({
            "name": name, "version": "1", "type": kind, "protocol": protocol, "command": [name],
            "capabilities": {
                "read": ["/data/in", "/etc/ssl"], "write": ["/data/out", "${workdir}/x"],
                "connect": ["db.internal:5432", "[::1]:443", "10.0.0.7:80"],
                "secrets": ["PASSWORD", "TOKEN"], "env": ["TOKEN", "TZ"], "subprocess": true,
            },
        }));
        let manifest = manifest.expect("it is a good manifest");
        (manifest.name.clone(), manifest)
    };
    let plugins =
        [("tap", "extractor", "singer"), ("target", "loader", "singer"), ("report", "processor", "command")];
    plugins.map(|(name, kind, protocol)| manifest(name, kind, protocol)).into()
}
