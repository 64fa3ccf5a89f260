//! Following the event store while its node is killed and comes back: over HTTP and with the command line, every event
//! comes once and in order.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use flexcore_test_support::{Client, Node, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::world::{API, DEADLINE, World, items};

/// Events that must have come through before the node is killed among more of them.
const BURST: usize = 20;

/// A node that comes back where it was: on a loopback address of this process alone, so that nobody takes its port
/// while it is away.
async fn stays() -> World {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, a | 1, b, c.clamp(1, 254)));
    let free = TcpListener::bind(SocketAddr::new(address, 0)).unwrap().local_addr().unwrap();
    let node = Node::of(env!("CARGO_BIN_EXE_flexcore")).env("FLEXCORE_HTTP_LISTEN", free.to_string());
    let world = World::with(node.start().await).await;
    assert_eq!(world.node.address(), free);
    world
}

/// Creates pipelines until the node is gone.
fn writing(client: Client, prefix: &'static str) -> JoinHandle<()> {
    tokio::spawn(async move {
        for n in 0.. {
            let body = json!({"name": format!("{prefix}-{n}"), "steps": [{"name": "a", "plugin": "work"}]});
            let path = format!("{API}/pipelines");
            let sent =
                client.request(http::Method::POST, &path, Some("application/json"), body.to_string()).await;
            if sent.is_err() {
                break;
            }
        }
    })
}

/// Everything in the event store.
async fn stored(world: &World) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map_or(json!(0), |event| event["position"].clone());
        let page = world.get(&format!("/events?limit=1000&after={after}")).await.expect(200).json;
        if items(&page).is_empty() {
            return all;
        }
        all.extend_from_slice(items(&page));
    }
}

/// Both lists hold the same events; a failure names positions, which are easier to compare.
#[track_caller]
fn same(got: &[Value], stored: &[Value]) {
    let positions =
        |events: &[Value]| events.iter().map(|event| event["position"].clone()).collect::<Vec<_>>();
    assert_eq!(positions(got), positions(stored));
    assert_eq!(got, stored);
}

/// Server-sent events as a program reads them, which remembers what it has seen.
struct Stream {
    lines: Lines<BufReader<TcpStream>>,
}

impl Stream {
    /// Opens the stream behind what was seen last.
    async fn open(address: SocketAddr, seen: Option<u64>) -> Self {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let seen = seen.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        // of HTTP/1.0, whose answers come in one piece and not in chunks
        let request = format!("GET {API}/events/stream?after=0 HTTP/1.0\r\nhost: localhost\r\n{seen}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(connection).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("HTTP/1.0 200 OK"));
        Self { lines }
    }

    /// The next event, or `None` when the connection is lost.
    async fn next(&mut self) -> Option<Value> {
        let mut id = None;
        loop {
            let line = timeout(DEADLINE, self.lines.next_line()).await.expect("something comes in time");
            let line = line.ok().flatten()?;
            if let Some(position) = line.strip_prefix("id: ") {
                id = position.parse::<u64>().ok();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(data).ok()?; // a lost connection may end within a line
                assert_eq!(event["position"].as_u64(), id, "{event}");
                return Some(event);
            }
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_behind_a_killed_node() {
    let mut world = stays().await;
    let mut got = Vec::new();
    let mut stream = Stream::open(world.node.address(), None).await;
    let writer = writing(world.client.clone(), "before");
    while got.len() < 10 + BURST {
        got.push(stream.next().await.expect("the node lives"));
    }
    world.node.kill9().await;
    writer.await.unwrap();
    while let Some(event) = stream.next().await {
        got.push(event); // what was on its way
    }
    world.node.restart().await;
    world.define("after", &json!([{"name": "a", "plugin": "work"}])).await;
    let stored = stored(&world).await;
    let seen = got.last().unwrap()["position"].as_u64();
    let mut stream = Stream::open(world.node.address(), seen).await;
    while got.len() < stored.len() {
        got.push(stream.next().await.expect("the node lives"));
    }
    same(&got, &stored);
}

/// `flexcore events -f`, whose output goes to a file.
struct Followed {
    child: Child,
    output: std::path::PathBuf,
    errors: std::path::PathBuf,
}

impl Followed {
    fn start(world: &World) -> Self {
        let file = |name: &str| world.node.folder().join(name);
        let (output, errors) = (file("events.jsonl"), file("events.err"));
        let child = Command::new(env!("CARGO_BIN_EXE_flexcore"))
            .args(["--server", &world.node.url(), "events", "-f", "-o", "json"])
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(&errors).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, output, errors }
    }

    /// Waits until so many events are printed; all that are.
    async fn until(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} events are printed"), DEADLINE, async || {
            let text = std::fs::read_to_string(&self.output).unwrap();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let events: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if events.len() >= count { Ok(events) } else { Err(events.len()) }
        })
        .await
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap()
    }
}

#[tokio::test]
async fn the_command_line_goes_on_behind_a_killed_node_and_ends_with_ctrl_c() {
    let mut world = stays().await;
    let mut followed = Followed::start(&world);
    for (round, prefix) in ["first", "second"].into_iter().enumerate() {
        let before = followed.until(stored(&world).await.len()).await.len();
        let writer = writing(world.node.client(), prefix);
        followed.until(before + BURST).await;
        world.node.kill9().await;
        writer.await.unwrap();
        wait_for("it notices", DEADLINE, async || {
            let errors = followed.errors();
            if errors.matches("the node is away, waiting").count() > round { Ok(()) } else { Err(errors) }
        })
        .await;
        world.node.restart().await;
    }
    world.define("after", &json!([{"name": "a", "plugin": "work"}])).await;
    let stored = stored(&world).await;
    same(&followed.until(stored.len()).await, &stored);

    let pid = Pid::from_raw(i32::try_from(followed.child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let ended = timeout(DEADLINE, followed.child.wait()).await.expect("Ctrl-C ends it").unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}: {}", followed.errors());
    same(&followed.until(stored.len()).await, &stored);
    assert!(!followed.errors().contains("error"), "{}", followed.errors());
}

/// Ctrl-C while the node is away ends it as well.
#[tokio::test]
async fn the_command_line_can_be_left_while_the_node_is_away() {
    let mut world = stays().await;
    let mut followed = Followed::start(&world);
    followed.until(10).await;
    assert_eq!(world.node.sigterm().await.code(), Some(0));
    wait_for("it notices", DEADLINE, async || {
        let errors = followed.errors();
        if errors.contains("waiting") { Ok(()) } else { Err(errors) }
    })
    .await;
    let pid = Pid::from_raw(i32::try_from(followed.child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let ended = timeout(Duration::from_secs(20), followed.child.wait()).await.expect("Ctrl-C ends it");
    assert_eq!(ended.unwrap().code(), Some(0), "{}", followed.errors());
}
