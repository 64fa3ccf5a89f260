//! Who may use a data directory: one node at a time, and only when the programs of its former life are gone. Never in
//! here: what is kept in the directory.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

/// Held by the node's process alone.
const NODE_FILE: &str = "lock";
/// Held by the node and by the launcher of each of its programs.
const PROGRAMS_FILE: &str = "programs.lock";
/// How long programs of a former life may take to be gone. Their launchers kill them at once: this is for a machine
/// that is too busy to let them.
const FORMER_LIFE: Duration = Duration::from_secs(30);
/// How often they are looked for.
const POLL: Duration = Duration::from_millis(20);

/// One node at a time in a data directory; the lock goes with the process, however it ends.
pub(super) fn node(data_dir: &Path) -> anyhow::Result<File> {
    let file = create(data_dir, NODE_FILE)?;
    let why = match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            "another node runs in it: stop it, or choose another data_dir".to_owned()
        }
        Err(TryLockError::Error(error)) => error.to_string(),
    };
    bail!("data_dir {} cannot be locked: {why}", data_dir.display())
}

/// The lock that every launcher holds together with the node; had when no program of a former life is left. Before
/// that nothing may be started: a step would have two live attempts (S8), and both would write to the same places.
pub(super) async fn programs(data_dir: &Path) -> anyhow::Result<File> {
    let file = create(data_dir, PROGRAMS_FILE)?;
    let end = Instant::now() + FORMER_LIFE;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                bail!("data_dir {}: {PROGRAMS_FILE} cannot be locked: {error}", data_dir.display())
            }
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("waiting for programs of this node's former life to end");
        }
        if Instant::now() >= end {
            bail!(
                "programs of this node's former life still run after {} s: end their {} processes \
                 (those that have {PROGRAMS_FILE} of {} open), then start again",
                FORMER_LIFE.as_secs(),
                flexcore_jailer::PROGRAM_NAME,
                data_dir.display(),
            );
        }
        sleep(POLL).await;
    }
}

fn create(data_dir: &Path, name: &str) -> anyhow::Result<File> {
    let path = data_dir.join(name);
    File::create(&path).with_context(|| format!("{} cannot be written", path.display()))
}
