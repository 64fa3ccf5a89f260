//! The asking side: one connection to each peer, made when it is needed and forgotten when it fails.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use flexcore_actors::domain::ids::Incarnation;
use flexcore_actors::limits::MAX_PEER_MESSAGE;
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::cluster::{Member, PeerError, Peers};
use futures::stream;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::identity::Identity;
use super::limits::{CONNECT, FRAME_OVERHEAD, KEEP_ALIVE, KEEP_ALIVE_ANSWER, MAX_PEERS, TALK_QUEUE};
use super::wire::Frame;
use super::wire::peers_client::PeersClient;

/// Speaks with the other nodes of a cluster.
pub struct GrpcPeers {
    tls: TlsConnector,
    clients: DashMap<Incarnation, PeersClient<Channel>>,
}

impl GrpcPeers {
    /// One that shows this identity.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self { tls: TlsConnector::from(identity.client.clone()), clients: DashMap::new() }
    }

    /// The connection to a peer. Only what fails here certainly did not reach it.
    async fn client(&self, to: &Member) -> Result<PeersClient<Channel>, PeerError> {
        if let Some(client) = self.clients.get(&to.incarnation) {
            return Ok(client.clone());
        }
        let unreachable = || PeerError::Unreachable(to.name.clone());
        let address = to.address.clone().ok_or_else(unreachable)?;
        let channel = timeout(CONNECT, connect(self.tls.clone(), address.clone())).await;
        let channel = channel.map_err(|_| "it took too long".to_owned()).and_then(|made| made);
        let channel = channel.map_err(|why| {
            tracing::debug!(peer = %to.name, address, why, "a peer cannot be reached");
            unreachable()
        })?;
        let most = MAX_PEER_MESSAGE + FRAME_OVERHEAD;
        let client =
            PeersClient::new(channel).max_decoding_message_size(most).max_encoding_message_size(most);
        if self.clients.len() >= MAX_PEERS {
            self.clients.clear();
        }
        self.clients.insert(to.incarnation, client.clone());
        Ok(client)
    }

    /// The next question makes a new connection, so that it is known whether the peer can be reached at all.
    fn lost(&self, to: &Member, why: &dyn std::fmt::Display) -> PeerError {
        tracing::debug!(peer = %to.name, %why, "the connection to a peer was lost");
        self.clients.remove(&to.incarnation);
        PeerError::Lost(to.name.clone())
    }
}

async fn connect(tls: TlsConnector, address: String) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true);
    let connector = service_fn(move |_: Uri| {
        let (tls, address) = (tls.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            // the key tells who it is, not the name
            let name = ServerName::try_from("flexcore").map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        cause.unwrap_or_else(|| error.to_string())
    })
}

impl Peers for GrpcPeers {
    fn ask<'a>(
        &'a self,
        to: &'a Member,
        question: Bytes,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            let deadline = Instant::now() + patience;
            let Ok(client) = timeout_at(deadline, self.client(to)).await else {
                return Err(PeerError::Unreachable(to.name.clone()));
            };
            let mut client = client?;
            match timeout_at(deadline, client.ask(Request::new(Frame { body: question }))).await {
                Ok(Ok(answer)) => Ok(answer.into_inner().body),
                Ok(Err(status)) => Err(self.lost(to, &status)),
                // slow is not gone: the connection stays, its keep-alive tells
                Err(_) => Err(PeerError::Lost(to.name.clone())),
            }
        })
    }

    fn talk<'a>(
        &'a self,
        to: &'a Member,
        opening: Bytes,
        said: mpsc::Receiver<Bytes>,
    ) -> BoxFuture<'a, Result<mpsc::Receiver<Bytes>, PeerError>> {
        Box::pin(async move {
            let mut client = self.client(to).await?;
            let words = stream::unfold((Some(opening), said), |(opening, mut said)| async move {
                let body = match opening {
                    Some(opening) => opening,
                    None => said.recv().await?,
                };
                Some((Frame { body }, (None, said)))
            });
            let opened = timeout(CONNECT, client.talk(Request::new(words))).await;
            let mut heard = match opened {
                Ok(Ok(answer)) => answer.into_inner(),
                Ok(Err(status)) => return Err(self.lost(to, &status)),
                Err(_) => return Err(self.lost(to, &"it did not answer")),
            };
            let (tell, told) = mpsc::channel(TALK_QUEUE);
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        () = tell.closed() => break,
                        frame = heard.message() => {
                            let Ok(Some(Frame { body })) = frame else { break };
                            if tell.send(body).await.is_err() {
                                break;
                            }
                        }
                    }
                }
            });
            Ok(told)
        })
    }
}
