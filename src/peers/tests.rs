//! Two nodes over loopback: what is asked and said arrives, and strangers get nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flexcore_actors::domain::ids::{Incarnation, Name};
use flexcore_actors::limits::MAX_PEER_MESSAGE;
use flexcore_actors::ports::BoxFuture;
use flexcore_actors::ports::cluster::{Member, MemberState, PeerError, PeerService, Peers};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{GrpcPeers, Identity, serve};

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "a secret of thirty-two characters";

/// Answers with what was asked, in reverse; says everything twice.
struct Echo {
    ended: mpsc::Sender<()>,
}

impl PeerService for Echo {
    fn answer(&self, question: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(async move {
            if question == "never" {
                std::future::pending::<()>().await;
            }
            question.iter().rev().copied().collect()
        })
    }

    fn converse(
        &self,
        opening: Bytes,
        mut heard: mpsc::Receiver<Bytes>,
        says: mpsc::Sender<Bytes>,
    ) -> BoxFuture<'static, ()> {
        let ended = self.ended.clone();
        Box::pin(async move {
            let mut word = Some(opening);
            while let Some(said) = word {
                for _ in 0..2 {
                    if says.send(said.clone()).await.is_err() {
                        break;
                    }
                }
                word = heard.recv().await;
            }
            ended.send(()).await.unwrap_or_default();
        })
    }
}

struct Served {
    member: Member,
    ended: mpsc::Receiver<()>,
    shutdown: CancellationToken,
}

async fn served(secret: &str) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = Member {
        name: Name::new("b").unwrap(),
        incarnation: Incarnation(Uuid::now_v7()),
        address: Some(listener.local_addr().unwrap().to_string()),
        labels: BTreeMap::new(),
        state: MemberState::Live,
        lease_left: Duration::ZERO,
    };
    let (tell, ended) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let (identity, stop) = (Identity::from_secret(secret).unwrap(), shutdown.clone());
    tokio::spawn(async move { serve(listener, &identity, Arc::new(Echo { ended: tell }), stop).await });
    Served { member, ended, shutdown }
}

fn peers(secret: &str) -> GrpcPeers {
    GrpcPeers::new(&Identity::from_secret(secret).unwrap())
}

async fn ask(peers: &GrpcPeers, to: &Member, question: &'static str) -> Result<Bytes, PeerError> {
    peers.ask(to, Bytes::from_static(question.as_bytes()), PATIENCE).await
}

#[tokio::test]
async fn a_question_is_answered_up_to_the_largest() {
    let (served, peers) = (served(SECRET).await, peers(SECRET));
    assert_eq!(ask(&peers, &served.member, "abc").await.unwrap(), "cba");
    let largest = Bytes::from(vec![7; MAX_PEER_MESSAGE]);
    assert_eq!(peers.ask(&served.member, largest.clone(), PATIENCE).await.unwrap(), largest);
    let larger = Bytes::from(vec![7; 2 * MAX_PEER_MESSAGE]);
    assert!(matches!(peers.ask(&served.member, larger, PATIENCE).await, Err(PeerError::Lost(_))));
    assert_eq!(ask(&peers, &served.member, "ab").await.unwrap(), "ba", "the next one passes");
}

#[tokio::test]
async fn whoever_does_not_know_the_secret_gets_nowhere() {
    let served = served(SECRET).await;
    let stranger = peers("another secret of thirty-two chars");
    assert_eq!(
        ask(&stranger, &served.member, "abc").await,
        Err(PeerError::Unreachable(served.member.name.clone()))
    );
    // nor does one who speaks no TLS, or nothing
    let mut plain = tokio::net::TcpStream::connect(served.member.address.as_ref().unwrap()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut heard);
    // a reset is an end as well
    timeout(PATIENCE, closed).await.unwrap().unwrap_or_default();
    assert!(!heard.windows(2).any(|two| two == b"cb"), "{heard:?}");
    assert_eq!(ask(&peers(SECRET), &served.member, "abc").await.unwrap(), "cba");
}

#[tokio::test]
async fn a_peer_that_is_gone_is_told_from_one_that_was_lost() {
    let (served, peers) = (served(SECRET).await, Arc::new(peers(SECRET)));
    let member = served.member.clone();
    assert_eq!(ask(&peers, &member, "abc").await.unwrap(), "cba");
    let slow = peers.ask(&member, Bytes::from_static(b"never"), Duration::from_millis(50)).await;
    assert_eq!(slow, Err(PeerError::Lost(member.name.clone())));
    served.shutdown.cancel();
    let gone = async {
        loop {
            match ask(&peers, &member, "abc").await {
                Err(PeerError::Unreachable(name)) => break name,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    assert_eq!(timeout(PATIENCE, gone).await.unwrap(), member.name);
    let nowhere = Member { address: None, incarnation: Incarnation(Uuid::now_v7()), ..member };
    assert!(matches!(ask(&peers, &nowhere, "abc").await, Err(PeerError::Unreachable(_))));
}

#[tokio::test]
async fn a_conversation_goes_both_ways_until_either_side_ends_it() {
    let (mut served, peers) = (served(SECRET).await, peers(SECRET));
    let (say, said) = mpsc::channel(1);
    let mut told = peers.talk(&served.member, Bytes::from_static(b"a"), said).await.unwrap();
    for word in ["a", "b", "c"] {
        if word != "a" {
            say.send(Bytes::from_static(word.as_bytes())).await.unwrap();
        }
        for _ in 0..2 {
            assert_eq!(timeout(PATIENCE, told.recv()).await.unwrap().unwrap(), word);
        }
    }
    drop(say);
    assert_eq!(timeout(PATIENCE, told.recv()).await.unwrap(), None, "the other side has ended");
    timeout(PATIENCE, served.ended.recv()).await.unwrap().unwrap();

    let (_say, said) = mpsc::channel(1);
    let told = peers.talk(&served.member, Bytes::from_static(b"a"), said).await.unwrap();
    drop(told);
    drop(_say);
    timeout(PATIENCE, served.ended.recv()).await.unwrap().unwrap();
}
