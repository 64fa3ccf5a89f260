//! The daemon's side with listeners of this host: what passes, what is refused, what ends. That a program reaches nothing
//! else is shown where there is a jail.

use super::limits::{DRAIN_WAIT, PROGRAM_CONNECTIONS};
use super::{Gate, Grant, Network, Plan, Reason, ReceivedError, Resolve, Rules, Traffic};
use flexcore_actors::ports::BoxFuture;
use futures::FutureExt;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Gives each answer once, in their order, then none.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<VecDeque<Vec<IpAddr>>>>);

impl Scripted {
    fn answers<const N: usize>(answers: [&[&str]; N]) -> Self {
        let answers = answers.map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect());
        Self(Arc::new(Mutex::new(answers.into())))
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Resolve for Scripted {
    fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let answer = self.0.lock().unwrap().pop_front();
        async move { answer.ok_or_else(|| io::Error::other("no such host")) }.boxed()
    }
}

/// A gate with one listener, for one grant.
struct Rig {
    gate: Gate,
    inner: SocketAddr,
}

async fn rig(host: &str, port: u16, resolver: &Scripted, rules: Rules) -> Rig {
    let network = Network::new(Arc::new(resolver.clone()), rules);
    let plan = Plan::new(&[Grant { host: host.to_owned(), port }]).unwrap();
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let inner = listener.local_addr().unwrap();
    Rig { gate: network.join(&plan, vec![listener], None), inner }
}

fn permitting(address: &str) -> Rules {
    Rules { permitted: vec![address.parse().unwrap()], ..Rules::default() }
}

async fn server() -> (TcpListener, u16) {
    let server = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("in time")
}

/// What a client hears that connects and waits.
async fn heard(at: SocketAddr) -> io::Result<usize> {
    within(async { TcpStream::connect(at).await?.read(&mut [0; 16]).await }).await
}

fn reasons(traffic: &Traffic) -> Vec<String> {
    traffic.refusals.iter().map(|refusal| refusal.reason.to_string()).collect()
}

#[tokio::test]
async fn bytes_pass_both_ways_and_are_counted() {
    let (server, port) = server().await;
    let Rig { gate, inner } = rig("127.0.0.1", port, &Scripted::default(), Rules::default()).await;
    let echo = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        all
    });
    let mut client = TcpStream::connect(inner).await.unwrap();
    let sent = vec![7; 3 << 20];
    within(client.write_all(&sent)).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    within(client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!((within(echo).await.unwrap(), answer.as_slice()), (sent, &b"answer"[..]));
    let traffic = within(gate.close()).await;
    assert_eq!((traffic.connections, traffic.sent_bytes, traffic.received_bytes), (1, 3 << 20, 6));
    assert_eq!((traffic.refusals, traffic.more_refusals), (vec![], 0));
    heard(inner).await.expect_err("a closed gate listens no more");
}

#[tokio::test]
async fn a_dead_target_is_a_reset_with_its_reason() {
    let (server, port) = server().await;
    drop(server);
    let Rig { gate, inner } = rig("127.0.0.1", port, &Scripted::default(), Rules::default()).await;
    for _ in 0..2 {
        assert_eq!(heard(inner).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let traffic = within(gate.close()).await;
    assert_eq!((traffic.connections, reasons(&traffic)), (0, vec!["connection refused".to_owned()]));
    let refusal = &traffic.refusals[0];
    assert_eq!((refusal.host.as_str(), refusal.port, refusal.times), ("127.0.0.1", Some(port), 2));
    assert!(!refusal.reason.is_denial());
}

#[tokio::test]
async fn a_target_that_breaks_off_is_a_reset_too() {
    let (server, port) = server().await;
    let Rig { gate: _gate, inner } = rig("127.0.0.1", port, &Scripted::default(), Rules::default()).await;
    let mut client = TcpStream::connect(inner).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let (stream, _) = within(server.accept()).await.unwrap();
    stream.set_zero_linger().unwrap();
    drop(stream);
    assert_eq!(within(client.read(&mut [0; 1])).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_name_that_leads_to_this_host_is_denied_before_anything_is_sent() {
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::1", "64:ff9b::7f00:1"] {
        let (server, port) = server().await;
        let resolver = Scripted::answers([&[address]]);
        let Rig { gate, inner } = rig("rebound.example", port, &resolver, Rules::default()).await;
        assert_eq!(heard(inner).await.unwrap_err().kind(), ErrorKind::ConnectionReset, "{address}");
        let traffic = within(gate.close()).await;
        assert!(matches!(&traffic.refusals[0].reason, Reason::Forbidden(_)), "{address}: {traffic:?}");
        assert_eq!(traffic.connections, 0);
        assert!(server.accept().now_or_never().is_none(), "{address} was connected to");
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_keeps_what_it_was() {
    let (server, port) = server().await;
    let resolver = Scripted::answers([&["127.0.0.1"], &["127.0.0.2"]]);
    let Rig { gate, inner } = rig("db.internal", port, &resolver, permitting("127.0.0.1")).await;
    for _ in 0..3 {
        let _client = TcpStream::connect(inner).await.unwrap();
        within(server.accept()).await.unwrap();
    }
    assert_eq!((resolver.left(), within(gate.close()).await.connections), (1, 3));
}

#[tokio::test]
async fn of_several_addresses_the_first_that_is_allowed_and_answers_is_taken() {
    let (server, port) = server().await;
    let resolver = Scripted::answers([&["169.254.169.254", "127.0.0.2", "127.0.0.1"]]);
    let rules = Rules {
        permitted: ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec(),
        ..Rules::default()
    };
    let Rig { gate: _gate, inner } = rig("db.internal", port, &resolver, rules).await;
    let _client = TcpStream::connect(inner).await.unwrap();
    within(server.accept()).await.unwrap();
}

#[tokio::test]
async fn the_nodes_own_listeners_are_reached_by_no_name() {
    let (server, port) = server().await;
    let own = vec![SocketAddr::new(LOCAL, port)];
    let resolver = Scripted::answers([&["127.0.0.1"]]);
    let rules = Rules { own, permitted: vec![LOCAL] };
    let Rig { gate, inner } = rig("node.example", port, &resolver, rules.clone()).await;
    assert_eq!(heard(inner).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let denied = Reason::Forbidden("flexcore's own listener".to_owned());
    assert_eq!(gate.traffic().refusals[0].reason, denied);
    let literal = rig("127.0.0.1", port, &Scripted::default(), rules).await;
    let _client = TcpStream::connect(literal.inner).await.unwrap();
    within(server.accept()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_was_not_found_is_asked_for_again() {
    let (server, port) = server().await;
    let resolver = Scripted::default();
    let Rig { gate, inner } = rig("db.internal", port, &resolver, permitting("127.0.0.1")).await;
    assert_eq!(heard(inner).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(reasons(&gate.traffic()), ["its name could not be resolved: no such host"]);
    resolver.0.lock().unwrap().push_back(vec![LOCAL]);
    let _client = TcpStream::connect(inner).await.unwrap();
    within(server.accept()).await.unwrap();
}

#[tokio::test]
async fn what_a_program_sent_before_its_end_arrives() {
    let (server, port) = server().await;
    let Rig { gate, inner } = rig("127.0.0.1", port, &Scripted::default(), Rules::default()).await;
    let mut client = TcpStream::connect(inner).await.unwrap();
    let (mut stream, _) = within(server.accept()).await.unwrap();
    let sent = vec![1; 64 << 10];
    client.write_all(&sent).await.unwrap();
    drop(client);
    let started = Instant::now();
    // the host keeps its side open, which must not keep the gate
    let (traffic, arrived) = tokio::join!(within(gate.close()), async {
        let mut arrived = Vec::new();
        within(stream.read_to_end(&mut arrived)).await.unwrap();
        arrived
    });
    assert_eq!((arrived, traffic.sent_bytes), (sent, 64 << 10));
    assert!(started.elapsed() < DRAIN_WAIT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_connection_that_nobody_had_accepted_yet_is_not_lost_with_the_programs_end() {
    let (server, port) = server().await;
    let Rig { gate, inner } = rig("127.0.0.1", port, &Scripted::default(), Rules::default()).await;
    let mut client = std::net::TcpStream::connect(inner).unwrap();
    io::Write::write_all(&mut client, b"last words").unwrap();
    drop(client);
    // one thread: the gate's tasks have not run since the connection was made
    let closed = tokio::spawn(gate.close());
    let (mut stream, _) = within(server.accept()).await.unwrap();
    let mut arrived = Vec::new();
    within(stream.read_to_end(&mut arrived)).await.unwrap();
    assert_eq!((arrived.as_slice(), within(closed).await.unwrap().connections), (&b"last words"[..], 1));
}

#[tokio::test]
async fn dropping_the_gate_cuts_every_connection() {
    let (server, port) = server().await;
    let Rig { gate, inner } = rig("127.0.0.1", port, &Scripted::default(), Rules::default()).await;
    let mut client = TcpStream::connect(inner).await.unwrap();
    let (mut stream, _) = within(server.accept()).await.unwrap();
    drop(gate);
    assert!(matches!(within(stream.read(&mut [0; 1])).await, Ok(0) | Err(_)));
    assert!(matches!(within(client.read(&mut [0; 1])).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn too_many_connections_wait_for_one_to_end() {
    let (server, port) = server().await;
    let Rig { gate: _gate, inner } = rig("127.0.0.1", port, &Scripted::default(), Rules::default()).await;
    let mut clients = Vec::new();
    let mut served = Vec::new();
    for _ in 0..PROGRAM_CONNECTIONS {
        clients.push(TcpStream::connect(inner).await.unwrap());
        served.push(within(server.accept()).await.unwrap());
    }
    let _waits = TcpStream::connect(inner).await.unwrap();
    timeout(Duration::from_millis(100), server.accept()).await.expect_err("it waits");
    drop((clients.pop(), served.pop()));
    within(server.accept()).await.unwrap();
}

#[tokio::test]
async fn sockets_of_the_daemons_own_network_are_refused() {
    let network = Network::new(Arc::new(Scripted::default()), Rules::default());
    let plan = Plan::new(&[Grant { host: "127.0.0.1".to_owned(), port: 1 }]).unwrap();
    let own = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
    let refused = network.open(&plan, vec![own.into()]).unwrap_err();
    assert!(matches!(refused, ReceivedError::NotForeign(_)), "{refused}");
    let refused = network.open(&plan, vec![]).unwrap_err();
    assert!(matches!(refused, ReceivedError::Number { received: 0, expected: 2 }), "{refused}");
}

#[tokio::test]
async fn names_are_answered_and_what_is_asked_in_vain_is_noted() {
    let network = Network::new(Arc::new(Scripted::default()), Rules::default());
    let plan = Plan::new(&[Grant { host: "db.internal".to_owned(), port: 1 }]).unwrap();
    let socket = UdpSocket::bind((LOCAL, 0)).await.unwrap();
    let at = socket.local_addr().unwrap();
    let gate = network.join(&plan, vec![], Some((socket, plan.names())));
    let client = UdpSocket::bind((LOCAL, 0)).await.unwrap();
    client.connect(at).await.unwrap();
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4];
    question.extend(b"evil\0\0\x01\0\x01");
    // what is no question is answered with nothing, and does not end the service
    client.send(b"\xff").await.unwrap();
    client.send(&question).await.unwrap();
    let mut answer = [0; 512];
    let length = within(client.recv(&mut answer)).await.unwrap();
    assert_eq!((answer[1], answer[3] & 15, length), (7, 3, question.len()));
    let traffic = within(gate.close()).await;
    let refusal = &traffic.refusals[0];
    assert_eq!((refusal.host.as_str(), refusal.port, &refusal.reason), ("evil", None, &Reason::NotGranted));
}
