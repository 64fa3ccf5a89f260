//! A proxy in front of the server that loses one answer or one request on command and cuts the connection, as a
//! network does. It knows of the protocol only how an answer ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// ReadyForQuery outside a transaction: the last message of an answer, sent after the commit.
const READY: &[u8] = b"Z\0\0\0\x05I";

const PASS: u8 = 0;
const LOSE_ANSWER: u8 = 1;
const LOSE_REQUEST: u8 = 2;

/// The proxy; it ends with the test's runtime.
pub(super) struct Proxy {
    config: Config,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    /// Starts one in front of the server of `config`, which listens on TCP.
    pub(super) async fn start(config: &Config) -> Self {
        let Some(Host::Tcp(host)) = config.get_hosts().first().cloned() else {
            panic!("the test's server listens on tcp")
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let mut through = Config::new();
        through.host("127.0.0.1").port(listener.local_addr().expect("bound").port());
        through.user(config.get_user().expect("a user")).dbname(config.get_dbname().expect("a database"));
        if let Some(password) = config.get_password() {
            through.password(password);
        }
        let mode = Arc::new(AtomicU8::new(PASS));
        let accepting = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((host.as_str(), port)).await.expect("reach the server");
                tokio::spawn(relay(client, server, Arc::clone(&accepting)));
            }
        });
        Self { config: through, mode }
    }

    /// Settings to reach the server through the proxy.
    pub(super) fn config(&self) -> Config {
        self.config.clone()
    }

    /// The next answer is received whole, then lost with its connection.
    pub(super) fn lose_next_answer(&self) {
        self.mode.store(LOSE_ANSWER, Ordering::SeqCst);
    }

    /// The next request is lost with its connection.
    pub(super) fn lose_next_request(&self) {
        self.mode.store(LOSE_REQUEST, Ordering::SeqCst);
    }
}

/// Ends, and closes both connections, when one direction ends.
async fn relay(client: TcpStream, server: TcpStream, mode: Arc<AtomicU8>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = requests(from_client, to_server, &mode) => {}
        () = answers(from_server, to_client, &mode) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &AtomicU8) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if mode.compare_exchange(LOSE_REQUEST, PASS, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &AtomicU8) {
    let mut buffer = vec![0; 64 << 10];
    let mut lost = Vec::new();
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if mode.load(Ordering::SeqCst) == LOSE_ANSWER {
            lost.extend_from_slice(&buffer[..count]);
            if lost.ends_with(READY) {
                mode.store(PASS, Ordering::SeqCst);
                return;
            }
        } else if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
