//! Where the loader would find the libraries of a program, and whether they can be seen in a sandbox. A second
//! opinion on what `ld.so` will do, without running anything. Never in here: which paths are visible, and why.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::elf;

/// Most files of one program that are looked at; a desktop browser has some 150.
const MAX_FILES: usize = 512;
/// The loader's index of libraries.
const CACHE: &str = "/etc/ld.so.cache";
/// Larger ones are not read; real ones have some 100 KiB.
const MAX_CACHE: u64 = 16 << 20;
const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Header and entry of the index, bytes.
const CACHE_HEADER: usize = 48;
const CACHE_ENTRY: usize = 24;
/// Where the loader looks last.
const DEFAULT_DIRECTORIES: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// A library that a program cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// The file that needs it.
    pub needed_by: PathBuf,
    /// Where it is, out of sight; absent when it is nowhere.
    pub hidden_at: Option<PathBuf>,
}

/// The first library that the program at `path` cannot have. `extra` are the directories of `LD_LIBRARY_PATH`.
/// Programs of another loader than glibc's have rules of their own and are not judged.
pub fn first_missing(program: &Path, extra: &[PathBuf], visible: impl Fn(&Path) -> bool) -> Option<Missing> {
    let elf = elf::read(program).ok()??;
    if !Path::new(elf.loader.as_deref()?).file_name()?.to_str()?.starts_with("ld-linux") {
        return None;
    }
    let cache = Cache::read(Path::new(CACHE));
    let (mut seen, mut waiting) = (BTreeSet::new(), VecDeque::new());
    waiting.push_back((program.to_owned(), Vec::<PathBuf>::new()));
    while let Some((file, inherited)) = waiting.pop_front() {
        let Ok(Some(elf)) = elf::read(&file) else { continue };
        let rpath = [expanded(&elf.rpath, &file), inherited].concat();
        let runpath = expanded(&elf.runpath, &file);
        for name in elf.needed {
            if seen.len() >= MAX_FILES || !seen.insert(name.clone()) {
                continue;
            }
            let directories = rpath.iter().chain(extra).chain(&runpath);
            let candidates: Vec<PathBuf> = if name.contains('/') {
                vec![PathBuf::from(&name)]
            } else {
                let cached = cache.as_ref().and_then(|cache| cache.find(&name)).cloned();
                let default = DEFAULT_DIRECTORIES.iter().map(|directory| Path::new(directory).join(&name));
                directories.map(|d| d.join(&name)).chain(cached).chain(default).collect()
            };
            let mut there = candidates.into_iter().filter(|path| path.exists());
            let first = there.next();
            match first.iter().cloned().chain(there).find(|path| visible(path)) {
                Some(path) => waiting.push_back((path, rpath.clone())),
                // without the index it may lie in a directory that only the index names
                None if first.is_none() && cache.is_none() => {}
                None => return Some(Missing { name, needed_by: file, hidden_at: first }),
            }
        }
    }
    None
}

/// Search directories with `$ORIGIN` replaced.
fn expanded(directories: &[String], file: &Path) -> Vec<PathBuf> {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let origin = real.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let expand = |d: &String| d.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
    directories.iter().map(expand).map(PathBuf::from).collect()
}

/// The loader's index: libraries by name.
struct Cache(BTreeMap<String, PathBuf>);

impl Cache {
    fn read(path: &Path) -> Option<Self> {
        let small = path.metadata().ok()?.len() <= MAX_CACHE;
        small.then(|| std::fs::read(path).ok()).flatten().and_then(|bytes| Self::parse(&bytes))
    }

    /// Reads the index; an older one may stand before it in the same file.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let start = bytes.windows(CACHE_MAGIC.len()).position(|window| window == CACHE_MAGIC)?;
        let bytes = &bytes[start..];
        let number = |at: usize| {
            let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_ne_bytes(bytes)).ok()
        };
        let text = |at: usize| {
            let rest = bytes.get(at..)?;
            let end = rest.iter().position(|byte| *byte == 0)?;
            std::str::from_utf8(&rest[..end]).ok()
        };
        let count = number(CACHE_MAGIC.len())?;
        let mut found = BTreeMap::new();
        for n in 0..count {
            let entry = CACHE_HEADER.checked_add(n.checked_mul(CACHE_ENTRY)?)?;
            let (Some(key), Some(value)) = (number(entry + 4), number(entry + 8)) else { break };
            if let (Some(name), Some(path)) = (text(key), text(value)) {
                // the first one is the best for this machine
                found.entry(name.to_owned()).or_insert_with(|| PathBuf::from(path));
            }
        }
        Some(Self(found))
    }

    fn find(&self, name: &str) -> Option<&PathBuf> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_here_misses_nothing() {
        let this = std::env::current_exe().unwrap();
        for program in [Path::new("/bin/sh"), &this] {
            assert_eq!(first_missing(program, &[], |_| true), None, "{}", program.display());
        }
    }

    #[test]
    fn what_is_out_of_sight_is_named_with_its_place() {
        let hides_libc = |path: &Path| !path.to_string_lossy().contains("libc.so");
        let missing = first_missing(Path::new("/bin/sh"), &[], hides_libc).unwrap();
        assert!(missing.name.starts_with("libc.so"), "{missing:?}");
        assert!(missing.hidden_at.unwrap().ends_with(&missing.name));
    }

    #[test]
    fn what_is_nowhere_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = std::fs::read("/bin/sh").unwrap();
        let at = bytes.windows(8).position(|window| window == b"libc.so.").unwrap();
        bytes[at..at + 8].copy_from_slice(b"libq.so.");
        let program = dir.path().join("program");
        std::fs::write(&program, bytes).unwrap();
        let missing = first_missing(&program, &[], |_| true).unwrap();
        assert!(missing.name.starts_with("libq.so."), "{missing:?}");
        assert_eq!((missing.needed_by, missing.hidden_at), (program.clone(), None));
        // a directory of LD_LIBRARY_PATH has it
        std::fs::copy("/bin/sh", dir.path().join(&missing.name)).unwrap();
        assert_eq!(first_missing(&program, &[dir.path().to_owned()], |_| true), None);
    }

    #[test]
    fn no_index_makes_it_panic() {
        let whole = std::fs::read(CACHE).unwrap_or_else(|_| CACHE_MAGIC.to_vec());
        for length in (0..whole.len().min(4_000)).step_by(7) {
            drop(Cache::parse(&whole[..length]));
        }
        let mut endless = CACHE_MAGIC.to_vec();
        endless.extend([0xff; 4_000]);
        assert!(Cache::parse(&endless).unwrap().0.is_empty());
    }
}
