//! The node's handling, tried on a stand-in: a shell script that keeps the same agreements as `flexcore serve`.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Writes its start's number into the data directory, then its address, and serves `GET /ready`.
const STAND_IN: &str = r#"#!/usr/bin/env python3
import http.server, os, pathlib, signal, sys
if sys.argv[1:] != ["serve"]:
    sys.exit("unexpected arguments")
if any(name.startswith("FLEXCORE_TEST_") for name in os.environ):
    sys.exit("the test command's variables must not reach a node")
if os.environ.get("FLEXCORE_BROKEN"):
    sys.exit("broken on purpose")
data = pathlib.Path(os.environ["FLEXCORE_DATA_DIR"])
starts = data / "starts"
starts.write_text((starts.read_text() if starts.exists() else "") + "x")

asked = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        self.send_response(200 if asked > 2 else 503)
        self.end_headers()
        self.wfile.write(str(asked).encode())

def drain(*_):
    print("drained", flush=True)
    os._exit(0)

signal.signal(signal.SIGTERM, drain)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
(data / "http.address").write_text("127.0.0.1:%d\n" % server.server_port)
server.serve_forever()
"#;

fn stand_in() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("stand-in");
    std::fs::write(&program, STAND_IN).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, program)
}

fn starts(node: &Node) -> usize {
    std::fs::read_to_string(node.data_dir().join("starts")).unwrap().len()
}

#[tokio::test]
async fn a_node_is_ready_killed_restarted_on_its_data_and_drained() {
    let (_folder, program) = stand_in();
    let mut node = Node::of(program).start().await;
    let (first, pid) = (node.address(), node.pid());
    node.client().get("/ready").await.expect(200);

    node.kill9().await;
    assert!(node.client().request(http::Method::GET, "/ready", None, "").await.is_err());
    node.restart().await;
    assert_ne!(node.pid(), pid);
    assert_ne!(node.address(), first, "the address is the new process's, not the file that the old one left");
    assert_eq!(starts(&node), 2);

    let status = node.sigterm().await;
    assert_eq!(status.code(), Some(0));
    assert!(node.log().contains("drained"), "{}", node.log());
}

#[tokio::test]
async fn a_running_node_is_killed_before_its_restart_and_at_the_end() {
    let (_folder, program) = stand_in();
    let mut node = Node::of(program).start().await;
    node.restart().await;
    assert_eq!(starts(&node), 2);
    let (pid, folder) = (Pid::from_raw(i32::try_from(node.pid()).unwrap()), node.folder().to_owned());
    drop(node);
    assert!(kill(pid, None).is_err(), "the process must be gone");
    assert!(!folder.exists(), "the data directory must be gone");
}

#[tokio::test]
#[should_panic(expected = "broken on purpose")]
async fn a_node_that_ends_at_its_start_fails_the_test_with_its_log() {
    let (_folder, program) = stand_in();
    Node::of(program).env("FLEXCORE_BROKEN", "1").start().await;
}
