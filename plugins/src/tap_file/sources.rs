//! From configured paths to streams and their files. Looks at names and directories, never into a file.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::config::{Config, FileConfig, Format};
use super::kind::Kind;
use crate::Error;

/// The most files one run reads, so that a wrong directory is an error and not a long wait.
const MAX_FILES: usize = 10_000;

/// One stream: its name, its files in reading order, and how to read them.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: String,
    pub files: Vec<PathBuf>,
    pub format: Format,
    pub delimiter: u8,
    pub key_properties: Vec<String>,
    pub replication_key: Option<String>,
    pub types: BTreeMap<String, Kind>,
}

/// All streams of a configuration, in its order; a directory's in the order of file names.
pub(super) fn streams(config: Config) -> Result<Vec<Stream>, Error> {
    let mut streams: Vec<Stream> = Vec::new();
    let mut names = HashSet::new();
    let mut files = 0;
    for entry in config.files {
        for stream in of_entry(entry)? {
            files += stream.files.len();
            if files > MAX_FILES {
                return Err(Error::invalid(format!("more than {MAX_FILES} files: split the configuration")));
            }
            if !names.insert(stream.name.clone()) {
                return Err(Error::invalid(format!(
                    "stream {} is named by two entries of files: give one of them another `stream`, \
                     or put the files into one directory",
                    stream.name
                )));
            }
            streams.push(stream);
        }
    }
    Ok(streams)
}

fn of_entry(entry: FileConfig) -> Result<Vec<Stream>, Error> {
    let path = &entry.path;
    let metadata = std::fs::metadata(path).map_err(Error::file("open", path))?;
    if !metadata.is_dir() {
        return Ok(vec![stream_of(&entry, vec![path.clone()])?]);
    }
    let files = files_in(path, entry.format)?;
    if files.is_empty() {
        return Err(Error::invalid(format!(
            "directory {} holds no file to read: .csv, .tsv, .jsonl and .ndjson are, \
             or every file when `format` is given",
            path.display()
        )));
    }
    if entry.stream.is_some() {
        return Ok(vec![stream_of(&entry, files)?]);
    }
    files.into_iter().map(|file| stream_of(&entry, vec![file])).collect()
}

fn stream_of(entry: &FileConfig, files: Vec<PathBuf>) -> Result<Stream, Error> {
    let mut format = None;
    for file in &files {
        let this = entry.format.or_else(|| by_extension(file)).ok_or_else(|| {
            Error::invalid(format!(
                "{} has no known extension: give its `format`, csv or jsonl",
                file.display()
            ))
        })?;
        if format.is_some_and(|format| format != this) {
            return Err(Error::invalid(format!(
                "directory {} holds csv and jsonl files, which one stream cannot mix: leave out `stream`",
                entry.path.display()
            )));
        }
        format = Some(this);
    }
    let (Some(first), Some(format)) = (files.first(), format) else {
        return Err(Error::invalid(format!("{} holds no file to read", entry.path.display())));
    };
    let tabs = first.extension().is_some_and(|extension| extension == "tsv");
    let delimiter = entry.delimiter.unwrap_or(if tabs { '\t' } else { ',' });
    let name = match &entry.stream {
        Some(name) => name.clone(),
        None => first.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    Ok(Stream {
        name,
        format,
        delimiter: delimiter as u8,
        key_properties: entry.key_properties.clone(),
        replication_key: entry.replication_key.clone(),
        types: entry.types.clone(),
        files,
    })
}

/// The directory's own files, hidden ones left out.
fn files_in(directory: &Path, format: Option<Format>) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(Error::file("list", directory))? {
        let path = entry.map_err(Error::file("list", directory))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || !path.is_file() || (format.is_none() && by_extension(&path).is_none()) {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(Error::invalid(format!(
                "directory {} holds more than {MAX_FILES} files: read a part of it",
                directory.display()
            )));
        }
        files.push(path);
    }
    files.sort();
    Ok(files)
}

fn by_extension(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" | "tsv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(config: serde_json::Value) -> Result<Vec<(String, usize)>, String> {
        let config = serde_json::from_value(config).unwrap();
        let streams = streams(config).map_err(|error| error.to_string())?;
        Ok(streams.into_iter().map(|stream| (stream.name, stream.files.len())).collect())
    }

    #[test]
    fn a_directory_is_one_stream_per_file_or_one_in_all() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.CSV", ".hidden.csv", "notes.txt"] {
            std::fs::write(directory.path().join(name), "x\n").unwrap();
        }
        std::fs::create_dir(directory.path().join("sub.csv")).unwrap();
        let path = directory.path();
        let each = names(json!({"files": [{"path": path}]})).unwrap();
        assert_eq!(each, [("a".into(), 1), ("b".into(), 1)]);
        let all = names(json!({"files": [{"path": path, "stream": "all"}]})).unwrap();
        assert_eq!(all, [("all".into(), 2)]);
        let twice = names(json!({"files": [{"path": path}, {"path": path.join("b.csv")}]})).unwrap_err();
        assert!(twice.contains("stream b"), "{twice}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let empty = names(json!({"files": [{"path": path}]})).unwrap_err();
        assert!(empty.contains("no file to read"), "{empty}");
        std::fs::write(path.join("data"), "x\n").unwrap();
        let unknown = names(json!({"files": [{"path": path.join("data")}]})).unwrap_err();
        assert!(unknown.contains("give its `format`"), "{unknown}");
        std::fs::write(path.join("a.csv"), "x\n").unwrap();
        std::fs::write(path.join("b.jsonl"), "{}\n").unwrap();
        let mixed = names(json!({"files": [{"path": path, "stream": "s"}]})).unwrap_err();
        assert!(mixed.contains("cannot mix"), "{mixed}");
        let missing = names(json!({"files": [{"path": path.join("no.csv")}]})).unwrap_err();
        assert!(missing.contains("no.csv"), "{missing}");
    }
}
