//! The id of a data directory: who holds its lock and joins the cluster with it supersedes its own former life at once.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use uuid::Uuid;

use crate::durable;

/// The file that holds it.
const HOME_FILE: &str = "node.id";
/// It is no secret.
const MODE: u32 = 0o644;

/// The id, made when there is none. The caller holds the lock of the directory.
pub(super) fn id(data_dir: &Path) -> anyhow::Result<Uuid> {
    let path = data_dir.join(HOME_FILE);
    let broken = || format!("{} cannot be used", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .with_context(|| format!("{} holds no id: delete it, and the node gets another", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::now_v7();
            durable::create(&path, &format!("{id}\n"), MODE).with_context(broken)?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_id() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = id(one.path()).unwrap();
        assert_eq!(id(one.path()).unwrap(), first);
        assert_ne!(id(other.path()).unwrap(), first);
        fs::write(one.path().join(HOME_FILE), "nonsense").unwrap();
        assert!(id(one.path()).unwrap_err().to_string().contains("delete it"));
    }
}
