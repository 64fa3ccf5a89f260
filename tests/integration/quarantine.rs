//! A program that crashes again and again: its plugin is quarantined with its last words, other plugins go on, and an
//! operator ends it.

use flexcore_actors::limits::CIRCUIT_FAILURES;
use serde_json::{Value, json};

use crate::world::{World, items, pipe_step, text};

async fn plugin(world: &World, name: &str) -> Value {
    world.get(&format!("/plugins/{name}")).await.expect(200).json
}

#[tokio::test]
async fn a_plugin_that_keeps_crashing_is_quarantined_until_it_is_released() {
    let world = World::start().await;
    let mut step = pipe_step("load", "tap", json!({"crash_after": 3}));
    step["retry"] = json!({"attempts": CIRCUIT_FAILURES, "initial": "10ms", "jitter": 0});
    world.define("crashing", &json!([step])).await;
    let id = world.launch("crashing").await;
    let failed = world.ended(&id).await;
    assert_eq!(failed["cause"]["kind"], "signal", "{failed:#}");

    let tap = plugin(&world, "tap").await;
    assert_eq!(tap["health"], "quarantined", "{tap:#}");
    let quarantine = &tap["quarantine"];
    assert_eq!(quarantine["failures"], CIRCUIT_FAILURES);
    assert_eq!(
        (&quarantine["cause"]["kind"], &tap["last_error"]["kind"]),
        (&json!("signal"), &json!("signal"))
    );
    let tail = quarantine["log_tail"].to_string();
    assert!(tail.contains("crashing after 3 records as configured"), "{quarantine:#}");
    for other in ["target", "short", "work"] {
        assert_eq!(plugin(&world, other).await["health"], "healthy", "{other}");
    }
    let listed = world.get("/inspect/quarantine").await.expect(200).json;
    assert_eq!(items(&listed).len(), 1, "{listed:#}");
    assert_eq!(items(&listed)[0]["stream"], "plugin-tap");
    let shown = world.cli(&["plugins", "show", "tap"]).await.expect(0);
    shown.prints("after 5 crashes").prints("crashing after 3 records").prints("flexcore plugins release tap");
    world.cli(&["inspect", "quarantine"]).await.expect(0).prints("plugin-tap");

    // what needs it waits, what does not goes on
    world.define("waiting", &json!([pipe_step("load", "tap", json!({"records": 3}))])).await;
    let waiting = world.launch("waiting").await;
    let other = world.run_pipe("other", "short", json!({"records": 3})).await;
    assert_eq!(other["status"], "completed", "{other:#}");
    let why = |execution: &Value| execution["steps"][0]["waiting_for"].to_string();
    world
        .until(&waiting, "waits for the release", |e| why(e).contains("an operator has to release it"))
        .await;

    world.cli(&["plugins", "release", "tap"]).await.expect(0).prints("plugin tap is healthy");
    assert_eq!(world.ended(&waiting).await["status"], "completed");
    let tap = plugin(&world, "tap").await;
    assert_eq!((text(&tap["health"]).as_str(), &tap["quarantine"]), ("healthy", &Value::Null));
    world.cli(&["plugins", "release", "nobody"]).await.expect(3);
}
