//! The answering side: accepts connections of nodes that know the cluster's secret, and turns everybody else away.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use flexcore_actors::limits::MAX_PEER_MESSAGE;
use flexcore_actors::ports::cluster::PeerService;
use futures::{Stream, stream};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::identity::Identity;
use super::limits::{
    ACCEPT_PAUSE, CONNECT, FRAME_OVERHEAD, KEEP_ALIVE, KEEP_ALIVE_ANSWER, MAX_CONNECTIONS, MAX_STREAMS,
    SHUTDOWN_GRACE, TALK_QUEUE, TELL_STRANGERS,
};
use super::wire::Frame;
use super::wire::peers_server::{Peers, PeersServer};

/// Answers peers until `shutdown` is cancelled; open questions then have five seconds.
pub async fn serve(
    listener: TcpListener,
    identity: &Identity,
    service: Arc<dyn PeerService>,
    shutdown: CancellationToken,
) {
    let most = MAX_PEER_MESSAGE + FRAME_OVERHEAD;
    let answering = PeersServer::new(Answering { service });
    let host = Arc::new(Host {
        acceptor: TlsAcceptor::from(identity.server.clone()),
        answering: answering.max_decoding_message_size(most).max_encoding_message_size(most),
        strangers: Strangers::default(),
        shutdown,
    });
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            () = host.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let host = Arc::clone(&host);
                connections.spawn(async move {
                    let _place = place;
                    host.connection(stream, from).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a peer");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    // each ends by itself in time
    connections.wait().await;
}

/// What every connection needs.
struct Host {
    acceptor: TlsAcceptor,
    answering: PeersServer<Answering>,
    strangers: Strangers,
    shutdown: CancellationToken,
}

impl Host {
    async fn connection(&self, stream: TcpStream, from: SocketAddr) {
        let shaken = timeout(CONNECT, async {
            stream.set_nodelay(true)?;
            self.acceptor.accept(stream).await
        });
        let stream = match shaken.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.strangers.turned_away(from, &error.to_string()),
            Err(_) => return self.strangers.turned_away(from, "it said nothing in time"),
        };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .max_concurrent_streams(MAX_STREAMS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.answering.clone()));
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                // what is not answered in time is cut
                timeout(SHUTDOWN_GRACE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%from, %error, "a connection of a peer broke off");
        }
    }
}

/// Tells of those who were turned away, but not of each of many.
#[derive(Default)]
struct Strangers(std::sync::Mutex<(Option<Instant>, u64)>);

impl Strangers {
    fn turned_away(&self, from: SocketAddr, why: &str) {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.0.is_some_and(|last| last.elapsed() < TELL_STRANGERS) {
            seen.1 += 1;
            return;
        }
        let others = seen.1;
        *seen = (Some(Instant::now()), 0);
        tracing::warn!(%from, why, others, "a connection of a node without the cluster's secret was turned away");
    }
}

struct Answering {
    service: Arc<dyn PeerService>,
}

#[tonic::async_trait]
impl Peers for Answering {
    type TalkStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn ask(&self, question: Request<Frame>) -> Result<Response<Frame>, Status> {
        let body = self.service.answer(question.into_inner().body).await;
        Ok(Response::new(Frame { body }))
    }

    async fn talk(&self, words: Request<Streaming<Frame>>) -> Result<Response<Self::TalkStream>, Status> {
        let mut words = words.into_inner();
        let opening = words.message().await?.ok_or_else(|| Status::invalid_argument("nothing was said"))?;
        let (tell, heard) = mpsc::channel(TALK_QUEUE);
        let (says, told) = mpsc::channel::<Bytes>(TALK_QUEUE);
        let conversation = self.service.converse(opening.body, heard, says);
        tokio::spawn(async move {
            let listening = async {
                while let Ok(Some(Frame { body })) = words.message().await {
                    if tell.send(body).await.is_err() {
                        break;
                    }
                }
                // that nothing more is heard does not end what is being said
                drop(tell);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = conversation => {}
                () = listening => {}
            }
        });
        let frames =
            stream::unfold(
                told,
                |mut told| async move { Some((Ok(Frame { body: told.recv().await? }), told)) },
            );
        Ok(Response::new(Box::pin(frames)))
    }
}
