//! What makes a node one of several: where it listens for the others, how it reaches them, and the news between them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use flexcore_actors::domain::ids::Incarnation;
use flexcore_actors::ports::{ClusterStore, PeerService, Uptime};
use flexcore_actors::runtime::api::Api;
use flexcore_actors::runtime::cluster::{ClusterPorts, Timings};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::config::Config;
use crate::peers::{self, GrpcPeers, Identity};
use crate::redis::{RedisHints, Station};
use crate::uptime::SinceBoot;

/// What the keys and channels of a cluster in Redis begin with. One Redis database is one cluster's: the URL names it.
const PREFIX: &str = "flexcore:";

/// How often it is looked whether the node's lease was renewed: often within a renewal's second.
const LOOK: Duration = Duration::from_millis(200);

/// Where the others will be answered, once there is a runtime that can.
pub(super) struct Listening {
    listener: TcpListener,
    identity: Identity,
}

/// The others are answered.
pub(super) struct Serving {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// The ports of the cluster, and where to listen for it; without a configured one, those of a node alone.
pub(super) async fn ports(
    config: &Config,
    store: Arc<dyn ClusterStore>,
    home: Uuid,
) -> anyhow::Result<(ClusterPorts, Option<Listening>)> {
    let uptime = Arc::new(SinceBoot);
    let Some(cluster) = &config.cluster else {
        let (labels, memory) = (config.node_labels.clone(), config.programs_memory());
        return Ok((ClusterPorts { labels, memory, ..ClusterPorts::alone(store, home, uptime) }, None));
    };
    let identity = Identity::from_secret(cluster.secret.reveal()).context("cluster.secret cannot be used")?;
    let listen = config.grpc_listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("grpc.listen: cannot listen on {listen}: is another node running, or the address not of this machine?")
    })?;
    let address = match &cluster.advertise {
        Some(address) => address.clone(),
        None => listener.local_addr().context("the listener for other nodes has no address")?.to_string(),
    };
    // the node's life as those who hear it tell it from others
    let incarnation = Incarnation(Uuid::now_v7());
    let station = Station { prefix: PREFIX.to_owned(), node: config.node_name.clone(), incarnation };
    let hints =
        RedisHints::start(cluster.redis_url.reveal(), station).context("cluster.redis_url cannot be used")?;
    let ports = ClusterPorts {
        store,
        home,
        address: Some(address),
        labels: config.node_labels.clone(),
        memory: config.programs_memory(),
        peers: Arc::new(GrpcPeers::new(&identity)),
        hints: Arc::new(hints),
        uptime,
        timings: Timings::default(),
    };
    Ok((ports, Some(Listening { listener, identity })))
}

/// Until when programs may run, to send and to receive; `None` where the node is alone.
pub(super) fn lease(config: &Config) -> (Option<watch::Sender<Duration>>, Option<watch::Receiver<Duration>>) {
    // nothing is started before the node is a member, and told so
    config.cluster.as_ref().map(|_| watch::channel(SinceBoot.uptime() + Timings::default().guard)).unzip()
}

/// Lets programs run for as long as the node may serve; ends with what it answers.
pub(super) fn renew(renew: watch::Sender<Duration>, api: Api) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let until = api.serves_until();
            renew.send_if_modified(|last| std::mem::replace(last, until) != until);
            sleep(LOOK).await;
        }
    }))
}

impl Listening {
    /// Answers the others from now on.
    pub(super) fn serve(self, service: Arc<dyn PeerService>) -> Serving {
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            peers::serve(self.listener, &self.identity, service, stop).await;
        });
        Serving { shutdown, task }
    }
}

impl Serving {
    /// Answers what was asked, and ends.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "answering other nodes failed");
        }
    }
}
