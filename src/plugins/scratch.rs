//! The private directory of an attempt: one subdirectory a program, gone when the attempt is.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flexcore_actors::ports::plugin_host::PipeSpec;

/// Under the data directory.
const DIRECTORY: &str = "scratch";

/// The directory of one attempt; removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory of an attempt anew, with what a former life of the node may have left there removed.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn create(data_dir: &Path, spec: &PipeSpec) -> io::Result<Self> {
        let name = format!("{}-{}-{}", spec.execution, spec.step, spec.attempt);
        Self::create_named(data_dir, &name)
    }

    /// The same under a name of the caller's, for work outside of an attempt.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn create_named(data_dir: &Path, name: &str) -> io::Result<Self> {
        let path = data_dir.join(DIRECTORY).join(name);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// The directory of the program at place `n`, made if need be.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn program(&self, n: usize) -> io::Result<PathBuf> {
        let path = self.0.join(n.to_string());
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Where the program at place `n` finds its secrets on a host whose file system it shares: beside its own directory, made
    /// by whoever starts it.
    #[must_use]
    pub fn secrets(&self, n: usize) -> PathBuf {
        self.0.join(format!("secrets-{n}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "scratch directory could not be removed");
        }
    }
}

/// Writes a new file that only its owner can read.
///
/// # Errors
/// When it exists or cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

/// Removes what attempts of a former life of the node left; to be called before the first attempt.
///
/// # Errors
/// When it cannot be removed.
pub fn clear_leftovers(data_dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(data_dir.join(DIRECTORY)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_owner() {
        let data = tempfile::tempdir().unwrap();
        let scratch = Scratch::create_named(data.path(), "a").unwrap();
        let program = scratch.program(0).unwrap();
        write_private(&program.join("config.json"), b"{}").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&program), mode(&program.join("config.json"))), (0o700, 0o600));
        drop(scratch);
        assert!(!data.path().join("scratch/a").exists());
    }

    #[test]
    fn leftovers_are_cleared() {
        let data = tempfile::tempdir().unwrap();
        clear_leftovers(data.path()).unwrap();
        fs::create_dir_all(data.path().join("scratch/old/0")).unwrap();
        fs::write(data.path().join("scratch/old/0/state.json"), "{}").unwrap();
        let scratch = Scratch::create_named(data.path(), "old").unwrap();
        assert!(!scratch.program(0).unwrap().join("state.json").exists());
        std::mem::forget(scratch);
        clear_leftovers(data.path()).unwrap();
        assert!(!data.path().join("scratch").exists());
    }
}
