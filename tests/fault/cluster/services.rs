//! PostgreSQL and Redis go away under three nodes that work: whoever was alive stays alive, and no shard moves.

use std::time::{Duration, Instant};

use super::load::Load;
use super::{Cluster, PIPELINES};
use crate::rig::API;
use crate::server::Server;

/// Shorter than the guard of a node; longer than its lease.
const AWAY: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_secs(6)];
/// Long enough for every node to give up its connection; nothing more happens after that, however long it takes.
const REDIS_HANGS: Duration = Duration::from_secs(15);
const LANES: usize = 6;

#[tokio::test]
async fn when_postgres_was_away_everybody_goes_on() {
    let mut server = Server::start().await;
    let cluster = Cluster::on(&server.url(), |_, builder| builder).await;
    let before = cluster.lives().await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    let load = Load::begin(&cluster, LANES).await;
    for away in AWAY {
        server.kill9();
        tokio::time::sleep(away).await;
        server.restart().await;
        let back = Instant::now();
        // reads and writes of every pipeline, through every node
        for client in cluster.clients() {
            for n in 0..PIPELINES {
                super::answered(&client, &format!("{API}/pipelines/{}", super::pipeline(n))).await;
            }
        }
        eprintln!(
            "everything was answered {} ms after the database, away for {away:?}",
            back.elapsed().as_millis()
        );
        cluster.divided(3).await;
        assert_eq!(cluster.lives().await, before, "nobody was taken for dead");
    }
    let told = load.end().await;
    eprintln!("{}", told.line());
    cluster.all_completed(&ids).await;
    told.check(&cluster.check().await);
}

#[tokio::test]
async fn without_redis_nothing_moves_and_everything_is_answered() {
    let mut cluster = Cluster::start().await;
    let (before, lives) = (cluster.divided(3).await, cluster.lives().await);
    cluster.redis.kill();
    cluster.hints("down").await;
    let ids = cluster.execute_all().await;
    cluster.all_completed(&ids).await;
    assert_eq!(cluster.divided(3).await, before, "no shard has moved, no member came or went");
    cluster.redis.start_again().await;
    cluster.hints("up").await;
    cluster.redis.command("FLUSHALL");
    cluster.redis.pause(true);
    tokio::time::sleep(REDIS_HANGS).await;
    let ids = cluster.execute_all().await;
    cluster.all_completed(&ids).await;
    cluster.redis.pause(false);
    cluster.hints("up").await;
    assert_eq!(cluster.divided(3).await, before, "no shard has moved, no member came or went");
    assert_eq!(cluster.lives().await, lives);
    cluster.check().await;
}
