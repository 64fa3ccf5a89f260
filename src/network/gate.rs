//! The open way from one program to its hosts, from its start to its end: accepts, connects, joins. Never in here: how a
//! host is found.

use super::account::{Account, Traffic};
use super::limits::{ACCEPT_PAUSE, DRAIN_WAIT, FAILURE_HOLD, QUESTION_BYTES};
use super::relay::{join, reset};
use super::route::Route;
use super::stub;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// A program's way to its hosts. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Gate {
    closing: CancellationToken,
    account: Arc<Account>,
    work: JoinHandle<()>,
}

/// What the tasks of a gate have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) closing: CancellationToken,
    pub(super) account: Arc<Account>,
    /// Places of this program, and of all.
    pub(super) places: [Arc<Semaphore>; 2],
}

impl Gate {
    /// Must be called within a runtime.
    pub(super) fn open(
        listeners: Vec<(TcpListener, Route)>,
        names: Option<(UdpSocket, BTreeMap<String, IpAddr>)>,
        common: Common,
    ) -> Self {
        let (closing, account) = (common.closing.clone(), Arc::clone(&common.account));
        let work = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            for (listener, route) in listeners {
                tasks.spawn(accept(listener, Arc::new(route), common.clone()));
            }
            if let Some((socket, granted)) = names {
                tasks.spawn(answer(socket, granted, common));
            }
            while tasks.join_next().await.is_some() {}
        });
        Self { closing, account, work }
    }

    /// What went through it so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.account.traffic()
    }

    /// Closes it after the program's end: nothing new is accepted, and what the program sent has [`DRAIN_WAIT`] to arrive.
    pub async fn close(mut self) -> Traffic {
        self.closing.cancel();
        let _ = timeout(DRAIN_WAIT, &mut self.work).await;
        self.traffic()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// Accepts connections of one listener until the end, then what is left in its queue, and waits for all of them.
async fn accept(listener: TcpListener, route: Arc<Route>, common: Common) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = common.closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((inner, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = tokio::select! {
            Some(place) = common.place() => place,
            () = common.closing.cancelled() => {
                reset(inner);
                break;
            }
        };
        connections.spawn(connect(inner, Arc::clone(&route), common.clone(), place));
    }
    for inner in queued(listener) {
        let Some(place) = common.free_place() else { break };
        connections.spawn(connect(inner, Arc::clone(&route), common.clone(), place));
    }
    while connections.join_next().await.is_some() {}
}

/// What the kernel had accepted before the listener is closed; the runtime may not know of it yet.
fn queued(listener: TcpListener) -> impl Iterator<Item = TcpStream> {
    let listener = listener.into_std().ok();
    let next = move || listener.as_ref()?.accept().ok();
    std::iter::from_fn(next).filter_map(|(inner, _)| {
        inner.set_nonblocking(true).ok()?;
        TcpStream::from_std(inner).ok()
    })
}

type Place = [OwnedSemaphorePermit; 2];

impl Common {
    async fn place(&self) -> Option<Place> {
        let [own, all] = self.places.clone();
        Some([own.acquire_owned().await.ok()?, all.acquire_owned().await.ok()?])
    }

    fn free_place(&self) -> Option<Place> {
        let [own, all] = self.places.clone();
        Some([own.try_acquire_owned().ok()?, all.try_acquire_owned().ok()?])
    }
}

async fn connect(inner: TcpStream, route: Arc<Route>, common: Common, _place: Place) {
    match route.connect().await {
        Ok(outer) => {
            common.account.connected();
            join(inner, outer, &common.account, &common.closing).await;
        }
        Err(reason) => {
            tracing::debug!(host = route.host, port = route.port, %reason, "a program's connection was not made");
            common.account.refused(&route.host, Some(route.port), reason);
            reset(inner);
            tokio::select! {
                () = sleep(FAILURE_HOLD) => {}
                () = common.closing.cancelled() => {}
            }
        }
    }
}

/// Answers the program's questions for names until its end.
async fn answer(socket: UdpSocket, granted: BTreeMap<String, IpAddr>, common: Common) {
    let mut question = [0; QUESTION_BYTES];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut question) => received,
            () = common.closing.cancelled() => return,
        };
        let Ok((length, from)) = received else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(answer) = stub::answer(&question[..length], &granted) else { continue };
        if let Some(name) = answer.denied {
            common.account.refused(&name, None, super::account::Reason::NotGranted);
        }
        // as with any datagram: who has no room for it asks again
        let _ = socket.try_send_to(&answer.message, from);
    }
}
