//! What one node does for all: it alone, the others know how it fares, and another takes over.

use std::time::Duration;

use flexcore_actors::domain::ids::Position;
use flexcore_actors::domain::projection::View;
use flexcore_actors::runtime::api::{CommandKind, PageRequest};
use flexcore_actors::runtime::cluster::{PROJECTIONS, SEALER};
use serde_json::json;

use super::rig::{Member, Rig, settled, until};
use crate::world::{DEADLINE, plugin, step};

/// The node of these that does the work of a name, as `seen` sees it.
fn holder<'a>(name: &str, seen: &Member, nodes: &[&'a Member]) -> &'a Member {
    let status = seen.api.cluster();
    let singleton = status.singletons.into_iter().find(|singleton| singleton.name == name).unwrap();
    let owner = singleton.owner.unwrap();
    nodes.iter().find(|node| node.name == owner).unwrap()
}

fn folded(node: &Member) -> u64 {
    node.api.projections().iter().map(|projection| projection.events).sum()
}

async fn listed(node: &Member, wanted: Position) -> Vec<String> {
    node.api.reflects(View::Pipelines, wanted, DEADLINE).await.unwrap();
    let page = node.api.pipelines(PageRequest { cursor: None, limit: 100 }).await.unwrap();
    assert!(page.position >= wanted, "{} < {wanted}", page.position);
    page.items.iter().map(|pipeline| pipeline.name.to_string()).collect()
}

async fn define(node: &Member, name: &str) -> Position {
    let payload = json!({"steps": [step("load", json!([]))]});
    node.ok(CommandKind::CreatePipeline, name, payload).await.position
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_does_it_and_the_others_see_how_far_it_has_come() {
    let (rig, [a, b, c]) = Rig::three().await;
    let nodes = [&a, &b, &c];
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 5)).await;
    // the first node did it for all before the others came
    let (folded_before, sealed_before) = (nodes.map(folded), nodes.map(|node| node.api.metrics().seals));
    let last = define(&b, "p").await;
    for node in nodes {
        assert_eq!(listed(node, last).await, ["p"], "at {}", node.name);
    }
    until("the log is sealed, and all know", async || {
        nodes.iter().all(|node| node.api.metrics().sealed_size >= last.0)
    })
    .await;
    let (projects, seals) = (holder(PROJECTIONS, &a, &nodes), holder(SEALER, &a, &nodes));
    for (n, node) in nodes.into_iter().enumerate() {
        assert_eq!(folded(node) > folded_before[n], node.name == projects.name, "folded by {}", node.name);
        let sealed = node.api.metrics().seals > sealed_before[n];
        assert_eq!(sealed, node.name == seals.name, "sealed by {}", node.name);
        assert_eq!(holder(SEALER, node, &nodes).name, seals.name, "as {} sees it", node.name);
        assert!(node.api.projections().iter().all(|projection| projection.lag_ms == 0 || projection.lag > 0));
    }
    drop(rig);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_takes_over_when_it_is_lost_and_when_it_leaves() {
    let (rig, [a, b, c]) = Rig::three().await;
    let nodes = [&a, &b, &c];
    a.ok(CommandKind::RegisterPlugin, "tap", plugin("tap", 5)).await;
    let last = define(&a, "p0").await;
    listed(&a, last).await;
    let lost = holder(PROJECTIONS, &a, &nodes);
    lost.cut_off(&rig);
    let left: Vec<&Member> = nodes.into_iter().filter(|node| node.name != lost.name).collect();
    settled(&left).await;
    let last = define(left[0], "p1").await;
    for node in &left {
        assert_eq!(listed(node, last).await, ["p0", "p1"], "at {}", node.name);
    }
    until("the log is sealed by who is left", async || {
        left.iter().all(|node| node.api.metrics().sealed_size >= last.0)
    })
    .await;
    let name = holder(PROJECTIONS, left[0], &left).name.clone();
    let lost = lost.name.clone();
    let [gone, stays]: [Member; 2] = {
        let rest: Vec<Member> = [a, b, c].into_iter().filter(|node| node.name != lost).collect();
        let (gone, stays): (Vec<_>, Vec<_>) = rest.into_iter().partition(|node| node.name == name);
        [gone, stays].map(|mut one| one.remove(0))
    };
    gone.node.shutdown(Duration::from_secs(5)).await;
    settled(&[&stays]).await;
    let last = define(&stays, "p2").await;
    assert_eq!(listed(&stays, last).await, ["p0", "p1", "p2"]);
}
