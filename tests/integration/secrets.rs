//! Secrets from the command line to a program, on both stores: what the program gets, and that the value is nowhere else:
//! not on disk, not in the database, logs, answers or arguments.

use std::path::{Path, PathBuf};

use flexcore_test_support::{Node, TestDatabase, wait_for};
use serde_json::{Value, json};

use crate::world::{API, DEADLINE, Done, World, fed, items, text};

const PASSWORD: &str = "hunter2+is/no=password";
const TOKEN: &str = "tok-0815-4711-beef";

/// A node, and where its secrets are.
struct Vault {
    world: World,
    database: Option<TestDatabase>,
}

impl Vault {
    async fn embedded() -> Self {
        Self { world: World::start().await, database: None }
    }

    async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        let builder = Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_DATABASE_URL", database.url());
        Self { world: World::with(builder.start().await).await, database: Some(database) }
    }

    /// `flexcore secrets` with the configuration of the node.
    async fn secrets(&self, arguments: &[&str], input: &str) -> Done {
        let data_dir = self.world.node.data_dir();
        let url = self.database.as_ref().map(TestDatabase::url).unwrap_or_default();
        let variables =
            [("FLEXCORE_DATA_DIR", data_dir.to_str().unwrap()), ("FLEXCORE_DATABASE_URL", url.as_str())];
        fed(self.world.node.folder(), &[&["secrets"], arguments].concat(), &variables, input.as_bytes()).await
    }

    /// Registers a command that runs a script, and is granted the secrets and variables.
    async fn plugin(&self, name: &str, script: &str, secrets: &[&str], env: &[&str]) {
        let folder = shared(&self.world);
        let manifest = json!({
            "kind": "Plugin", "name": name, "version": "1", "type": "processor", "protocol": "command",
            "command": ["/bin/sh", "-c", script, name],
            "capabilities": {"secrets": secrets, "env": env, "read": [folder], "write": [folder], "subprocess": true},
        });
        self.world.post("/plugins", &manifest).await.expect(201);
    }

    /// A pipeline of one step and one attempt.
    async fn pipeline(&self, name: &str, plugin: &str, config: Value) {
        let step = json!({"name": "only", "plugin": plugin, "config": config, "retry": {"attempts": 1}});
        self.world.define(name, &json!([step])).await;
    }

    /// Everything that the node answers about what it knows.
    async fn answers(&self) -> String {
        let mut all = String::new();
        let list = self.world.list("/executions?limit=100").await.expect(200).json;
        let executions =
            items(&list).iter().map(|execution| format!("/executions/{}", text(&execution["id"])));
        let mut paths: Vec<String> = executions
            .flat_map(|path| ["", "/logs", "/events", "/timeline"].map(|part| format!("{path}{part}")))
            .collect();
        for path in [
            "/executions",
            "/pipelines",
            "/pipelines/p",
            "/pipelines/p/revisions",
            "/plugins",
            "/plugins/holder",
            "/plugins/holder/status",
            "/events?limit=1000",
            "/events/export",
            "/audit",
            "/status",
            "/integrity",
            "/inspect/actors",
            "/inspect/aggregates/pipeline-p",
            "/inspect/quarantine",
            "/projections",
        ] {
            paths.push(path.to_owned());
        }
        for path in paths {
            let reply = self.world.client.get(&format!("{API}{path}")).await.expect(200);
            all.push_str(&reply.text);
        }
        all + &self.world.client.get("/metrics").await.expect(200).text
    }

    /// Every row of the database, as text; nothing without one.
    async fn rows(&self) -> String {
        let Some(database) = &self.database else { return String::new() };
        let client = database.connect().await;
        let tables = client
            .query("select quote_ident(relname) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace", &[])
            .await
            .unwrap();
        let mut all = String::new();
        for table in tables {
            let table: String = table.get(0);
            let sql = format!("select coalesce(string_agg(t::text, ' '), '') from {table} t");
            all.push_str(client.query_one(&sql, &[]).await.unwrap().get(0));
        }
        all
    }
}

/// A directory beside the node's data, which plugins may be granted.
fn shared(world: &World) -> PathBuf {
    let folder = world.node.folder().join("shared");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The content of every file below a folder, but for the private directories of running programs.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let shown = path.display().to_string();
        if path.is_dir() && !shown.ends_with("/scratch") {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((shown, std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// The arguments of every process of the host.
fn arguments() -> Vec<u8> {
    let mut all = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap() {
        // one that ends meanwhile has none
        all.extend(std::fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default());
    }
    all
}

/// The form in which a secret is in it: as it is, as hex digits (as PostgreSQL shows bytes), in base64 or URL-encoded.
fn shown(content: &[u8]) -> Option<String> {
    let forms = [PASSWORD, TOKEN].into_iter().flat_map(|secret| {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let url = secret.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let base64 =
            if secret == PASSWORD { "aHVudGVyMitpcy9ubz1wYXNzd29yZA" } else { "dG9rLTA4MTUtNDcxMS1iZWVm" };
        [secret.to_owned(), hex, url, base64.to_owned()]
    });
    forms.into_iter().find(|form| content.windows(form.len()).any(|part| part == form.as_bytes()))
}

#[track_caller]
fn assert_hidden(place: &str, content: &[u8]) {
    assert_eq!(shown(content), None, "{place} shows a secret");
}

/// The search would find what must not be there.
#[test]
fn what_must_not_be_there_would_be_found() {
    let hex = "746f6b2d303831352d343731312d62656566";
    for form in [PASSWORD, TOKEN, "hunter2%2Bis%2Fno%3Dpassword", hex, "dG9rLTA4MTUtNDcxMS1iZWVm"] {
        assert_eq!(shown(format!("x{form}y").as_bytes()).as_deref(), Some(form));
    }
    assert_eq!(shown(b"tok-0815"), None);
}

/// Takes its secrets from all places they are delivered to, shows them in all ways it can, and waits to be looked at.
fn script(folder: &Path) -> String {
    let (ready, go) = (folder.join("ready"), folder.join("go"));
    format!(
        r#"dsn=$(cat); file=$(cat "$FLEXCORE_SECRETS_DIR/PASSWORD")
        sum() {{ printf %s "$1" | sha256sum | cut -c1-64; }}
        echo "dsn $dsn"; echo "file $file" >&2; echo "token $TOKEN"; printf %s "$file" | base64 -w0; echo
        printf %s "$file" | sed 's/+/%2B/;s,/,%2F,;s/=/%3D/;s/^/quoted /'; echo
        printf '{{"dsn":"%s","file":"%s","token":"%s","shown":"it is %s"}}' "$(sum "$dsn")" "$(sum "$file")" "$(sum "$TOKEN")" "$file" >"$FLEXCORE_RESULT"
        touch '{}'; while [ ! -e '{}' ]; do sleep 0.05; done"#,
        ready.display(),
        go.display()
    )
}

fn sha256(value: &str) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(value.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn a_secret_reaches_its_program_and_nothing_else(vault: Vault) {
    let folder = vault.world.node.folder().to_owned();
    vault.secrets(&["set", "PASSWORD"], &format!("{PASSWORD}\n")).await.expect(0).says("PASSWORD is set");
    std::fs::write(folder.join("token"), TOKEN).unwrap();
    vault.secrets(&["set", "TOKEN", "--from-file", "token"], "").await.expect(0);
    std::fs::remove_file(folder.join("token")).unwrap();
    let listed = vault.secrets(&["list"], "").await.expect(0);
    listed.prints("PASSWORD").prints("TOKEN");
    let shared = shared(&vault.world);
    vault.plugin("holder", &script(&shared), &["PASSWORD", "TOKEN"], &["TOKEN"]).await;
    let reference = "postgres://app:${secret.PASSWORD}@db/${today}";
    vault.pipeline("p", "holder", json!({"stdin": reference})).await;
    let id = vault.world.launch("p").await;
    wait_for("the program is ready", DEADLINE, async || {
        if shared.join("ready").exists() { Ok(()) } else { Err(vault.world.node.log()) }
    })
    .await;
    // while it runs
    assert_hidden("the arguments of a process", &arguments());
    assert_hidden("an answer", vault.answers().await.as_bytes());
    std::fs::write(shared.join("go"), "").unwrap();
    let execution = vault.world.ended(&id).await;
    assert_eq!(execution["status"], "completed", "{execution:#}");
    let result = &execution["steps"][0]["attempts"][0]["result"];
    let today = text(&execution["queued_at"])[..10].to_owned();
    let dsn = format!("postgres://app:{PASSWORD}@db/{today}");
    for (field, expected) in [("dsn", dsn.as_str()), ("file", PASSWORD), ("token", TOKEN)] {
        assert_eq!(text(&result[field]), sha256(expected), "{field} is what was set");
    }
    assert_eq!(result["shown"], "it is ***");
    let logs = vault.world.client.get(&format!("{API}/executions/{id}/logs")).await.expect(200).text;
    for line in ["dsn postgres://app:***@db/", "file ***", "token ***", "stdout ***\n", "quoted ***"] {
        assert!(logs.contains(line), "{line} is not in\n{logs}");
    }
    // when it has ended
    let answers = vault.answers().await;
    assert!(answers.contains(reference), "the reference is what is recorded");
    assert_hidden("an answer", answers.as_bytes());
    assert_hidden("the database", vault.rows().await.as_bytes());
    assert_hidden("the node's log", vault.world.node.log().as_bytes());
    let kept = files(&folder);
    assert!(kept.iter().any(|(name, _)| name.ends_with("secrets.key")), "{:?}", kept.len());
    for (name, content) in kept {
        assert_hidden(&name, &content);
    }
    let scratch = vault.world.node.data_dir().join("scratch");
    let left: Vec<_> = std::fs::read_dir(scratch).map_or(vec![], Iterator::collect);
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_secret_of_the_embedded_store_reaches_its_program_and_nothing_else() {
    a_secret_reaches_its_program_and_nothing_else(Vault::embedded().await).await;
}

#[tokio::test]
async fn a_secret_in_postgresql_reaches_its_program_and_nothing_else() {
    a_secret_reaches_its_program_and_nothing_else(Vault::postgres().await).await;
}

/// Who changed which secret is in the audit log of a running node, by name alone, and the log is whole with it.
async fn changes_are_in_the_audit_log(vault: Vault) {
    vault.secrets(&["set", "TOKEN"], TOKEN).await.expect(0);
    vault.secrets(&["rotate"], "").await.expect(0);
    vault.secrets(&["delete", "TOKEN"], "").await.expect(0);
    vault.secrets(&["delete", "TOKEN"], "").await.expect(3);
    let told = wait_for("the audit log tells of them", DEADLINE, async || {
        let audit = vault.world.client.get(&format!("{API}/audit")).await.expect(200).json;
        let own = |row: &&Value| text(&row["action"]).starts_with("secrets ");
        let told: Vec<Value> = items(&audit).iter().filter(own).cloned().collect();
        if told.len() == 3 { Ok(told) } else { Err(audit) }
    })
    .await;
    let actions: Vec<String> = told.iter().map(|row| text(&row["action"])).collect();
    assert_eq!(actions, ["secrets delete TOKEN", "secrets rotate", "secrets set TOKEN"], "newest first");
    for row in &told {
        let actor = text(&row["actor"]);
        let (user, host) = actor.split_once('@').unwrap();
        assert!(!user.is_empty() && host == text(&row["address"]), "{row:#}");
        assert_eq!(row["outcome"], "accepted");
    }
    vault.world.cli(&["verify"]).await.expect(0);
}

#[tokio::test]
async fn changes_in_the_embedded_store_are_in_the_audit_log() {
    changes_are_in_the_audit_log(Vault::embedded().await).await;
}

#[tokio::test]
async fn changes_in_postgresql_are_in_the_audit_log() {
    changes_are_in_the_audit_log(Vault::postgres().await).await;
}

/// Whatever is wrong is named with its cure, and needs no restart of the node.
#[tokio::test]
async fn what_is_missing_or_not_granted_is_named_with_its_cure() {
    let vault = Vault::embedded().await;
    for (arguments, input, why) in [
        (&["set", "A"][..], "abc\n", "at least 4 characters"),
        (&["set", "A-B"], "long enough", "\"A-B\" is not the name of a secret"),
        (&["set", "A", "--from-file", "nowhere"], "", "nowhere cannot be read"),
        (&["set", "A", "hunter2"], "", "unexpected argument"),
    ] {
        vault.secrets(arguments, input).await.expect(2).says(why);
    }
    vault.secrets(&["delete", "A"], "").await.expect(3).says("the secret A does not exist");

    vault.plugin("holder", "cat", &["PASSWORD"], &[]).await;
    let pipeline = |config: &str| {
        format!(
            "{{kind: Pipeline, name: p, steps: [{{name: a, plugin: holder, retry: {{attempts: 1}}, config: {config}}}]}}"
        )
    };
    for (config, why) in [
        ("{stdin: '${secret.OTHER}'}", "steps[0].config.stdin: the secret OTHER is not granted to holder"),
        (
            "{args: ['${secret.PASSWORD}']}",
            "steps[0].config.args[0]: the secret PASSWORD cannot be an argument",
        ),
        (
            "{env: {P: '${secret.PASSWORD}'}}",
            "steps[0].config.env.P: the secret PASSWORD may not be in the environment",
        ),
    ] {
        vault.world.apply(&pipeline(config)).await.expect(2).says(why);
    }
    vault.world.apply(&pipeline("{stdin: '${secret.PASSWORD}'}")).await.expect(0);
    let missing = vault.world.cli(&["run", "p"]).await.expect(1);
    missing.says("the secret PASSWORD does not exist: set it with: flexcore secrets set PASSWORD");
    vault.secrets(&["set", "PASSWORD"], PASSWORD).await.expect(0);
    vault.world.cli(&["run", "p"]).await.expect(0);
    let key = vault.world.node.data_dir().join("secrets.key");
    std::fs::rename(&key, key.with_extension("away")).unwrap();
    vault.world.cli(&["run", "p"]).await.expect(1).says("there is no key for secrets at");
    vault.secrets(&["set", "OTHER"], PASSWORD).await.expect(3).says("there is no key for secrets at");
}

/// Keys are replaced while the node runs; a plugin alone gets secrets too; what a parameter holds is no reference.
#[tokio::test]
async fn keys_and_values_are_replaced_beside_a_running_node() {
    let vault = Vault::embedded().await;
    let script = r#"printf '{"got": "%s"}' "$(cat | sha256sum | cut -c1-64)" >"$FLEXCORE_RESULT""#;
    vault.plugin("holder", script, &["PASSWORD"], &[]).await;
    vault.world.file("config.yaml", "stdin: ${secret.PASSWORD}\n");
    let got = async || {
        let done = vault.world.cli(&["exec", "holder", "--config", "config.yaml"]).await.expect(0);
        text(&done.json()["got"])
    };
    vault.secrets(&["set", "PASSWORD"], PASSWORD).await.expect(0);
    assert_eq!(got().await, sha256(PASSWORD));
    vault.secrets(&["rotate"], "").await.expect(0).says("1 secret is encrypted with the key");
    assert_eq!(got().await, sha256(PASSWORD));
    vault.secrets(&["set", "PASSWORD"], TOKEN).await.expect(0);
    assert_eq!(got().await, sha256(TOKEN));
    vault.world.file("config.yaml", "stdin: ${secret.OTHER}\n");
    let refused = vault.world.cli(&["exec", "holder", "--config", "config.yaml"]).await.expect(2);
    refused.says("config.stdin: the secret OTHER is not granted to holder");

    let step = json!({"name": "a", "plugin": "holder", "config": {"stdin": "${param.what}"}});
    let pipeline = json!({"name": "sly", "parameters": {"what": {"type": "string"}}, "steps": [step]});
    vault.world.post("/pipelines", &pipeline).await.expect(201);
    let parameters = json!({"parameters": {"what": "${secret.PASSWORD}"}});
    let started = vault.world.post("/pipelines/sly/execute", &parameters).await.expect(202);
    let ended = vault.world.ended(&text(&started.json["execution_id"])).await;
    let got = &ended["steps"][0]["attempts"][0]["result"]["got"];
    assert_eq!(text(got), sha256("${secret.PASSWORD}"), "{ended:#}");
}

/// A granted secret that is not there yet is said when the plugin is registered, and refuses nothing.
#[tokio::test]
async fn a_granted_secret_that_is_not_there_is_said_at_once() {
    let vault = Vault::embedded().await;
    let manifest = |name: &str| {
        json!({
            "kind": "Plugin", "name": name, "version": "1", "type": "processor", "protocol": "command",
            "command": ["/bin/true"], "capabilities": {"secrets": ["PASSWORD", "TOKEN"]},
        })
    };
    vault.secrets(&["set", "TOKEN"], TOKEN).await.expect(0);
    let registered = vault.world.post("/plugins", &manifest("a")).await.expect(201).json;
    let why = "the secret PASSWORD does not exist yet: set it with: flexcore secrets set PASSWORD";
    assert_eq!(registered["warnings"], json!([{"field": "capabilities.secrets[0]", "message": why}]));
    vault.world.file("b.yaml", manifest("b").to_string());
    let applied = vault.world.cli(&["apply", "-f", "b.yaml"]).await.expect(0);
    applied.prints("created").says("warning: b.yaml").says(why);
    vault.secrets(&["set", "PASSWORD"], PASSWORD).await.expect(0);
    let again = vault.world.cli(&["apply", "-f", "b.yaml"]).await.expect(0);
    again.prints("unchanged");
    assert!(!again.err.contains("warning"), "{}", again.err);
    let fresh = vault.world.post("/plugins", &manifest("c")).await.expect(201).json;
    assert_eq!(fresh.get("warnings"), None);
}
