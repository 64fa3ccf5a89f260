//! The kernel's small files: one value in, one number out.

use super::CgroupError;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Above the size of every file that is read here.
const FILE_BYTES: usize = 4096;

/// A value for a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) path: PathBuf,
    pub(super) value: String,
    /// Whether a kernel without the file is good enough.
    pub(super) optional: bool,
}

/// A number in a file: the whole file, or the line that begins with the key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) path: PathBuf,
    pub(super) key: Option<&'static str>,
}

/// A counter whose file stays open: a process that polls it pays one call.
#[derive(Debug)]
pub(super) struct Open {
    file: File,
    key: Option<&'static str>,
}

impl Write {
    pub(super) fn required(path: PathBuf, value: impl ToString) -> Self {
        Self { path, value: value.to_string(), optional: false }
    }

    pub(super) fn optional(path: PathBuf, value: impl ToString) -> Self {
        Self { path, value: value.to_string(), optional: true }
    }

    pub(super) fn perform(&self) -> Result<(), CgroupError> {
        match write(&self.path, &self.value) {
            Err(Errno::ENOENT) if self.optional => Ok(()),
            written => written
                .map_err(|errno| CgroupError::new(format!("write {} to", self.value), &self.path, errno)),
        }
    }
}

impl Counter {
    pub(super) fn open(&self) -> Result<Open, CgroupError> {
        let file = File::open(&self.path).map_err(|error| CgroupError::io("open", &self.path, &error))?;
        Ok(Open { file, key: self.key })
    }

    /// `None` if the file or the number is not there.
    pub(super) fn read(&self) -> Option<u64> {
        self.open().ok()?.read()
    }
}

impl Open {
    pub(super) fn read(&self) -> Option<u64> {
        let mut buffer = [0; FILE_BYTES];
        let length = self.file.read_at(&mut buffer, 0).ok()?;
        number(std::str::from_utf8(&buffer[..length]).ok()?, self.key)
    }
}

/// Writes in one piece: the kernel takes each call for a whole value.
pub(super) fn write(path: &Path, value: &str) -> nix::Result<()> {
    let written =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))
}

fn number(text: &str, key: Option<&str>) -> Option<u64> {
    match key {
        None => text.trim().parse().ok(),
        Some(key) => {
            let value =
                |line: &str| line.split_once(' ').filter(|(name, _)| *name == key)?.1.trim().parse().ok();
            text.lines().find_map(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_is_the_whole_file_or_its_keys_line() {
        assert_eq!(number("4096\n", None), Some(4096));
        assert_eq!(number("max\n", None), None);
        // As the kernel prints them: the key is a whole word, also where another begins with it.
        let events = "low 0\nhigh 0\nmax 3\noom 2\noom_group_kill 1\noom_kill 5\n";
        assert_eq!(number(events, Some("oom_kill")), Some(5));
        assert_eq!(number("oom_kill_disable 0\nunder_oom 1\noom_kill 7\n", Some("oom_kill")), Some(7));
        assert_eq!(number("oom_kill_disable 0\nunder_oom 0\n", Some("oom_kill")), None);
        assert_eq!(number("", Some("oom_kill")), None);
    }
}
