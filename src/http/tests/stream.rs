//! Following the events: where a client goes on, what passes, and how a stream ends.

use flexcore_actors::domain::ids::Position;
use flexcore_actors::runtime::api::EventQuery;
use tokio::sync::Semaphore;
use warp::reply::Response;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::http::limits::EVENT_BUFFER;
use crate::http::stream::Feeder;
use crate::http::{Config, bind, serve};

/// A stream as a client reads it.
struct Reading {
    response: Response,
    text: String,
}

impl Reading {
    async fn open(world: &World, query: &str, seen: Option<u64>) -> Self {
        let mut request =
            Request::builder().uri(format!("{BASE}/events/stream{query}")).header("host", "localhost");
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = world.gateway.handle(request, Ipv4Addr::LOCALHOST.into()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// Reads on until the text satisfies `enough`, or the stream ends.
    async fn until(&mut self, enough: impl Fn(&str) -> bool) -> &str {
        let read = async {
            while !enough(&self.text) {
                let Some(frame) = self.response.body_mut().frame().await else { break };
                self.text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
            }
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| panic!("never: {}", self.text));
        &self.text
    }

    /// The ids and types of the first `count` events.
    async fn events(&mut self, count: usize) -> Vec<(u64, String)> {
        let text = self.until(|text| text.matches("\ndata: ").count() >= count).await;
        let blocks = text.split("\n\n").filter(|block| block.contains("data: "));
        blocks.map(parsed).take(count).collect()
    }
}

/// An event: its id and type, which its data repeats.
fn parsed(block: &str) -> (u64, String) {
    let line =
        |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let data: Value = serde_json::from_str(&line("data: ")).unwrap();
    assert_eq!(
        (data["position"].to_string(), data["type"].as_str()),
        (line("id: "), Some(&*line("event: ")))
    );
    (line("id: ").parse().unwrap(), line("event: "))
}

async fn archive(world: &World, name: &str) {
    let mut definition = pipeline(json!({}));
    definition["name"] = json!(name);
    assert_eq!(world.post("/pipelines", definition).await.status, 201);
    assert_eq!(world.ask("DELETE", &format!("/pipelines/{name}"), &[], "").await.status, 200);
}

#[tokio::test]
async fn a_stream_goes_on_where_its_client_was() {
    let world = World::new().await;
    let mut from_the_start = Reading::open(&world, "?after=0", None).await;
    let mut from_now = Reading::open(&world, "", None).await;
    archive(&world, "a").await;
    let all = from_the_start.events(4).await;
    let kinds: Vec<_> = all.iter().map(|(position, kind)| (*position, kind.as_str())).collect();
    let plugin = [(1, "PluginRegistered"), (2, "PluginEnabled")];
    assert_eq!(kinds, [&plugin[..], &[(3, "PipelineCreated"), (4, "PipelineArchived")]].concat());
    assert_eq!(from_now.events(2).await, all[2..]);
    assert!(from_now.text.starts_with("retry: "));

    // a browser repeats the address it was given
    let mut again = Reading::open(&world, "?after=0", Some(3)).await;
    archive(&world, "b").await;
    let rest = again.events(3).await;
    assert_eq!(rest.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [4, 5, 6]);
}

#[tokio::test]
async fn only_what_is_asked_for_passes() {
    let world = World::new().await;
    let mut archived = Reading::open(&world, "?after=0&event_type=PipelineArchived", None).await;
    let mut of_b = Reading::open(&world, "?after=0&aggregate_id=pipeline-b", None).await;
    archive(&world, "a").await;
    archive(&world, "b").await;
    assert_eq!(archived.events(2).await.iter().map(|e| e.0).collect::<Vec<_>>(), [4, 6]);
    assert_eq!(of_b.events(2).await.iter().map(|e| e.0).collect::<Vec<_>>(), [5, 6]);
    for bad in ["?after=x", "?event=1", "?aggregate_id=p", "?limit=1"] {
        assert_eq!(world.get(&format!("/events/stream{bad}")).await.status, 400, "{bad}");
    }
    let unreadable = world.ask("GET", "/events/stream", &[("last-event-id", "x")], "").await;
    assert_eq!(unreadable.status, 400, "{unreadable:?}");
}

#[tokio::test]
async fn a_node_that_drains_says_so() {
    let world = World::new().await;
    let mut reading = Reading::open(&world, "?after=0", None).await;
    reading.events(2).await;
    world.shutdown.cancel();
    let text = reading.until(|_| false).await;
    let end = text.split("\n\n").find(|block| block.starts_with("event: end")).unwrap();
    assert!(end.contains("\"reason\":\"draining\"") && end.contains("\"position\":2"), "{end}");
}

/// A client that does not read is let go with a reason behind what waits for it, and goes on from there.
#[tokio::test]
async fn a_slow_client_is_let_go_and_comes_back() {
    let world = World::new().await;
    let api = world.node.api();
    let places = Arc::new(Semaphore::new(1));
    let (sender, mut receiver) = mpsc::channel(EVENT_BUFFER + 1);
    let feeder = Feeder {
        feed: api.follow_events(EventQuery { limit: 1, ..EventQuery::default() }),
        position: Position(0),
        sender,
        shutdown: CancellationToken::new(),
        patience: Duration::from_millis(50),
        alive_every: DEADLINE,
        place: Arc::clone(&places).try_acquire_owned().unwrap(),
    };
    for name in ["a", "b", "c"] {
        archive(&world, name).await;
    }
    tokio::time::timeout(DEADLINE, feeder.run()).await.expect("let go in time");
    assert_eq!(places.available_permits(), 1, "its place is free again");
    let mut text = String::new();
    while let Some(piece) = receiver.recv().await {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    let (events, end) = text.split_once("event: end\n").expect("it is told why");
    assert!(end.contains("\"reason\":\"slow_client\""), "{end}");
    let last = events.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).max().unwrap();
    let mut again = Reading::open(&world, "", Some(last)).await;
    let rest = again.events(8 - usize::try_from(last).unwrap()).await;
    assert_eq!(rest.iter().map(|e| e.0).collect::<Vec<_>>(), (last + 1..=8).collect::<Vec<_>>());
}

/// Events that the client does not want are no signs of life; its id goes on all the same.
#[tokio::test]
async fn a_client_hears_how_far_it_is_while_others_events_go_by() {
    let world = World::new().await;
    let (sender, mut receiver) = mpsc::channel(EVENT_BUFFER + 1);
    let nothing = EventQuery { limit: 9, event_type: Some("StepFailed".to_owned()), ..EventQuery::default() };
    let feeder = Feeder {
        feed: world.node.api().follow_events(nothing),
        position: Position(0),
        sender,
        shutdown: CancellationToken::new(),
        patience: DEADLINE,
        alive_every: Duration::from_millis(200),
        place: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
    };
    let feeding = tokio::spawn(feeder.run());
    let busy = async {
        for n in 0.. {
            archive(&world, &format!("p-{n}")).await;
        }
    };
    let alive = async {
        loop {
            let piece = receiver.recv().await.unwrap().unwrap();
            let text = std::str::from_utf8(&piece).unwrap().to_owned();
            if text.starts_with(": alive\nid: ") && text != ": alive\nid: 0\n\n" {
                break;
            }
        }
    };
    tokio::select! {
        () = busy => unreachable!("it goes on"),
        heard = tokio::time::timeout(DEADLINE, alive) => heard.expect("heard in time"),
    }
    drop(receiver);
    tokio::time::timeout(DEADLINE, feeding).await.unwrap().unwrap();
}

/// A client that takes nothing at all cannot even be told: its connection ends, and its place serves another.
#[tokio::test]
async fn a_client_that_never_reads_gives_its_place_back() {
    let world = World::new().await;
    let mut large = pipeline(json!({"text": "x".repeat(800 << 10)}));
    for n in 0..16 {
        large["name"] = json!(format!("large-{n}"));
        assert_eq!(world.post("/pipelines", large.clone()).await.status, 201);
    }
    let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config =
        Config { max_connections: 1, write_timeout: Duration::from_millis(300), ..Config::default() };
    let serving = tokio::spawn(serve(
        listener,
        world.node.api(),
        crate::http::service::tests::anybody(),
        world.shutdown.clone(),
        config,
    ));

    let deaf = TcpSocket::new_v4().unwrap();
    deaf.set_recv_buffer_size(4 << 10).unwrap();
    let mut deaf = deaf.connect(address).await.unwrap();
    let follow = format!("GET {BASE}/events/stream?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    deaf.write_all(follow.as_bytes()).await.unwrap();
    deaf.readable().await.unwrap();

    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = other.read_to_string(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.expect("the only place is free in time").unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    drop(deaf);
    world.shutdown.cancel();
    tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn subscriptions_are_listed_and_replayed() {
    let world = World::new().await;
    let id = world.start(json!({})).await;
    world.until(&id, "completed").await;
    let listed = world.get("/subscriptions").await;
    let item = &listed.body["items"][0];
    assert_eq!((&item["name"], &item["owner"]), (&json!("complete-pipelines"), &json!("n1")), "{listed:?}");
    let parked = world.get("/subscriptions/complete-pipelines/parked").await;
    assert_eq!((parked.status, &parked.body["items"]), (200, &json!([])));
    let replayed = world.post_bare("/subscriptions/complete-pipelines/replay", &[]).await;
    assert_eq!((replayed.status, &replayed.body["handled"]), (200, &json!(0)), "{replayed:?}");
    let missing = world.post_bare("/subscriptions/complete-pipelines/replay?position=1", &[]).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    assert_eq!(world.get("/subscriptions/other/parked").await.status, 404);
    assert_eq!(world.post_bare("/subscriptions/other/replay", &[]).await.status, 404);
}
