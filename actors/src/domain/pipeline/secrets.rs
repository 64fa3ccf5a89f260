//! Which secrets a program's configuration may refer to, and where: only what its manifest grants, never in an argument,
//! and in the environment only where the manifest says so too. Never in here: whether a secret exists, or its value.

use serde_json::Value;

use super::template::secret_places;
use crate::domain::plugin::{Manifest, Protocol};
use crate::domain::problem::Problems;
use crate::domain::secret::{SecretName, SecretPlace};

/// What is wrong with the references to secrets in a program's `config` and `parameters`, whose fields lie below `path`.
/// Asked when a definition is stored, and again before each start: the manifest may have changed since.
#[must_use]
pub fn secret_problems(manifest: &Manifest, config: &Value, parameters: &Value, path: &str) -> Problems {
    let mut problems = Problems::default();
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    for place in secret_places(config, None) {
        for name in place.names() {
            if let Some(message) = refusal(manifest, &place, name) {
                problems.add(below(&format!("{prefix}config"), &place.field), message);
            }
        }
    }
    for place in secret_places(parameters, None) {
        for name in place.names() {
            let message = format!(
                "the secret {name} cannot be a parameter: parameters are shown and recorded; put it into config"
            );
            problems.add(below(&format!("{prefix}parameters"), &place.field), message);
        }
    }
    problems
}

fn below(path: &str, field: &str) -> String {
    if field.starts_with('[') || field.is_empty() {
        format!("{path}{field}")
    } else {
        format!("{path}.{field}")
    }
}

fn refusal(manifest: &Manifest, place: &SecretPlace, name: &SecretName) -> Option<String> {
    let plugin = &manifest.name;
    let lists = |names: &[String]| names.iter().any(|listed| listed == name.as_str());
    let below = |key: &str| {
        place.pointer.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !lists(&manifest.capabilities.secrets) {
        return Some(format!(
            "the secret {name} is not granted to {plugin}: list it under capabilities.secrets of the plugin"
        ));
    }
    if manifest.protocol != Protocol::Command {
        return None;
    }
    if below("/args") {
        return Some(format!(
            "the secret {name} cannot be an argument, which every user of the host can see: \
             put it into config.stdin, or let the program read the file $FLEXCORE_SECRETS_DIR/{name}"
        ));
    }
    if below("/env") && !lists(&manifest.capabilities.env) {
        return Some(format!(
            "the secret {name} may not be in the environment of {plugin}: list it under capabilities.env of the plugin too"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::plugin::read_manifest;

    fn problems(protocol: &str, config: &Value, parameters: &Value) -> Vec<String> {
        let manifest = read_manifest(&json!({
            "name": "report", "version": "1", "type": "extractor", "protocol": protocol, "command": ["report"],
            "capabilities": {"secrets": ["PASSWORD", "TOKEN"], "env": ["TOKEN", "OTHER"]},
        }))
        .unwrap();
        let found = secret_problems(&manifest, config, parameters, "steps[0]").0;
        found.into_iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
    }

    #[test]
    fn what_is_granted_may_be_used() {
        let config =
            json!({"dsn": ["postgres://u:${secret.PASSWORD}@${param.host}/"], "stdin": "${secret.TOKEN}"});
        for protocol in ["singer", "flexcore", "command"] {
            assert_eq!(problems(protocol, &config, &json!({"day": "${today}"})), [""; 0], "{protocol}");
        }
        let env = json!({"env": {"API_TOKEN": "Bearer ${secret.TOKEN}"}, "arguments": "${secret.PASSWORD}"});
        assert_eq!(problems("command", &env, &json!(null)), [""; 0]);
        let not_special = json!({"args": ["${secret.PASSWORD}"], "env": {"A": "${secret.PASSWORD}"}});
        assert_eq!(problems("singer", &not_special, &json!(null)), [""; 0], "they mean nothing to singer");
    }

    #[test]
    fn every_reference_that_may_not_be_is_named_with_its_cure() {
        let config = json!({
            "a": {"b": "${secret.OTHER}${secret.THIRD}"}, "args": ["-p", "x${secret.PASSWORD}"],
            "env": {"A": "${secret.PASSWORD}"},
        });
        let expected = [
            "steps[0].config.a.b: the secret OTHER is not granted to report: list it under capabilities.secrets of the plugin",
            "steps[0].config.a.b: the secret THIRD is not granted to report: list it under capabilities.secrets of the plugin",
            "steps[0].config.args[1]: the secret PASSWORD cannot be an argument, which every user of the host can see: \
             put it into config.stdin, or let the program read the file $FLEXCORE_SECRETS_DIR/PASSWORD",
            "steps[0].config.env.A: the secret PASSWORD may not be in the environment of report: list it under capabilities.env of the plugin too",
            "steps[0].parameters.p: the secret TOKEN cannot be a parameter: parameters are shown and recorded; put it into config",
        ];
        assert_eq!(problems("command", &config, &json!({"p": "${secret.TOKEN}"})), expected);
    }
}
