//! Length-prefixed MessagePack: the launcher's protocol and the flexcore protocol.

use std::fmt::Debug;

use flexcore::plugins::frames::{FrameError, FrameReader, Said};
use flexcore::plugins::limits::MAX_FRAME;
use flexcore_jailer::limits::MESSAGE_BYTES;
use flexcore_jailer::protocol::frames::{self as launcher, Frames};
use flexcore_jailer::protocol::{Order, Policy, PolicyError, Report};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::chunks;

/// What a stream of frames comes to: its messages until the first error.
type Read<M, E> = (Vec<M>, Option<E>);

/// What a program of the flexcore protocol writes, as a stream.
pub fn flexcore_frames(stream: &[u8]) -> bool {
    let whole = read_flexcore([stream]);
    assert_eq!(whole, read_flexcore(chunks(stream)), "it matters how a stream is cut");
    let (said, error) = whole;
    let (bodies, refused) = bodies(stream, MAX_FRAME);
    assert!(said.len() <= bodies.len());
    for body in &bodies[..said.len()] {
        assert!(is_map(body), "a message that is no map was accepted");
    }
    if let Some(length) = refused.filter(|_| said.len() == bodies.len()) {
        assert_eq!(error, Some(FrameError::TooLong(length)));
    }
    error.is_none()
}

fn read_flexcore<'s>(parts: impl IntoIterator<Item = &'s [u8]>) -> Read<Said, FrameError> {
    let (mut reader, mut said) = (FrameReader::default(), Vec::new());
    for part in parts {
        reader.push(part);
        loop {
            match reader.next_message() {
                Ok(Some(message)) => said.push(message),
                Ok(None) => break,
                Err(error) => return (said, Some(error)),
            }
        }
    }
    (said, reader.finish().err())
}

/// What either side of the launcher's control socket writes, as a stream.
pub fn launcher_frames(stream: &[u8]) -> bool {
    let order = launcher_stream::<Order>(stream);
    let report = launcher_stream::<Report>(stream);
    order || report
}

fn launcher_stream<M: DeserializeOwned + Serialize + PartialEq + Debug>(stream: &[u8]) -> bool {
    let (messages, error) = read_launcher::<M>([stream]);
    let (cut, cut_error) = read_launcher::<M>(chunks(stream));
    assert_eq!((&messages, &error), (&cut, &cut_error), "it matters how a stream is cut");
    for message in &messages {
        let frame = launcher::encode(message).expect("what was read fits into a frame");
        assert_eq!(read_launcher::<M>([&frame[..]]).0, std::slice::from_ref(message));
    }
    let (bodies, refused) = bodies(stream, MESSAGE_BYTES);
    assert!(messages.len() <= bodies.len());
    let taken: usize = bodies[..messages.len()].iter().map(|body| body.len() + 4).sum();
    if error.is_none() {
        assert!(refused.is_none(), "a length beyond the bound was accepted");
        assert_eq!(messages.len(), bodies.len());
    }
    error.is_none() && taken > 0
}

fn read_launcher<'s, M: DeserializeOwned>(parts: impl IntoIterator<Item = &'s [u8]>) -> Read<M, String> {
    let (mut frames, mut messages) = (Frames::default(), Vec::new());
    for part in parts {
        frames.extend(part);
        loop {
            match frames.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
    }
    (messages, None)
}

/// A policy as MessagePack, without the frame around it: what passes its check can be handed to the kernel.
pub fn launcher_policy(bytes: &[u8]) -> bool {
    let Ok(policy) = rmp_serde::from_slice::<Policy>(bytes) else { return false };
    match policy.check() {
        Ok(()) => {
            let paths = policy.view.iter().flat_map(|shown| [&shown.source, &shown.target]);
            let paths = paths.chain(policy.files.iter().map(|file| &file.path)).chain(&policy.result);
            for path in paths.chain([&policy.workdir]) {
                let text = path.to_str().expect("it came as text");
                assert!(text.starts_with('/') && !text.contains('\0'), "{text:?}");
                assert!(text.split('/').all(|part| part != ".."), "{text:?}");
            }
            for granted in &policy.connect {
                assert!(
                    !granted.host.is_empty() && !granted.host.contains(['\0', '\n', ' ', '\t']),
                    "{granted:?}"
                );
            }
            assert!(policy.argv[0].starts_with('/'));
            assert!(policy.argv.iter().all(|argument| !argument.contains('\0')));
            for (name, value) in &policy.env {
                assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
            }
            true
        }
        Err(error) => {
            // values may be secrets: a refusal names places
            if let PolicyError::Nul { field } = &error {
                let places = ["argv[", "env ", "workdir", "view ", "files", "result", "connect "];
                assert!(places.iter().any(|place| field.starts_with(place)), "{field:?}");
            }
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// The bodies of the whole frames at the beginning of a stream, by the book; and the first length beyond `most`.
fn bodies(stream: &[u8], most: usize) -> (Vec<&[u8]>, Option<u32>) {
    let (mut bodies, mut rest) = (Vec::new(), stream);
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length);
        if length as usize > most {
            return (bodies, Some(length));
        }
        let Some((body, after)) = after.split_at_checked(length as usize) else { break };
        bodies.push(body);
        rest = after;
    }
    (bodies, None)
}

/// Whether MessagePack's first byte says so.
fn is_map(body: &[u8]) -> bool {
    matches!(body.first(), Some(0x80..=0x8f | 0xde | 0xdf))
}
