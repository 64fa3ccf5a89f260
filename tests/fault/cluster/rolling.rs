//! All nodes are restarted one after the other while clients go on: none of them notices more than a repeat.

use std::time::Instant;

use super::Cluster;
use super::load::Load;

const LANES: usize = 24;

#[tokio::test]
async fn nodes_are_restarted_one_after_the_other_under_load() {
    let mut cluster = Cluster::start().await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    let load = Load::begin(&cluster, LANES).await;
    let began = Instant::now();
    for n in 0..3 {
        let node = if n == 0 { &mut cluster.rig.node } else { &mut cluster.others[n - 1] };
        let status = node.sigterm().await;
        assert_eq!(status.code(), Some(0), "{}", node.log());
        node.restart().await;
        load.doors(&cluster);
        cluster.divided(3).await;
    }
    let took = began.elapsed();
    let told = load.end().await;
    eprintln!("three nodes restarted in {} ms: {}", took.as_millis(), told.line());
    cluster.all_completed(&ids).await;
    told.check(&cluster.check().await);
}
