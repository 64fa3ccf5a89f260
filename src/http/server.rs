//! The accept loop: which addresses may be bound, how many connections there are, how long they may dawdle, and how
//! they end. Nothing here looks into a request.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flexcore_actors::runtime::api::Api;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;

use super::limits::{
    ACCEPT_PAUSE, HEADER_TIMEOUT, MAX_CONNECTIONS, MAX_HEAD_BYTES, REQUEST_TIMEOUT, SHUTDOWN_GRACE,
    WRITE_TIMEOUT,
};
use super::patience::Patient;
use super::service::Gateway;

/// What an operator may change about the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Connections served at once; the next ones wait.
    pub max_connections: usize,
    /// How long a client may take to send a request's head, and how long a connection may stay idle.
    pub header_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a client may leave its answer unread; then its connection is cut.
    pub write_timeout: Duration,
    /// How long open requests have to end after shutdown was asked for; then their connections are cut.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            header_timeout: HEADER_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }
}

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can be reached from other machines, and nothing is asked of who comes from there.
    #[error(
        "refusing to serve HTTP on {0} without access control: set auth.required (and make a token: flexcore token create), \
         or listen on a loopback address such as 127.0.0.1:8080"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error(
        "cannot listen on {address} for HTTP: is another node running, or the address not of this machine?"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The listener does not know its address.
    #[error("cannot read the address of the HTTP listener")]
    Listener(#[source] io::Error),
}

/// Binds an address; port 0 takes a free one. `controlled` says that a token is asked for.
///
/// # Errors
/// When the address is not a loopback address and access is not controlled, or cannot be had.
pub async fn bind(address: SocketAddr, controlled: bool) -> Result<TcpListener, ServeError> {
    if !controlled && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// Serves the node until `shutdown` is cancelled; then takes no more connections, lets open requests end within
/// `config.shutdown_grace`, and cuts what is left.
///
/// # Errors
/// When the listener is not bound to a loopback address and no token is asked for.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    access: Arc<Access>,
    shutdown: CancellationToken,
    config: Config,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    if !access.is_required() && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let gateway = Gateway::new(api, access, config.request_timeout, shutdown.clone());
    tracing::info!(%address, "serving http");
    Server { gateway: Arc::new(gateway), config, shutdown }.run(listener).await;
    tracing::info!(%address, "http has ended");
    Ok(())
}

struct Server {
    gateway: Arc<Gateway>,
    config: Config,
    shutdown: CancellationToken,
}

impl Server {
    async fn run(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.config.max_connections));
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        loop {
            // a place first: without one the next connection waits in the kernel's queue
            let place = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
            };
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(self.connection(stream, peer, place, cut.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if timeout(self.config.shutdown_grace, connections.wait()).await.is_err() {
            tracing::warn!(open = connections.len(), "cutting connections that did not end in time");
            cut.cancel();
            connections.wait().await;
        }
    }

    /// Serves one connection; the future holds its place until it has ended.
    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        cut: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let gateway = Arc::clone(&self.gateway);
        let shutdown = self.shutdown.clone();
        let Config { header_timeout, write_timeout, .. } = self.config;
        async move {
            let _held = (place, gateway.metrics().connection());
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot turn off delays of a connection");
            }
            let service = service_fn(|request| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, std::convert::Infallible>(gateway.handle(request, peer.ip()).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(Patient::new(stream, write_timeout)), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = cut.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::http::service::tests::gateway;

    const DEADLINE: Duration = Duration::from_secs(20);
    const REQUEST: &[u8] = b"GET /nope HTTP/1.1\r\nhost: localhost\r\n\r\n";

    async fn start(config: Config) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let gateway = Arc::new(gateway(shutdown.clone()));
        let server = Server { gateway, config, shutdown: shutdown.clone() };
        (address, shutdown, tokio::spawn(server.run(listener)))
    }

    async fn connect(address: SocketAddr, first: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream
    }

    /// Reads until the text holds `part`; whatever comes after it stays unread or is dropped.
    async fn read_until(stream: &mut TcpStream, part: &str) {
        let mut got = String::new();
        let mut buffer = [0; 4096];
        while !got.contains(part) {
            let n = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("an answer in time").unwrap();
            assert!(n > 0, "closed before {part:?}: {got}");
            got.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut got = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut got)).await.expect("an end in time").unwrap();
        got
    }

    #[tokio::test]
    async fn only_loopback_is_served() {
        let refused = bind("0.0.0.0:0".parse().unwrap(), false).await.unwrap_err();
        assert!(refused.to_string().contains("set auth.required"), "{refused}");
        let taken = bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let error = bind(taken.local_addr().unwrap(), false).await.unwrap_err();
        assert!(matches!(error, ServeError::Bind { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_connection_serves_many_requests_and_then_may_not_idle() {
        let config = Config { header_timeout: Duration::from_secs(1), ..Config::default() };
        let (address, shutdown, server) = start(config).await;
        let mut stream = connect(address, REQUEST).await;
        read_until(&mut stream, "\"instance\":\"/nope\"").await;
        stream.write_all(REQUEST).await.unwrap();
        read_until(&mut stream, "\"instance\":\"/nope\"").await;
        read_to_end(&mut stream).await;
        // a head that never ends is given up as well
        read_to_end(&mut connect(address, b"GET /nope HTTP/1.1\r\nhost:").await).await;
        shutdown.cancel();
        timeout(DEADLINE, server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_connection_after_the_last_place_waits() {
        let (address, shutdown, server) = start(Config { max_connections: 1, ..Config::default() }).await;
        let mut first = connect(address, REQUEST).await;
        read_until(&mut first, "no-such-route").await;
        let mut second = connect(address, REQUEST).await;
        let mut buffer = [0; 1];
        let early = timeout(Duration::from_millis(200), second.read(&mut buffer)).await;
        assert!(early.is_err(), "served beyond the limit");
        drop(first);
        read_until(&mut second, "no-such-route").await;
        shutdown.cancel();
        timeout(DEADLINE, server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn shutdown_closes_idle_connections_and_cuts_those_that_linger() {
        let config = Config {
            header_timeout: Duration::from_secs(600),
            shutdown_grace: Duration::from_millis(300),
            ..Config::default()
        };
        let (address, shutdown, server) = start(config).await;
        let mut idle = connect(address, REQUEST).await;
        read_until(&mut idle, "no-such-route").await;
        let mut half = connect(address, b"GET /nope HTTP/1.1\r\nhost:").await;
        shutdown.cancel();
        timeout(DEADLINE, server).await.expect("shutdown ends by itself").unwrap();
        read_to_end(&mut idle).await;
        let mut rest = Vec::new();
        // cut: an end or a reset, and no answer
        drop(timeout(DEADLINE, half.read_to_end(&mut rest)).await.expect("cut in time"));
        assert!(rest.is_empty());
        assert!(TcpStream::connect(address).await.is_err(), "still listening");
    }

    #[tokio::test]
    async fn who_never_reads_the_answers_is_cut_and_others_are_served() {
        let config = Config { write_timeout: Duration::from_millis(300), ..Config::default() };
        let (address, shutdown, server) = start(config).await;
        let mut deaf = connect(address, REQUEST).await;
        // asks on and on; once its answers fill all buffers only being cut ends this
        let cut = async { while deaf.write_all(REQUEST).await.is_ok() {} };
        timeout(DEADLINE, cut).await.expect("cut in time");
        read_until(&mut connect(address, REQUEST).await, "no-such-route").await;
        shutdown.cancel();
        timeout(DEADLINE, server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_head_without_bounds_is_refused() {
        let (address, shutdown, server) = start(Config::default()).await;
        let mut stream = connect(address, b"GET /nope HTTP/1.1\r\nhost: localhost\r\nx: ").await;
        let chunk = vec![b'a'; 8 << 10];
        let mut sent = 0;
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
            assert!(sent < 64 << 20, "swallowed {sent} bytes of a head");
        }
        shutdown.cancel();
        timeout(DEADLINE, server).await.unwrap().unwrap();
    }
}
