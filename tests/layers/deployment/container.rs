//! The Dockerfile, the compose file, the manifests and the unit: each is whole, and they agree with each other.

use serde_json::Value;

use super::{documents, object, text};
use crate::repository;

/// The instructions of a Dockerfile, lines joined and comments left out.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let words = joined.lines().filter_map(|line| line.split_once(' '));
    words.map(|(name, rest)| (name.to_owned(), rest.trim().to_owned())).collect()
}

/// What is wrong with a Dockerfile.
fn faults(dockerfile: &str) -> Vec<String> {
    const KNOWN: &[&str] = &[
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ];
    let manifest =
        std::fs::read_to_string(repository::root().join("Cargo.toml")).expect("the workspace has one");
    let mut faults = Vec::new();
    let mut stages = Vec::new();
    for (name, rest) in instructions(dockerfile) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match name.as_str() {
            "FROM" if words.get(1) == Some(&"AS") => stages.push(words[2].to_owned()),
            "COPY" => match words[0].strip_prefix("--from=") {
                Some(stage) if !stages.iter().any(|known| known == stage) => {
                    faults.push(format!("no stage {stage}"))
                }
                Some(_) => {}
                None => {
                    let sources = &words[..words.len() - 1];
                    let missing = sources.iter().filter(|source| !repository::root().join(source).exists());
                    faults.extend(missing.map(|source| format!("nothing to copy: {source}")));
                }
            },
            "RUN" => {
                let profile =
                    rest.split_once("--profile ").and_then(|(_, rest)| rest.split_whitespace().next());
                let unknown = profile.filter(|name| !manifest.contains(&format!("[profile.{name}]")));
                faults.extend(unknown.map(|name| format!("no profile {name}")));
            }
            "CMD" | "ENTRYPOINT" if serde_json::from_str::<Vec<String>>(&rest).is_err() => {
                faults.push(format!("{name} is no list: {rest}"));
            }
            known if KNOWN.contains(&known) => {}
            other => faults.push(format!("no instruction: {other}")),
        }
    }
    faults
}

fn container() -> Value {
    object("StatefulSet", "flexcore")["spec"]["template"]["spec"]["containers"][0].clone()
}

fn nodes() -> Vec<Value> {
    let compose = documents(&text("compose/compose.yaml")).remove(0);
    let services = compose["services"].as_object().expect("services").clone();
    services.into_iter().filter(|(name, _)| name.starts_with("flexcore-")).map(|(_, node)| node).collect()
}

fn argument(name: &str) -> String {
    let all = instructions(&text("Dockerfile"));
    all.into_iter().rfind(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn the_dockerfile_is_whole() {
    assert_eq!(faults(&text("Dockerfile")), Vec::<String>::new());
}

#[test]
fn a_broken_dockerfile_would_be_noticed() {
    for broken in [
        "COPY sources ./src",
        "COPY --from=builder /a /b",
        "RUN cargo build --profile distribution",
        "CMD [serve]",
        "ENTRYPONT [\"flexcore\"]",
    ] {
        assert_eq!(faults(broken).len(), 1, "{broken}");
    }
}

#[test]
fn every_member_of_the_workspace_is_copied_and_every_program_installed() {
    let dockerfile = text("Dockerfile");
    let manifest =
        std::fs::read_to_string(repository::root().join("Cargo.toml")).expect("the workspace has one");
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("a list of members");
    let folders = members.split('"').skip(1).step_by(2).filter(|member| *member != ".");
    for folder in folders.map(|member| member.split('/').next().expect("split has a first")) {
        assert!(
            dockerfile.contains(&format!("COPY {folder} ./{folder}\n")),
            "{folder} is missing in the build"
        );
    }
    for program in ["flexcore", "flexcore-jailer"] {
        let line = format!("COPY --from=build /source/target/dist/{program} /usr/local/bin/{program}\n");
        assert!(dockerfile.contains(&line), "{line}");
    }
    assert!(argument("ENTRYPOINT").contains("/usr/local/bin/flexcore"));
    let unit = text("systemd/flexcore.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/flexcore "), "the unit starts what the image starts");
}

#[test]
fn image_user_and_data_directory_are_the_same_everywhere() {
    let image = container()["image"].clone();
    assert_eq!(nodes().len(), 3);
    for node in nodes() {
        assert_eq!(node["image"], image);
        let volume = node["volumes"][0].as_str().and_then(|volume| volume.split_once(':'));
        assert_eq!(volume.map(|(_, path)| path.to_owned()), Some(argument("VOLUME")));
        let advertised = node["environment"]["FLEXCORE_CLUSTER_ADVERTISE"].as_str().expect("an address");
        assert!(advertised.starts_with(node["hostname"].as_str().expect("a name")), "{advertised}");
        assert!(node["build"]["dockerfile"] == "deploy/Dockerfile", "{node}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(image, format!("flexcore:{version}"), "the image's tag is the version");
    let mounts = container()["volumeMounts"].clone();
    assert_eq!(mounts[0]["mountPath"], argument("VOLUME"));
    let pod = object("StatefulSet", "flexcore")["spec"]["template"]["spec"]["securityContext"].clone();
    let user = argument("USER");
    assert_eq!(user, format!("{}:{}", pod["runAsUser"], pod["runAsGroup"]));
    assert_ne!(pod["runAsUser"], 0);
}

#[test]
fn every_variable_of_the_container_is_set_once() {
    let container = container();
    let all = container["env"].as_array().expect("a list").iter();
    let mut names: Vec<&str> = all.filter_map(|variable| variable["name"].as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn manifests_point_at_each_other() {
    let set = object("StatefulSet", "flexcore");
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    object("Service", set["spec"]["serviceName"].as_str().expect("a name"));
    for selector in [
        &set["spec"]["selector"]["matchLabels"],
        &object("Service", "flexcore")["spec"]["selector"],
        &object("Service", "flexcore-nodes")["spec"]["selector"],
        &object("PodDisruptionBudget", "flexcore")["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    let secret = documents(&text("kubernetes/secret.example.yaml")).remove(0);
    assert_eq!(secret["metadata"]["name"], container()["envFrom"][0]["secretRef"]["name"]);
    let volume = set["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"].clone();
    object("ConfigMap", volume.as_str().expect("a name"));
}

#[test]
fn nothing_takes_away_what_the_launcher_needs() {
    let context = container()["securityContext"].clone();
    assert_eq!(context["procMount"], "Unmasked");
    assert_eq!(object("StatefulSet", "flexcore")["spec"]["template"]["spec"]["hostUsers"], false);
    for node in nodes() {
        let options = node["security_opt"].to_string();
        assert!(options.contains("seccomp=") && options.contains("systempaths=unconfined"), "{options}");
    }
    let unit = text("systemd/flexcore.service");
    for line in [
        "RestrictNamespaces=no",
        "ProtectKernelTunables=no",
        "ProtectControlGroups=no",
        "Delegate=memory pids cpu",
    ] {
        assert!(unit.lines().any(|known| known == line), "the sandbox needs {line}: docs/sandbox.md");
    }
}
