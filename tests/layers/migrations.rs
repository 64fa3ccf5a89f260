//! Migrations that were released are never changed: stores have applied them, and refuse a program whose statements are
//! others. Their digests stand in `migrations.sha256`, as `sha256sum migrations/*/*.sql` prints them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::repository::{files, root};

const PINNED: &str = include_str!("migrations.sha256");

#[test]
fn released_migrations_never_change() {
    let pinned: BTreeMap<String, String> = PINNED
        .lines()
        .map(|line| line.split_once("  ").expect("a digest, two blanks, a path"))
        .map(|(digest, path)| (path.to_owned(), digest.to_owned()))
        .collect();
    let is_migration = |path: &String| path.starts_with("migrations/") && path.ends_with(".sql");
    let found: BTreeMap<String, String> = files()
        .into_iter()
        .map(|file| file.to_string_lossy().into_owned())
        .filter(is_migration)
        .map(|path| {
            let bytes = std::fs::read(root().join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
            let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            (path, digest)
        })
        .collect();
    for (path, digest) in &pinned {
        assert_eq!(
            found.get(path),
            Some(digest),
            "{path} is changed or gone, and stores that have applied it would be refused: put it back as it was and \
             add a new migration instead"
        );
    }
    for (path, digest) in &found {
        assert!(
            pinned.contains_key(path),
            "a new migration: add this line to migrations.sha256\n{digest}  {path}"
        );
    }
}
