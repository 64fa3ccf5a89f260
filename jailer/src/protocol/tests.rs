//! The wire form and the checks of a policy; nothing here starts a process.

use super::frames::{FrameError, Frames, encode, receive, send_with_descriptors};
use super::{
    Connection, Isolation, Limits, Order, Outcome, PlacedFile, Policy, PolicyError, Report, Shown,
    StartFailure,
};
use crate::limits::{ATTACHED, MESSAGE_BYTES};
use nix::errno::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn policy() -> Policy {
    Policy {
        build: "0.0.0+test".into(),
        argv: vec!["/bin/echo".into(), "hello".into()],
        env: vec![("LANG".into(), "C".into())],
        workdir: "/tmp".into(),
        stdin: true,
        limits: Limits { memory_bytes: Some(1 << 20), ..Limits::default() },
        subprocess: false,
        internet: true,
        isolation: Isolation { namespaces: true, landlock: true, seccomp: true },
        view: vec![Shown { source: "/data/in".into(), target: "/data/in".into(), write: false }],
        files: vec![PlacedFile { path: "/tmp/config.json".into(), mode: 0o600, content: vec![0xff, 0] }],
        cgroup: None,
        result: Some("/tmp/result.json".into()),
        connect: vec![Connection { host: "db.internal".into(), port: 5432, address: [127, 1, 0, 1].into() }],
    }
}

#[test]
fn messages_survive_the_wire_in_pieces_of_any_size() {
    let sent = [
        Order::Start(Box::new(policy())),
        Order::stop(Duration::from_millis(250)),
        Order::Kill,
        Order::stop(Duration::MAX),
        Order::lease(Duration::from_secs(4)),
    ];
    let wire: Vec<u8> = sent.iter().flat_map(|order| encode(order).unwrap()).collect();
    for size in [1, 3, 64, wire.len()] {
        let mut frames = Frames::default();
        let mut received = Vec::new();
        for piece in wire.chunks(size) {
            frames.extend(piece);
            while let Some(order) = frames.next_message::<Order>().unwrap() {
                received.push(order);
            }
        }
        assert_eq!(received, sent, "pieces of {size} bytes");
    }
}

#[test]
fn a_length_beyond_the_bound_is_refused_before_its_body_comes() {
    let mut frames = Frames::default();
    frames.extend(&u32::MAX.to_be_bytes());
    assert!(matches!(frames.next_message::<Order>(), Err(FrameError::TooLarge { .. })));
    let mut large = policy();
    large.argv.push("x".repeat(MESSAGE_BYTES));
    assert!(matches!(encode(&Order::Start(Box::new(large))), Err(FrameError::TooLarge { .. })));
}

#[test]
fn a_restriction_that_is_not_known_is_refused_and_values_stay_out_of_the_error() {
    #[derive(serde::Serialize)]
    struct Newer {
        argv: Vec<String>,
        env: Vec<(String, String)>,
        workdir: String,
        stdin: bool,
        limits: Limits,
        landlock: String,
    }
    #[derive(serde::Serialize)]
    enum NewerOrder {
        Start(Newer),
    }
    let Policy { argv, env, limits, .. } = policy();
    let newer =
        Newer { argv, env, workdir: "/tmp".into(), stdin: false, limits, landlock: "tell-nobody".into() };
    let mut frames = Frames::default();
    frames.extend(&encode(&NewerOrder::Start(newer)).unwrap());
    let error = frames.next_message::<Order>().unwrap_err();
    assert!(matches!(error, FrameError::Decode));
    assert!(!format!("{error} {error:?}").contains("tell-nobody"));
}

#[test]
fn reports_are_named_maps() {
    let failure = StartFailure { stage: super::Stage::Exec, errno: 2, message: "gone".into() };
    let wire = encode(&Report::StartFailed(failure)).unwrap();
    let text = String::from_utf8_lossy(&wire);
    for name in ["StartFailed", "stage", "exec", "errno", "message"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let outcome: Outcome =
        rmp_serde::from_slice(&rmp_serde::to_vec_named(&Outcome::Signal(9)).unwrap()).unwrap();
    assert_eq!(outcome, Outcome::Signal(9));
}

#[test]
fn descriptors_travel_with_the_message() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let file = File::open("/proc/self/comm").unwrap();
    let frame = encode(&Order::Kill).unwrap();
    let sent = send_with_descriptors(&ours, &frame, &[file.as_fd(), file.as_fd()]).unwrap();
    assert_eq!(sent, frame.len());
    let (mut frames, mut descriptors) = (Frames::default(), Vec::new());
    assert_eq!(receive(&theirs, &mut frames, &mut descriptors), Ok(frame.len()));
    assert_eq!(frames.next_message::<Order>().unwrap(), Some(Order::Kill));
    assert_eq!(descriptors.len(), 2);
    let mut text = String::new();
    File::from(descriptors.remove(0)).read_to_string(&mut text).unwrap();
    assert!(!text.is_empty());
    assert_eq!(receive(&theirs, &mut frames, &mut descriptors), Err(Errno::EAGAIN));
    drop(ours);
    assert_eq!(receive(&theirs, &mut frames, &mut descriptors), Ok(0));
}

#[test]
fn too_many_descriptors_are_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let file = File::open("/proc/self/comm").unwrap();
    let many = vec![file.as_fd(); ATTACHED];
    let (mut frames, mut received) = (Frames::default(), Vec::new());
    send_with_descriptors(&ours, b"x", &many).unwrap();
    assert_eq!(receive(&theirs, &mut frames, &mut received), Ok(1));
    assert_eq!(received.len(), ATTACHED);
    send_with_descriptors(&ours, b"x", &many[..1]).unwrap();
    assert_eq!(receive(&theirs, &mut frames, &mut received), Err(Errno::EBADMSG));
}

#[test]
fn a_policy_that_cannot_run_is_named() {
    let broken = |change: &dyn Fn(&mut Policy)| {
        let mut broken = policy();
        change(&mut broken);
        broken.check()
    };
    assert_eq!(policy().check(), Ok(()));
    assert_eq!(broken(&|p| p.argv.clear()), Err(PolicyError::NoProgram));
    assert!(matches!(
        broken(&|p| p.argv[0] = "echo".into()),
        Err(PolicyError::NotAbsolute { field: "argv[0]", .. })
    ));
    assert!(matches!(broken(&|p| p.connect[0].host = "db 127.0.0.1".into()), Err(PolicyError::Host { .. })));
    assert!(matches!(
        broken(&|p| p.connect = vec![p.connect[0].clone(); ATTACHED]),
        Err(PolicyError::Connections { count: ATTACHED })
    ));
    assert!(matches!(
        broken(&|p| p.workdir = "x".into()),
        Err(PolicyError::NotAbsolute { field: "workdir", .. })
    ));
    assert_eq!(broken(&|p| p.argv[1] = "a\0b".into()), Err(PolicyError::Nul { field: "argv[1]".into() }));
    assert_eq!(broken(&|p| p.env[0].1 = "\0".into()), Err(PolicyError::Nul { field: "env LANG".into() }));
    assert_eq!(broken(&|p| p.env[0].0 = "A=B".into()), Err(PolicyError::VariableName { index: 0 }));
}
