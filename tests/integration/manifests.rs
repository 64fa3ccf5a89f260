//! The manifests of `tests/corpus/manifest` are read again by every build: those called `bad-…` are refused in words,
//! those called `good-…` are accepted, and neither they nor thousands of damaged copies of them make the reader panic.
//! What a fuzzer or a user finds is added there as a file.

use std::path::{Path, PathBuf};

use flexcore::yaml;
use flexcore_actors::domain::plugin::{Policy, read_manifest, read_policy};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/manifest");

/// Reads bytes as `apply` reads a file; refusals as one text.
fn read(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let documents = yaml::parse(text).map_err(|error| error.to_string())?;
    if documents.is_empty() {
        return Err("there is no document".to_owned());
    }
    for document in documents {
        let manifest = read_manifest(&document.value).map_err(|problems| {
            problems.0.iter().for_each(|problem| _ = document.position(&problem.field));
            problems.to_string()
        })?;
        // what was accepted can be judged, and is accepted again as it is kept
        drop(Policy::default().judge(&manifest));
        let kept = serde_json::to_value(&manifest).unwrap();
        assert_eq!(read_manifest(&kept).unwrap(), manifest);
    }
    Ok(())
}

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(CORPUS).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn is(path: &Path, what: &str) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with(what)
}

#[test]
fn the_corpus_is_judged_as_its_names_say() {
    let (mut good, mut bad) = (0, 0);
    for (path, bytes) in corpus() {
        match read(&bytes) {
            Ok(()) => {
                assert!(is(&path, "good-"), "{} was accepted", path.display());
                good += 1;
            }
            Err(message) => {
                assert!(is(&path, "bad-"), "{} was refused: {message}", path.display());
                assert!(!message.is_empty() && message.len() < 100_000, "{}: {message}", path.display());
                bad += 1;
            }
        }
    }
    assert!(good >= 2 && bad >= 10, "{good} good, {bad} bad: the corpus is not all there");
}

/// The same damage in every build: a cut at many places, and bytes that matter to the syntax put in many places.
#[test]
fn no_damage_makes_the_readers_panic() {
    const PLACES: usize = 150;
    const SYNTAX: &[u8] = b"\0\n:-[]{}\"'&*#!|>%@`,?~/\\\xff$*0";
    for (path, bytes) in corpus().into_iter().filter(|(path, _)| !is(path, "bad-deep")) {
        for n in 0..PLACES.min(bytes.len()) {
            let at = n * bytes.len() / PLACES.min(bytes.len());
            drop(read(&bytes[..at]));
            let mut damaged = bytes.clone();
            damaged[at] = SYNTAX[n % SYNTAX.len()];
            drop(read(&damaged));
            if let Ok([document, ..]) =
                std::str::from_utf8(&damaged).map(yaml::parse).unwrap_or(Ok(Vec::new())).as_deref()
            {
                // the reader of policies shares its parts
                drop(read_policy(&document.value, path.display().to_string()));
            }
        }
    }
}
