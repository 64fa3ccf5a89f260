//! `integrity`: the key that signs checkpoints, in its file. Works on files alone, so that a key can be made where no node
//! runs. Never in here: printing a private key.

use std::path::PathBuf;

use flexcore_actors::domain::integrity::note::KeyName;
use flexcore_actors::ports::Signer;

use crate::compose;
use crate::integrity::{KeyError, KeyFile, generate, rotate};

use super::args::{IntegrityCommand, KeyFileArgs};
use super::check::load_config;
use super::failure::{Exit, Failure};
use super::output::Terminal;

/// Does an `integrity` command.
///
/// # Errors
/// When the file cannot be used.
pub fn integrity(terminal: &mut Terminal, command: IntegrityCommand) -> Result<(), Failure> {
    match command {
        IntegrityCommand::Keygen { name, file } => {
            let name = name.map(KeyName::new).transpose().map_err(|e| Failure::usage(e.to_string()))?;
            let path = path(file)?;
            let key = generate(&path, name).map_err(key_failure)?;
            terminal.note(&format!("the private key is in {}: keep it from others", path.display()));
            terminal.line(&key.to_string())
        }
        IntegrityCommand::Rotate(file) => {
            let key = rotate(&path(file)?).map_err(key_failure)?;
            terminal.note(
                "restart the node: its next checkpoint is signed by both keys, those after by the new one",
            );
            terminal.line(&key.to_string())
        }
        IntegrityCommand::Public(file) => {
            let keys = KeyFile::open(&path(file)?, false).map_err(key_failure)?;
            keys.trusted().iter().try_for_each(|key| terminal.line(&key.to_string()))
        }
    }
}

fn path(args: KeyFileArgs) -> Result<PathBuf, Failure> {
    match args.file {
        Some(path) => Ok(path),
        None => {
            let config = load_config(args.config.config.as_deref(), &args.config.flags())?.config;
            Ok(compose::integrity::key_file(&config, &config.data_dir).0)
        }
    }
}

pub(super) fn key_failure(error: KeyError) -> Failure {
    let KeyError::File { source, .. } = &error else { return Failure::failed(error.to_string()) };
    let message = format!("{error}: {source}");
    match source.kind() {
        std::io::ErrorKind::NotFound => Failure::new(Exit::NotFound, message)
            .hint("give the file with --file; a new one is made by: flexcore integrity keygen"),
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Conflict, message).hint("replace a key by: flexcore integrity rotate")
        }
        _ => Failure::failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::captured;
    use super::*;

    fn file(path: &std::path::Path) -> KeyFileArgs {
        KeyFileArgs { file: Some(path.to_path_buf()), config: super::super::args::ConfigArgs::default() }
    }

    #[test]
    fn a_key_is_made_shown_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let run = |command| {
            let (mut terminal, output) = captured();
            integrity(&mut terminal, command).map(|()| output.out())
        };
        assert_eq!(run(IntegrityCommand::Public(file(&path))).unwrap_err().exit, Exit::NotFound);
        let name = Some("example.com/log".to_owned());
        let made = run(IntegrityCommand::Keygen { name, file: file(&path) }).unwrap();
        assert!(made.starts_with("example.com/log+"), "{made}");
        assert_eq!(run(IntegrityCommand::Public(file(&path))).unwrap(), format!("{} -\n", made.trim_end()));
        let again = IntegrityCommand::Keygen { name: None, file: file(&path) };
        assert_eq!(run(again).unwrap_err().exit, Exit::Conflict);
        let next = run(IntegrityCommand::Rotate(file(&path))).unwrap();
        assert!(next.starts_with("example.com/log+") && next != made, "{next}");
        let both = run(IntegrityCommand::Public(file(&path))).unwrap();
        assert_eq!(both, format!("{} -\n{} -\n", next.trim_end(), made.trim_end()));
        let error = run(IntegrityCommand::Rotate(file(&path))).unwrap_err();
        assert!(error.message.contains("being replaced already"), "{error}");
        let bad = IntegrityCommand::Keygen { name: Some("a b".to_owned()), file: file(&path) };
        assert_eq!(run(bad).unwrap_err().exit, Exit::Usage);
    }
}
