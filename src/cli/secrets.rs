//! `secrets`: sets, lists and deletes secrets in the store itself, beside a running node or without one, and looks after the
//! key. There is no route for it: a value never travels over HTTP. Never in here: printing a value or a key.

use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use flexcore_actors::domain::secret::{SecretName, SecretValue};
use flexcore_actors::limits::MAX_SECRET_BYTES;
use flexcore_actors::ports::event_store::StoreError;
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::compose;
use crate::config::Config;
use crate::secrets::{KeyError, KeyPlace, Listed, Vault, VaultError, generate};

use super::args::{SecretsArgs, SecretsCommand};
use super::failure::{Exit, Failure, chain};
use super::migrate::{refused, store_config};
use super::output::{Format, Terminal};
use super::recorded::{recorded, recorder};
use super::table::Table;

/// Does a `secrets` command.
///
/// # Errors
/// A wrong name or value, a secret that is not there ([`Exit::NotFound`]), a key that cannot be used, a store that cannot
/// be reached ([`Exit::Unavailable`]).
pub async fn secrets(terminal: &mut Terminal, args: SecretsArgs) -> Result<(), Failure> {
    let config = store_config(terminal, &args.store)?;
    match args.command {
        SecretsCommand::Set { name, from_file } => {
            let name = named(&name)?;
            // before anything is opened or made: what is wrong with the value is known at once
            let value = match from_file {
                Some(path) => from(&path)?,
                None => piped(&mut io::stdin())?,
            };
            let value = SecretValue::new(value).map_err(|unfit| Failure::usage(unfit.to_string()))?;
            let (vault, audit) = (open(&config, true).await?, recorder(&config).await?);
            vault.set(&name, &value, Timestamp::now()).await.map_err(|e| failure(&e))?;
            recorded(&audit, format!("secrets set {name}")).await?;
            terminal
                .note(&format!("the secret {name} is set: executions that start from now on are given it"));
            Ok(())
        }
        SecretsCommand::List { output } => {
            let all = open(&config, false).await?.list().await.map_err(|e| failure(&e))?;
            show(terminal, &all, output)
        }
        SecretsCommand::Delete { name } => {
            let name = named(&name)?;
            let (vault, audit) = (open(&config, false).await?, recorder(&config).await?);
            vault.delete(&name).await.map_err(|e| failure(&e))?;
            recorded(&audit, format!("secrets delete {name}")).await?;
            terminal.note(&format!("the secret {name} is deleted"));
            Ok(())
        }
        SecretsCommand::Keygen { file } => keygen(terminal, &config, file.as_deref()),
        SecretsCommand::Rotate => {
            let (vault, audit) = (open(&config, false).await?, recorder(&config).await?);
            let rotated = vault.rotate().await.map_err(|e| failure(&e))?;
            recorded(&audit, "secrets rotate".to_owned()).await?;
            terminal.note(&rotation(rotated.secrets, &rotated.key));
            if config.secrets_key.is_some() {
                terminal.note("take the old key out of secrets.key (FLEXCORE_SECRETS_KEY), for each node");
            }
            Ok(())
        }
    }
}

fn rotation(secrets: usize, key: &impl std::fmt::Display) -> String {
    let encrypted = if secrets == 1 { "1 secret is".to_owned() } else { format!("{secrets} secrets are") };
    format!("{encrypted} encrypted with the key {key} now")
}

fn named(name: &str) -> Result<SecretName, Failure> {
    SecretName::new(name).map_err(|invalid| Failure::usage(invalid.to_string()))
}

async fn open(config: &Config, make: bool) -> Result<Vault, Failure> {
    compose::secrets::open(config, make).await.map_err(|error| refused(&error))
}

fn from(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::usage(format!("{} cannot be read: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    bounded(file).map_err(unreadable)
}

/// One newline at the end is not meant: `echo` and editors add it.
fn piped(input: &mut (impl Read + MaybeTerminal)) -> Result<Vec<u8>, Failure> {
    if input.is_a_terminal() {
        return Err(Failure::usage("a secret is not typed where it can be seen")
            .hint("pipe it in (pass show db | flexcore secrets set NAME), or name a file with --from-file"));
    }
    let mut value =
        bounded(input).map_err(|error| Failure::usage(format!("standard input cannot be read: {error}")))?;
    if value.ends_with(b"\n") {
        value.pop();
        if value.ends_with(b"\r") {
            value.pop();
        }
    }
    Ok(value)
}

/// No more than what tells that it is too much. The memory is never moved, so that no copy of the value stays behind.
fn bounded(input: impl Read) -> io::Result<Vec<u8>> {
    let most = MAX_SECRET_BYTES + 3;
    let mut value = Zeroizing::new(Vec::with_capacity(most + 1));
    input.take(most as u64).read_to_end(&mut value)?;
    Ok(std::mem::take(&mut *value))
}

trait MaybeTerminal {
    fn is_a_terminal(&self) -> bool;
}

impl MaybeTerminal for io::Stdin {
    fn is_a_terminal(&self) -> bool {
        self.is_terminal()
    }
}

fn keygen(terminal: &mut Terminal, config: &Config, file: Option<&Path>) -> Result<(), Failure> {
    let path = match (file, compose::secrets::key_place(config, &config.data_dir)) {
        (Some(path), _) => path.to_owned(),
        (None, KeyPlace::File(path)) => path,
        (None, KeyPlace::Given(_)) => {
            return Err(Failure::usage(
                "secrets.key gives the key itself: name the file for a new one with --file",
            ));
        }
    };
    let key = generate(&path).map_err(|error| key_failure(&error))?;
    terminal.note(&format!(
        "the key is in {}: keep it from others, and a copy apart from the database",
        path.display()
    ));
    terminal.line(&key.to_string())
}

fn show(terminal: &mut Terminal, all: &[Listed], output: Format) -> Result<(), Failure> {
    if output == Format::Json {
        let item = |secret: &Listed| -> Value {
            json!({"name": secret.name.as_str(), "set_at": secret.set_at.to_string(), "key": secret.key.to_string()})
        };
        return terminal.json(&json!({"items": all.iter().map(item).collect::<Vec<_>>()}));
    }
    let mut table = Table::new(&["NAME", "SET", "KEY"]);
    for secret in all {
        let set_at = secret.set_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        table.row([secret.name.to_string(), set_at, secret.key.to_string()]);
    }
    terminal.table(&table)
}

fn failure(error: &VaultError) -> Failure {
    match error {
        VaultError::Key(error) => key_failure(error),
        VaultError::NoKey { .. } => Failure::new(Exit::NotFound, error.to_string()),
        VaultError::Unknown(names) => {
            let names: Vec<&str> = names.iter().map(SecretName::as_str).collect();
            Failure::new(Exit::NotFound, format!("the secret {} does not exist", names.join(", ")))
                .hint("see those that do with: flexcore secrets list")
        }
        VaultError::Store(store) => {
            let exit = if StoreError::retryable(store) { Exit::Unavailable } else { Exit::Failed };
            Failure::new(exit, format!("{error}: {}", chain(store)))
        }
        VaultError::WrongKey { .. } | VaultError::Busy => Failure::new(Exit::Conflict, error.to_string()),
        VaultError::Damaged { .. } | VaultError::System(_) => Failure::failed(chain(error)),
    }
}

fn key_failure(error: &KeyError) -> Failure {
    let KeyError::File { source, .. } = error else { return Failure::failed(error.to_string()) };
    let message = format!("{error}: {source}");
    match source.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Conflict, message).hint("replace a key by: flexcore secrets rotate")
        }
        _ => Failure::failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::StoreArgs;
    use super::super::testing::captured;
    use super::*;

    impl MaybeTerminal for &[u8] {
        fn is_a_terminal(&self) -> bool {
            self.starts_with(b"typed")
        }
    }

    #[test]
    fn one_newline_at_the_end_is_left_out() {
        for (input, expected) in [
            (&b"hunter2\n"[..], &b"hunter2"[..]),
            (b"hunter2\r\n", b"hunter2"),
            (b"a\n\n", b"a\n"),
            (b"", b""),
        ] {
            assert_eq!(piped(&mut &*input).unwrap(), expected);
        }
        let typed = piped(&mut &b"typed"[..]).unwrap_err();
        assert!(typed.exit == Exit::Usage && typed.hint.unwrap().contains("--from-file"));
        let long = vec![b'x'; 2 * MAX_SECRET_BYTES];
        assert!(SecretValue::new(piped(&mut &long[..]).unwrap()).is_err());
    }

    #[tokio::test]
    async fn secrets_are_set_listed_rotated_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value");
        std::fs::write(&file, "hunter2").unwrap();
        let data_dir = folder.path().join("data").display().to_string();
        let run = async |command| {
            let (mut terminal, output) = captured();
            let store = StoreArgs { data_dir: Some(data_dir.clone()), ..StoreArgs::default() };
            secrets(&mut terminal, SecretsArgs { command, store }).await.map(|()| output.out())
        };
        let set = |name: &str| SecretsCommand::Set { name: name.to_owned(), from_file: Some(file.clone()) };
        let list = || SecretsCommand::List { output: Format::Json };
        let delete = |name: &str| SecretsCommand::Delete { name: name.to_owned() };
        for command in [list(), delete("A"), SecretsCommand::Rotate] {
            let absent = run(command).await.unwrap_err();
            assert!(absent.message.contains("there is no embedded store"), "{absent}");
            assert!(!Path::new(&data_dir).exists(), "nothing is made");
        }
        for bad in ["A-B", "", "9"] {
            assert_eq!(run(set(bad)).await.unwrap_err().exit, Exit::Usage, "{bad}");
        }
        run(set("DB_PASSWORD")).await.unwrap();
        run(set("TOKEN")).await.unwrap();
        let before: Value = serde_json::from_str(&run(list()).await.unwrap()).unwrap();
        assert_eq!(before["items"].as_array().unwrap().len(), 2);
        run(SecretsCommand::Rotate).await.unwrap();
        let after: Value = serde_json::from_str(&run(list()).await.unwrap()).unwrap();
        assert_eq!(after["items"][0]["name"], "DB_PASSWORD");
        assert_ne!(after["items"][0]["key"], before["items"][0]["key"]);
        assert_eq!(after["items"][0]["set_at"], before["items"][0]["set_at"]);
        run(delete("TOKEN")).await.unwrap();
        assert_eq!(run(delete("TOKEN")).await.unwrap_err().exit, Exit::NotFound);
        assert_eq!(run(SecretsCommand::Keygen { file: None }).await.unwrap_err().exit, Exit::Conflict);
        let other = SecretsCommand::Keygen { file: Some(folder.path().join("other")) };
        assert_eq!(run(other).await.unwrap().trim().len(), 16);
    }
}
