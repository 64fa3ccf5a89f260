//! A proxy in front of PostgreSQL that loses one answer or one request on command and cuts the connection, as a
//! network does. It knows of the protocol only how an answer ends and which function a connection has prepared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// ReadyForQuery outside a transaction: the last message of an answer, sent after the commit.
const READY: &[u8] = b"Z\0\0\0\x05I";
/// Bytes read at once; a statement is prepared in one such piece.
const PIECE: usize = 64 << 10;

const PASS: u8 = 0;
const LOSE_ANSWER: u8 = 1;
const LOSE_REQUEST: u8 = 2;

/// The proxy; it ends with the test's runtime.
#[derive(Debug)]
pub struct PostgresProxy {
    config: Config,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mode: AtomicU8,
    lost: AtomicU64,
    /// Only connections that have prepared a statement with this text lose anything.
    only: String,
}

impl PostgresProxy {
    /// Starts one in front of the server of `config`, which listens on TCP. What is lost is lost on connections
    /// that have prepared a statement with the text `only` (such as the name of a function); the others pass.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(config: &Config, only: &str) -> Self {
        let Some(Host::Tcp(host)) = config.get_hosts().first().cloned() else {
            panic!("the test's server listens on tcp")
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port is free");
        let mut through = Config::new();
        let own = listener.local_addr().expect("a listener has an address").port();
        through.host("127.0.0.1").port(own);
        through.user(config.get_user().expect("a user")).dbname(config.get_dbname().expect("a database"));
        if let Some(password) = config.get_password() {
            through.password(password);
        }
        let (mode, lost) = (AtomicU8::new(PASS), AtomicU64::new(0));
        let shared = Arc::new(Shared { mode, lost, only: only.to_owned() });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // a server that is away refuses the connection, and so does the proxy
                if let Ok(server) = TcpStream::connect((host.as_str(), port)).await {
                    tokio::spawn(relay(client, server, Arc::clone(&accepting)));
                }
            }
        });
        Self { config: through, shared }
    }

    /// Settings to reach the server through the proxy.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The same as a URL. It holds a password.
    ///
    /// # Panics
    /// When the password is not UTF-8.
    #[must_use]
    pub fn url(&self) -> String {
        let password = self.config.get_password().unwrap_or_default();
        let password = std::str::from_utf8(password).expect("the test command gives a text");
        let (user, database) =
            (self.config.get_user().expect("a user"), self.config.get_dbname().expect("a database"));
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.config.get_ports()[0])
    }

    /// The next answer is received whole, then lost with its connection.
    pub fn lose_next_answer(&self) {
        self.shared.mode.store(LOSE_ANSWER, Ordering::SeqCst);
    }

    /// The next request is lost with its connection.
    pub fn lose_next_request(&self) {
        self.shared.mode.store(LOSE_REQUEST, Ordering::SeqCst);
    }

    /// How many answers and requests were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Takes the order to lose something, once.
    fn take(&self, order: u8) -> bool {
        let taken = self.mode.compare_exchange(order, PASS, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if taken {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        taken
    }
}

/// Ends, and closes both connections, when one direction ends.
async fn relay(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let prepared = AtomicBool::new(false);
    tokio::select! {
        () = requests(from_client, to_server, &shared, &prepared) => {}
        () = answers(from_server, to_client, &shared, &prepared) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, prepared: &AtomicBool) {
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let piece = &buffer[..count];
        if prepared.load(Ordering::SeqCst) {
            if shared.take(LOSE_REQUEST) {
                return;
            }
        } else if contains(piece, shared.only.as_bytes()) {
            prepared.store(true, Ordering::SeqCst);
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, prepared: &AtomicBool) {
    let mut buffer = vec![0; PIECE];
    let mut held = Vec::new();
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let lose = prepared.load(Ordering::SeqCst) && shared.mode.load(Ordering::SeqCst) == LOSE_ANSWER;
        if lose || !held.is_empty() {
            held.extend_from_slice(&buffer[..count]);
            if !held.ends_with(READY) {
                continue;
            }
            if shared.take(LOSE_ANSWER) {
                return;
            }
            // another connection's answer was lost meanwhile: this one passes
            if to.write_all(&std::mem::take(&mut held)).await.is_err() {
                return;
            }
        } else if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

fn contains(piece: &[u8], text: &[u8]) -> bool {
    piece.windows(text.len().max(1)).any(|window| window == text)
}
