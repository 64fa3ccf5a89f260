//! A disk of a few megabytes that a test can fill and free: a file system in memory, mounted where this thread and the
//! programs it starts see it, and nobody else. It goes with them.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// What is written at once to fill it.
const PIECE: usize = 64 << 10;

/// The disk.
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many megabytes. Whoever is to see it is started by this thread.
    ///
    /// # Panics
    /// Without the right to mount.
    pub(crate) fn mount(megabytes: usize) -> Self {
        const RIGHT: &str =
            "this test mounts a small disk, for itself alone: run it as root, or as whoever may mount";
        let folder = TempDir::with_prefix("flexcore-disk-").expect("a temporary folder can be made");
        unshare(CloneFlags::CLONE_NEWNS).unwrap_or_else(|e| panic!("{RIGHT} (unshare: {e})"));
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .unwrap_or_else(|e| panic!("{RIGHT} (make mounts private: {e})"));
        let options = format!("size={megabytes}m,mode=0755");
        mount(Some("small"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .unwrap_or_else(|e| panic!("{RIGHT} (mount tmpfs: {e})"));
        Self { folder }
    }

    /// A new folder on it.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).expect("a folder can be made on the disk");
        path
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes the last byte of it.
    ///
    /// # Panics
    /// If it does not become full.
    pub(crate) fn fill(&self) {
        let mut ballast =
            File::options().create(true).append(true).open(self.ballast()).expect("it has room");
        for size in [PIECE, 1] {
            let piece = vec![b'x'; size];
            let full = loop {
                if let Err(error) = ballast.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}
