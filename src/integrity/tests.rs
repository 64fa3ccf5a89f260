//! Key files and checkpoint directories on a real disk, with what crashes and other hands leave behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flexcore_actors::domain::integrity::checkpoint::Checkpoint;
use flexcore_actors::domain::integrity::note::{KeyName, SignedNote, VerifierKey};
use flexcore_actors::ports::checkpoints::{OutsideError, Published};
use flexcore_actors::ports::{OutsideCheckpoints, Signer};
use jiff::Timestamp;

use super::*;

fn name() -> KeyName {
    KeyName::new("example.com/log").unwrap()
}

/// A checkpoint of this size, signed by the keys of the file.
fn note(signer: &KeyFile, size: u64) -> String {
    let text = Checkpoint { origin: name(), size, root: [u8::try_from(size).unwrap(); 32] }.to_string();
    SignedNote::new(text.clone(), signer.sign(&text)).unwrap().to_string()
}

fn signer(folder: &Path) -> KeyFile {
    let path = folder.join("key");
    generate(&path, Some(name())).unwrap();
    KeyFile::open(&path, false).unwrap()
}

/// Noon of a day of January 2026.
fn day(day: u8) -> Timestamp {
    format!("2026-01-{day:02}T12:00:00Z").parse().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_published_private_key_is_read() {
    // from the tests of golang.org/x/mod/sumdb/note
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let line = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    fs::write(&path, format!("# a comment\n{line}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let key = KeyFile::open(&path, false).unwrap();
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let note = SignedNote::new(text, key.sign(text)).unwrap().to_string();
    assert!(note.ends_with("\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"), "{note}");
    for at in 0..line.len() {
        let mut changed = line.as_bytes().to_vec();
        changed[at] += 1;
        fs::write(&path, &changed).unwrap();
        let error = KeyFile::open(&path, false).err().map(|e| e.to_string());
        let error = error.unwrap_or_else(|| panic!("{} is taken", String::from_utf8_lossy(&changed)));
        assert!(!error.contains("AYEKFALV"), "no private key in {error}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    KeyFile::open_or_generate(&path, true, None).unwrap();
    assert_eq!(mode(&path), 0o600);
    let kept = fs::read_to_string(&path).unwrap();
    KeyFile::open_or_generate(&path, true, None).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), kept, "a key that is there is not replaced");
    assert!(matches!(generate(&path, None), Err(KeyError::File { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = KeyFile::open_or_generate(&path, true, None).err().unwrap().to_string();
    assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn nodes_of_a_cluster_make_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let made = |file: &str, secret: &str| {
        let path = folder.path().join(file);
        KeyFile::open_or_generate(&path, true, Some(secret)).unwrap();
        fs::read_to_string(&path).unwrap()
    };
    let secret = "0123456789abcdef0123456789abcdef";
    assert_eq!(made("a", secret), made("b", secret));
    assert_ne!(made("a", secret), made("c", "0123456789abcdef0123456789abcdeg"));
    assert!(!made("a", secret).contains(secret));
    let [name, other] = ["a", "c"].map(|file| KeyFile::open(&folder.path().join(file), true).unwrap().name());
    assert_ne!(name, other, "another cluster's log has another name");
}

#[tokio::test]
async fn a_rotation_ends_with_a_checkpoint_that_both_have_signed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let old = generate(&path, Some(name())).unwrap();
    let new = rotate(&path).unwrap();
    assert_ne!(old, new);
    assert!(matches!(rotate(&path), Err(KeyError::Rotating { .. })));
    let keys = KeyFile::open(&path, false).unwrap();
    let both: SignedNote = note(&keys, 7).parse().unwrap();
    both.verify(std::slice::from_ref(&old)).unwrap();
    both.verify(std::slice::from_ref(&new)).unwrap();
    keys.sealed(7).await;
    let after = |keys: &KeyFile| {
        let shown: Vec<String> = keys.trusted().iter().map(ToString::to_string).collect();
        assert_eq!(shown, [format!("{new} -"), format!("{old} 7")]);
        let note: SignedNote = note(keys, 8).parse().unwrap();
        assert_eq!(note.verify(&[old.clone(), new.clone()]).unwrap(), [&new]);
    };
    after(&keys);
    after(&KeyFile::open(&path, false).unwrap());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1, "the old private key is gone");
    rotate(&path).unwrap();
}

#[tokio::test]
async fn notes_are_appended_by_day_and_the_latest_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, path) = (signer(folder.path()), folder.path().join("a/b"));
    let directory = CheckpointDirectory::open(&path, false).unwrap();
    assert_eq!(directory.latest().await.unwrap(), None);
    let notes: Vec<String> = (1..=4).map(|size| note(&signer, size)).collect();
    for (note, at) in notes.iter().zip([day(1), day(1), day(1), day(2)]) {
        for _ in 0..2 {
            assert_eq!(directory.publish(note, at).await.unwrap(), Published::Written);
        }
    }
    assert_eq!(fs::read_to_string(path.join("2026-01-01.checkpoints")).unwrap(), notes[..3].concat());
    assert_eq!(fs::read_to_string(path.join("2026-01-02.checkpoints")).unwrap(), notes[3]);
    assert_eq!(fs::read_to_string(path.join("latest")).unwrap(), notes[3]);
    let again = CheckpointDirectory::open(&path, false).unwrap();
    assert_eq!(again.latest().await.unwrap().as_ref(), Some(&notes[3]));
    // who removes or rolls back one of the two hides nothing
    fs::write(path.join("latest"), &notes[0]).unwrap();
    assert_eq!(again.latest().await.unwrap().as_ref(), Some(&notes[3]));
    fs::remove_file(path.join("latest")).unwrap();
    assert_eq!(again.latest().await.unwrap().as_ref(), Some(&notes[3]));
}

#[tokio::test]
async fn what_another_has_written_is_compared_first() {
    let folder = tempfile::tempdir().unwrap();
    let signer = signer(folder.path());
    let [one, other] = [(); 2].map(|()| CheckpointDirectory::open(folder.path(), false).unwrap());
    assert_eq!(one.publish(&note(&signer, 1), day(1)).await.unwrap(), Published::Written);
    assert_eq!(other.publish(&note(&signer, 2), day(1)).await.unwrap(), Published::Changed);
    other.latest().await.unwrap();
    assert_eq!(other.publish(&note(&signer, 2), day(1)).await.unwrap(), Published::Written);
    // a smaller one is never put behind a larger one
    one.latest().await.unwrap();
    assert_eq!(one.publish(&note(&signer, 1), day(1)).await.unwrap(), Published::Changed);
    assert_eq!(one.latest().await.unwrap(), Some(note(&signer, 2)));
    for file in ["latest", "2026-01-01.checkpoints"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    let gone = one.publish(&note(&signer, 3), day(1)).await;
    assert!(matches!(gone, Err(OutsideError::Damaged(why)) if why.contains("gone")));
}

#[tokio::test]
async fn a_half_written_note_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let signer = signer(folder.path());
    let file = folder.path().join("2026-01-01.checkpoints");
    let (first, second, third) = (note(&signer, 1), note(&signer, 2), note(&signer, 3));
    for cut in [1, 17, second.len() / 2, second.len() - 1] {
        fs::write(&file, [first.as_bytes(), second.as_bytes(), &third.as_bytes()[..cut]].concat()).unwrap();
        fs::write(folder.path().join("latest"), &first).unwrap();
        let directory = CheckpointDirectory::open(folder.path(), false).unwrap();
        assert_eq!(directory.latest().await.unwrap().as_ref(), Some(&second), "cut after {cut} bytes");
        assert_eq!(directory.publish(&third, day(1)).await.unwrap(), Published::Written);
        assert_eq!(fs::read_to_string(&file).unwrap(), [&*first, &second, &third].concat());
    }
}

#[tokio::test]
async fn what_is_no_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let directory = CheckpointDirectory::open(folder.path(), false).unwrap();
    fs::write(folder.path().join("latest"), "not a note").unwrap();
    let error = directory.latest().await.unwrap_err().to_string();
    assert!(error.starts_with("checkpoint directory: latest: not a signed note"), "{error}");
}

#[test]
fn a_generated_name_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<VerifierKey> =
        ["a", "b"].map(|file| generate(&folder.path().join(file), None).unwrap()).into();
    assert_ne!(names[0].name(), names[1].name());
}
