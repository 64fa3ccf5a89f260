//! Faults of all kinds, one after the other, at random moments, while clients and pipelines go on. By default a minute of them;
//! ten minutes with `FLEXCORE_TEST_SOAK_SECONDS=600 cargo xtask services -- cargo nextest run -p flexcore --test fault -E 'test(soak)'`.

use std::time::{Duration, Instant};

use flexcore_test_support::Node;
use nix::sys::signal::Signal;

use super::load::Load;
use super::{Cluster, PIPELINES, execute_from_scratch};
use crate::random::Random;
use crate::server::Server;

const SECONDS_VARIABLE: &str = "FLEXCORE_TEST_SOAK_SECONDS";
const SECONDS: u64 = 60;
const LANES: usize = 6;
/// The longest quiet between two faults.
const QUIET: Duration = Duration::from_secs(4);
/// The longest that something hangs or is away.
const AWAY: Duration = Duration::from_secs(7);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Terminate,
    Hang,
    PostgresAway,
    RedisKilled,
    RedisHangs,
    RedisFlushed,
}

const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Terminate,
    Fault::Hang,
    Fault::PostgresAway,
    Fault::RedisKilled,
    Fault::RedisHangs,
    Fault::RedisFlushed,
];

#[tokio::test]
async fn soak_with_random_faults_loses_nothing() {
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| text.parse().expect("seconds"));
    let mut random = Random::seeded();
    let mut server = Server::start().await;
    let mut cluster = Cluster::on(&server.url(), |_, builder| builder).await;
    let load = Load::begin(&cluster, LANES).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut faults, mut runs) = (Vec::new(), 0);
    let mut ids = cluster.execute_all().await;
    while Instant::now() < end {
        tokio::time::sleep(random.moment(QUIET)).await;
        let fault = *random.choice(&FAULTS).expect("there are some");
        let victim = *random.choice(&[0, 1, 2]).expect("there are some");
        eprintln!("{fault:?} {victim}");
        faults.push(fault);
        strike(fault, victim, random.moment(AWAY), &mut cluster, &mut server).await;
        load.doors(&cluster);
        // what has ended is begun again, so that something always runs
        if cluster.over(&ids).await {
            runs += ids.len();
            ids.clear();
            for n in 0..PIPELINES {
                ids.push(execute_from_scratch(&cluster.rig.node.client(), n).await);
            }
        }
    }
    cluster.divided(3).await;
    cluster.all_over(&ids).await;
    let told = load.end().await;
    eprintln!("{} faults in {seconds} s, {} executions: {}", faults.len(), runs + ids.len(), told.line());
    told.check(&cluster.check().await);
}

async fn strike(fault: Fault, victim: usize, away: Duration, cluster: &mut Cluster, server: &mut Server) {
    match fault {
        Fault::Kill => {
            node(cluster, victim).kill9().await;
            node(cluster, victim).restart().await;
        }
        Fault::Terminate => {
            let status = node(cluster, victim).sigterm().await;
            assert_eq!(status.code(), Some(0), "{}", node(cluster, victim).log());
            node(cluster, victim).restart().await;
        }
        Fault::Hang => {
            node(cluster, victim).send(Signal::SIGSTOP);
            tokio::time::sleep(away).await;
            node(cluster, victim).send(Signal::SIGCONT);
            // who hung for too long ends; whoever runs it starts it again
            if away > Duration::from_secs(3) {
                node(cluster, victim).restart().await;
            }
        }
        Fault::PostgresAway => {
            server.kill9();
            tokio::time::sleep(away).await;
            server.restart().await;
        }
        Fault::RedisKilled => {
            cluster.redis.kill();
            tokio::time::sleep(away).await;
            cluster.redis.start_again().await;
        }
        Fault::RedisHangs => {
            cluster.redis.pause(true);
            tokio::time::sleep(away).await;
            cluster.redis.pause(false);
        }
        Fault::RedisFlushed => {
            cluster.redis.command("FLUSHALL");
        }
    }
}

fn node(cluster: &mut Cluster, victim: usize) -> &mut Node {
    if victim == 0 { &mut cluster.rig.node } else { &mut cluster.others[victim - 1] }
}
