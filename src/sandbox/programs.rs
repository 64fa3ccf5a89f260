//! Where programs are: FlexCore's own, and those that a plugin's command names. It looks for files and makes one kind of
//! symbolic link; it runs nothing and reads no environment.

use std::env::{current_exe, split_paths};
use std::ffi::OsStr;
use std::fs::{create_dir_all, read_link, rename};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf, absolute};
use uuid::Uuid;

/// The programs that the `flexcore` binary acts as, by the name in `argv[0]`.
pub const OWN_PROGRAMS: [&str; 4] =
    [flexcore_jailer::PROGRAM_NAME, "flexcore-tap-file", "flexcore-target-file", "flexcore-sample"];

/// Under the data directory: links to FlexCore's own programs where they are not installed as files.
pub const OWN_PROGRAMS_DIRECTORY: &str = "bin";

/// Why a program has no path.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is in none of the directories.
    #[error("program {program} was not found in {}: install it or name its path", list(directories))]
    NotFound {
        /// The name.
        program: String,
        /// Where it was looked for.
        directories: Vec<PathBuf>,
    },
    /// A file of that name is there but may not be executed.
    #[error("{} is not executable: chmod +x it, or name its interpreter in the command", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// Not one of [`OWN_PROGRAMS`].
    #[error("{program} is not one of flexcore's own programs")]
    NotOwn {
        /// The name.
        program: String,
    },
    /// The file that this process was started from has gone.
    #[error("the file of the running flexcore binary was moved or replaced: restart the node")]
    BinaryGone,
    /// The link could not be made.
    #[error("link {} to flexcore's own binary could not be made: check that the data directory is writable", path.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The absolute path of one of FlexCore's own programs: the file beside the running binary if there is one, otherwise a
/// link to the running binary under `<data_dir>/bin`, made or renewed on demand (the binary acts as each of them).
///
/// # Errors
/// [`ProgramError::NotOwn`], [`ProgramError::BinaryGone`], [`ProgramError::Link`].
pub fn locate(name: &str, data_dir: &Path) -> Result<PathBuf, ProgramError> {
    let binary = current_exe().map_err(|_| ProgramError::BinaryGone)?;
    locate_beside(&binary, name, data_dir)
}

/// The path to execute for `argv[0]` of a command: itself if absolute, below `base` if it contains a `/`, otherwise the
/// first executable file of that name in `directories`, which are the environment's own, then FlexCore's, then the
/// search path's. Whether an explicit path can be executed is left to the start, which explains it better.
///
/// # Errors
/// [`ProgramError::NotFound`], or [`ProgramError::NotExecutable`] if the only files of that name are not.
pub fn resolve(program: &str, base: &Path, directories: &[PathBuf]) -> Result<PathBuf, ProgramError> {
    if program.contains('/') {
        return Ok(base.join(program));
    }
    let found: Vec<PathBuf> =
        directories.iter().map(|directory| directory.join(program)).filter(|path| path.is_file()).collect();
    if let Some(path) = found.iter().find(|path| is_executable(path)) {
        return Ok(path.clone());
    }
    Err(match found.into_iter().next() {
        Some(path) if !program.is_empty() => ProgramError::NotExecutable { path },
        _ => ProgramError::NotFound { program: program.to_owned(), directories: directories.to_vec() },
    })
}

/// The directories of a `PATH` variable. Empty and relative ones, which mean the current directory or depend on it, are
/// left out: a data directory must not be able to bring its own programs.
#[must_use]
pub fn search_directories(path: &OsStr) -> Vec<PathBuf> {
    split_paths(path).filter(|directory| directory.is_absolute()).collect()
}

fn locate_beside(binary: &Path, name: &str, data_dir: &Path) -> Result<PathBuf, ProgramError> {
    if !OWN_PROGRAMS.contains(&name) {
        return Err(ProgramError::NotOwn { program: name.to_owned() });
    }
    let beside = binary.with_file_name(name);
    if is_executable(&beside) {
        return Ok(beside);
    }
    if !binary.exists() {
        return Err(ProgramError::BinaryGone);
    }
    let link = data_dir.join(OWN_PROGRAMS_DIRECTORY).join(name);
    let failed = |source| ProgramError::Link { path: link.clone(), source };
    let link = absolute(&link).map_err(failed)?;
    if read_link(&link).is_ok_and(|target| target == binary) {
        return Ok(link);
    }
    make_link(binary, &link).map_err(failed)?;
    Ok(link)
}

/// Replaces atomically: a program may be started through the old link at any moment.
fn make_link(binary: &Path, link: &Path) -> io::Result<()> {
    create_dir_all(link.parent().unwrap_or(Path::new("/")))?;
    let unique = Uuid::now_v7();
    let new = link.with_extension(format!("{unique}.new"));
    symlink(binary, &new)?;
    rename(&new, link)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn list(directories: &[PathBuf]) -> String {
    let names: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
    if names.is_empty() { "any directory (the search path is empty)".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    //! Files and links in a directory of the test's own.

    use super::{ProgramError, locate_beside, resolve, search_directories};
    use std::ffi::OsStr;
    use std::fs::{Permissions, canonicalize, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    fn file(path: &Path, mode: u32) -> PathBuf {
        write(path, "").unwrap();
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
        path.to_owned()
    }

    #[test]
    fn own_programs_are_files_beside_the_binary_or_links_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = file(&dir.path().join("flexcore"), 0o755);
        let locate = |binary: &Path, name| locate_beside(binary, name, &data);
        let link = locate(&first, "flexcore-sample").unwrap();
        assert_eq!(link, data.join("bin/flexcore-sample"));
        assert_eq!(canonicalize(&link).unwrap(), canonicalize(&first).unwrap());
        create_dir(dir.path().join("newer")).unwrap();
        let second = file(&dir.path().join("newer/flexcore"), 0o755);
        for _ in 0..2 {
            assert_eq!(locate(&second, "flexcore-sample").unwrap(), link);
            assert_eq!(canonicalize(&link).unwrap(), canonicalize(&second).unwrap(), "after an upgrade");
        }
        let beside = file(&dir.path().join("flexcore-jailer"), 0o755);
        assert_eq!(locate(&first, "flexcore-jailer").unwrap(), beside);
        assert!(matches!(locate(&first, "sh"), Err(ProgramError::NotOwn { .. })));
        let gone = dir.path().join("flexcore (deleted)");
        assert!(matches!(locate(&gone, "flexcore-sample"), Err(ProgramError::BinaryGone)));
    }

    #[test]
    fn a_name_is_searched_in_order_and_only_among_programs() {
        let dir = tempfile::tempdir().unwrap();
        let directories: Vec<PathBuf> = ["a", "b", "c"].iter().map(|name| dir.path().join(name)).collect();
        directories.iter().for_each(|directory| create_dir(directory).unwrap());
        let find = |program: &str| resolve(program, Path::new("/base"), &directories);
        let plain = file(&directories[0].join("tap"), 0o644);
        assert!(matches!(find("tap"), Err(ProgramError::NotExecutable { path }) if path == plain));
        file(&directories[2].join("tap"), 0o755);
        let second = file(&directories[1].join("tap"), 0o755);
        create_dir(directories[0].join("dir")).unwrap();
        assert_eq!(find("tap").unwrap(), second);
        assert!(matches!(find("dir"), Err(ProgramError::NotFound { .. })));
        assert!(matches!(find(""), Err(ProgramError::NotFound { .. })));
        assert_eq!(find("/bin/tap").unwrap(), Path::new("/bin/tap"));
        assert_eq!(find("scripts/tap").unwrap(), Path::new("/base/scripts/tap"));
        let message = find("absent").unwrap_err().to_string();
        assert!(
            message.contains("absent") && message.contains(directories[2].to_str().unwrap()),
            "{message}"
        );
    }

    #[test]
    fn the_current_directory_is_never_searched() {
        let found = search_directories(OsStr::new("/usr/bin::bin:.:/bin"));
        assert_eq!(found, [Path::new("/usr/bin"), Path::new("/bin")]);
    }
}
