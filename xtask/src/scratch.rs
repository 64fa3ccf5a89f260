//! The temporary folder of the private servers, and the random text for its name and for their passwords.
//!
//! Only folders made here are removed here.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Others may pass through to a folder of their own, but not list.
const PASS_THROUGH: u32 = 0o711;

/// A temporary folder, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a folder that exists only for this process, under `TMPDIR` or `/tmp`.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("flexcore-services-{}", random_hex()?));
        fs::create_dir(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        let scratch = Self { path };
        fs::set_permissions(&scratch.path, Permissions::from_mode(PASS_THROUGH))
            .with_context(|| format!("cannot set the mode of {}", scratch.path.display()))?;
        Ok(scratch)
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("warning: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// 128 random bits as hexadecimal digits.
pub fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_everything_in_it() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn random_text_differs_and_has_128_bits() {
        let (one, other) = (random_hex().unwrap(), random_hex().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
