//! Tells which sources this crate was made of, so that a daemon and a launcher of different ones know it. Never in here:
//! anything that is generated.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const SOURCES: &str = "src";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCES}");
    let mut files = Vec::new();
    collect(Path::new(SOURCES), &mut files)?;
    files.sort();
    // FNV-1a: nobody is to be kept from making two alike, they are only to differ by accident
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in files {
        let name = file.to_string_lossy().into_owned().into_bytes();
        for byte in name.into_iter().chain(fs::read(&file)?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=FLEXCORE_JAILER_SOURCES={:08x}", hash >> 32 ^ hash & 0xffff_ffff);
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
