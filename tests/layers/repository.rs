//! The files of the repository, as git knows them: what is tracked, or would be with the next `git add`.
//!
//! Only where the files are and what they hold; the rules about them are in `tidy` and `rooms`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file, relative to the root.
pub fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"]) // the clone may belong to another account, as it does in containers
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is needed to tell the repository's files from what was built beside them");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("the names of the repository's files are UTF-8");
    let files: Vec<PathBuf> = list.split_terminator('\0').map(PathBuf::from).collect();
    assert!(files.iter().any(|file| file == Path::new("Cargo.toml")), "not at the repository's root: {list}");
    files.into_iter().filter(|file| root().join(file).is_file()).collect()
}

/// Every Rust file with its text, relative to the root.
pub fn rust_files() -> Vec<(PathBuf, String)> {
    let is_rust = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    let read = |file: PathBuf| {
        let text =
            std::fs::read_to_string(root().join(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        (file, text)
    };
    files().into_iter().filter(is_rust).map(read).collect()
}
