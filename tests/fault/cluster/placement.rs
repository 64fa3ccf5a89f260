//! Programs of everybody's pipelines run on the nodes that have the labels for them; whichever side is lost, everything arrives.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Cluster, execute_from_scratch};
use crate::rig::{API, TAP, execution};

/// The tap, from now on for nodes of a zone alone.
async fn move_to_zone(cluster: &Cluster, zone: &str) {
    let client = cluster.rig.node.client();
    let path = format!("{API}/plugins/{TAP}");
    let mut manifest = client.get(&path).await.expect(200).json["manifest"].clone();
    manifest["kind"] = json!("Plugin");
    manifest["node_selector"] = json!({"zone": zone});
    client.put(&path, &manifest).await.expect(200);
}

/// The nodes of the latest attempts.
async fn nodes_of(cluster: &Cluster, ids: &[String]) -> BTreeSet<String> {
    let mut nodes = BTreeSet::new();
    for id in ids {
        let seen = execution(&cluster.clients()[2], id).await;
        let events =
            cluster.clients()[1].get(&format!("{API}/executions/{id}/events")).await.expect(200).json;
        let mut started =
            events["items"].as_array().into_iter().flatten().filter(|event| event["type"] == "StepStarted");
        let last = started.next_back().unwrap_or_else(|| panic!("nothing started: {seen:#}"));
        nodes.insert(last["data"]["node"].as_str().expect("a node").to_owned());
    }
    nodes
}

#[tokio::test]
async fn programs_run_on_labelled_nodes_and_outlive_the_loss_of_either_side() {
    let mut cluster = Cluster::start_with(|name, builder| match name {
        "a" => builder,
        _ => builder.env("FLEXCORE_NODE_LABELS", "zone=dmz"),
    })
    .await;
    move_to_zone(&cluster, "dmz").await;
    let ids = cluster.execute_all().await;
    cluster.half_way().await;
    let labelled: BTreeSet<String> = ["b", "c"].map(str::to_owned).into();
    assert!(nodes_of(&cluster, &ids).await.is_subset(&labelled));
    for (n, id) in ids.iter().enumerate() {
        let log = cluster.clients()[n % 3].get(&format!("{API}/executions/{id}/logs")).await.expect(200).text;
        assert!(!log.is_empty(), "the log can be read through any node");
    }

    // the node that runs programs of others
    cluster.others[0].kill9().await;
    cluster.others[0].restart().await;
    cluster.all_completed(&ids).await;

    // the node whose pipelines' programs all run elsewhere
    let mut again = Vec::new();
    for n in 0..ids.len() {
        again.push(execute_from_scratch(&cluster.clients()[n % 3], n).await);
    }
    cluster.half_way().await;
    cluster.rig.node.kill9().await;
    cluster.rig.node.restart().await;
    cluster.all_over(&again).await;
    assert!(nodes_of(&cluster, &again).await.is_subset(&labelled));
    cluster.check().await;
}
