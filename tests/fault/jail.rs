//! The jail as a node uses it: programs, launchers, inits and the node itself are killed at random and nothing of any
//! execution is left; a hundred plugins run at once while the node answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flexcore_jailer::process_tree::descendants;
use flexcore_test_support::{Client, Node, wait_for};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::checker::Log;
use crate::processes;
use crate::random::Random;
use crate::rig::{API, execution, is_over, node};

/// More executions than the ordinary run's, for a long look.
const EXECUTIONS_VARIABLE: &str = "FLEXCORE_TEST_EXECUTIONS";
const EXECUTIONS: usize = 200;
/// Executions that run at the same time.
const AT_ONCE: usize = 10;
/// Executions between two restarts of the node, which is killed each time.
const LIFE: usize = 50;
/// Kills among those that run at the same time: below the five without a success between them that quarantine a plugin.
const KILLS: usize = 3;
/// The longest time between two of them.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a batch may take, with all that is tried again.
const BATCH_DEADLINE: Duration = Duration::from_secs(120);
/// How long what ended may take to be gone.
const GONE: Duration = Duration::from_secs(20);

/// Leaves a daemon of its own session behind and files in its scratch directory, and works for a moment. Its number is
/// in every process's arguments.
const SCRIPT: &str = "(setsid sleep 600.$0 &); head -c 200000 /dev/zero > f; mkfifo p; mkdir d; sleep 0.1$0";

/// Plugins at once, and the memory that all of them with the node stay below.
const CROWD: usize = 100;
const CROWD_BYTES: u64 = 4 << 30;
/// Requests to the node while they run.
const REQUESTS: usize = 200;

#[tokio::test]
async fn random_kills_leave_no_process_group_mount_socket_file_or_descriptor() {
    let executions: usize = match std::env::var(EXECUTIONS_VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("{EXECUTIONS_VARIABLE}={text}: {e}")),
        Err(_) => EXECUTIONS,
    };
    let mut random = Random::seeded();
    let mut node = node().start().await;
    // the arguments of this run's programs, and of nobody else's
    let mark = format!("{}7", std::process::id());
    define(&node.client(), "churn", &["/bin/sh", "-c", SCRIPT, &mark], AT_ONCE, json!({})).await;
    let mut watch = Watch { mark, groups: BTreeSet::new() };
    let mut killed = [0; 2];
    let mut done = 0;
    while done < executions {
        let batch = start_batch(&node.client(), AT_ONCE.min(executions - done)).await;
        done += batch.len();
        // in the middle of the batch, not after it
        let ends_life = done / LIFE > (done - batch.len()) / LIFE;
        killed[0] += strike(&node, &batch, ends_life, &mut watch, &mut random).await;
        if ends_life {
            node.kill9().await;
            killed[1] += 1;
            watch.everyone_gone().await;
            node.restart().await;
        }
        completed(&node.client(), &batch).await;
    }
    eprintln!("{done} executions, {} processes and {} nodes killed", killed[0], killed[1]);
    assert!(killed[0] >= done / 10 && killed[1] >= done / LIFE, "too little was killed to show anything");
    let log = Log::settled(&node.client()).await;
    log.check();

    watch.everyone_gone().await;
    nothing_left(&node, &watch).await;
    descriptors_do_not_grow(&node, &mut watch, &mut random).await;
    let status = node.sigterm().await;
    assert_eq!(status.code(), Some(0), "{}", node.log());
    watch.groups_gone(true).await;
}

/// After a round of kills the node holds no more descriptors than after a round without.
async fn descriptors_do_not_grow(node: &Node, watch: &mut Watch, random: &mut Random) {
    let client = node.client();
    let calm = start_batch(&client, AT_ONCE).await;
    completed(&client, &calm).await;
    watch.everyone_gone().await;
    let before = descriptors(node.pid());
    let struck = start_batch(&client, AT_ONCE).await;
    strike(node, &struck, false, watch, random).await;
    completed(&client, &struck).await;
    watch.everyone_gone().await;
    wait_for("the descriptors of ended programs are closed", GONE, async || {
        let now = descriptors(node.pid());
        if now.len() <= before.len() { Ok(()) } else { Err(format!("{now:#?} after {before:#?}")) }
    })
    .await;
}

/// What would still be there of an execution.
async fn nothing_left(node: &Node, watch: &Watch) {
    let scratch = node.data_dir().join("scratch");
    let of = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>()
    };
    wait_for("scratch directories are gone", GONE, async || match of(&scratch) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    })
    .await;
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts can be read");
    let folder = node.folder().to_str().expect("a temporary folder has a plain name");
    assert!(!mounts.contains(folder), "mounts are left: {mounts}");
    watch.groups_gone(false).await;
}

/// What belongs to this run's programs.
struct Watch {
    mark: String,
    /// The node's own control groups, below which each program has one.
    groups: BTreeSet<PathBuf>,
}

impl Watch {
    /// Remembers where the control groups of a program are, if it has some.
    fn look_at(&mut self, pid: u32) {
        self.groups.extend(groups_of(pid).into_iter().filter_map(|group| Some(group.parent()?.to_owned())));
    }

    /// Waits until no process is left whose arguments bear the mark, wherever it hides.
    async fn everyone_gone(&self) {
        wait_for("every program is gone", GONE, async || {
            let all = fs::read_dir("/proc").expect("/proc can be read").flatten();
            let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
            let of_it = |pid: &u32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                memchr::memmem::find(&line, self.mark.as_bytes()).is_some()
            };
            let left: Vec<String> =
                pids.filter(of_it).map(|pid| format!("{pid} {}", processes::name(pid))).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }

    /// Waits until the programs' control groups are gone, after the node's end its own, too.
    async fn groups_gone(&self, own_too: bool) {
        wait_for("control groups are gone", GONE, async || {
            let below = |group: &PathBuf| {
                let entries = fs::read_dir(group).into_iter().flatten().flatten();
                entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
            };
            let own = self.groups.iter().filter(|group| own_too && group.exists()).cloned();
            let left: Vec<PathBuf> = self.groups.iter().flat_map(below).chain(own).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
}

/// The directories of a process's control groups, where they are a node's.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup").then(|| PathBuf::from(mount.split(' ').nth(4).unwrap_or_default()))
    });
    let points: Vec<PathBuf> = points.collect();
    let paths = own.lines().filter_map(|line| line.rsplit_once(":/").map(|(_, path)| path.to_owned()));
    let paths: Vec<String> = paths.filter(|path| path.contains("flexcore-") && path.contains('/')).collect();
    let all = points.iter().flat_map(|point| paths.iter().map(move |path| point.join(path)));
    all.filter(|group| group.is_dir()).collect()
}

/// Kills processes below the node at random while the batch runs, one of them when the node's own turn is next; gives how
/// many.
async fn strike(
    node: &Node,
    batch: &[String],
    node_is_next: bool,
    watch: &mut Watch,
    random: &mut Random,
) -> usize {
    let client = node.client();
    let most = if node_is_next { 1 } else { KILLS };
    let mut killed = 0;
    let deadline = Instant::now() + BATCH_DEADLINE;
    while killed < most && Instant::now() < deadline {
        // not waiting for anything: the moment is what is random
        tokio::time::sleep(random.moment(PAUSE)).await;
        let root = Pid::from_raw(i32::try_from(node.pid()).expect("a process id fits in its own type"));
        let tree = descendants(root);
        if let Some(last) = tree.last() {
            watch.look_at(last.pid.as_raw().unsigned_abs());
        }
        let Some(prey) = random.choice(&tree) else {
            if all_over(&client, batch).await {
                break;
            }
            continue;
        };
        if nix::sys::signal::kill(prey.pid, nix::sys::signal::Signal::SIGKILL).is_ok() {
            killed += 1;
        }
    }
    killed
}

async fn all_over(client: &Client, batch: &[String]) -> bool {
    for id in batch {
        if !is_over(&execution(client, id).await) {
            return false;
        }
    }
    true
}

/// Starts executions of `churn`; gives their ids.
async fn start_batch(client: &Client, count: usize) -> Vec<String> {
    let mut batch = Vec::new();
    for _ in 0..count {
        batch.push(start(client, "churn").await);
    }
    batch
}

async fn start(client: &Client, pipeline: &str) -> String {
    let reply = client.post(&format!("{API}/pipelines/{pipeline}/execute"), &json!({})).await.expect(202);
    reply.json["execution_id"].as_str().expect("an execution has an id").to_owned()
}

/// Waits until all of a batch have completed, whatever befell them.
async fn completed(client: &Client, batch: &[String]) {
    for id in batch {
        let end =
            wait_for("the execution ends", BATCH_DEADLINE, async || match execution(client, id).await {
                end if is_over(&end) => Ok(end),
                running => Err(format!("{running}")),
            })
            .await;
        assert_eq!(end["status"], "completed", "{end:#}");
    }
}

/// A plugin that runs a command, and a pipeline of it.
async fn define(client: &Client, name: &str, command: &[&str], at_once: usize, capabilities: Value) {
    let mut capabilities = capabilities;
    capabilities["subprocess"] = json!(true);
    let plugin = json!({
        "kind": "Plugin", "name": name, "version": "1.0.0", "type": "processor", "protocol": "command",
        "command": command, "capabilities": capabilities, "concurrency": at_once,
        "limits": {"memory": "32MiB", "scratch": "4MiB"},
    });
    client.post(&format!("{API}/plugins"), &plugin).await.expect(201);
    let retry = json!({"attempts": 10, "initial": "100ms", "max": "500ms"});
    let pipeline = json!({
        "kind": "Pipeline", "name": name, "concurrency": {"executions": at_once},
        "steps": [{"name": "only", "plugin": name, "retry": retry}],
    });
    client.post(&format!("{API}/pipelines"), &pipeline).await.expect(201);
}

/// What a node has open, but for the store's connections, which it opens as it needs them, up to a bound.
fn descriptors(pid: u32) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("a node's descriptors can be listed").flatten();
    let targets = open.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()));
    targets.filter(|target| !target.contains(".db")).collect()
}

#[tokio::test]
async fn a_hundred_plugins_at_once_complete_in_bounded_memory_while_the_node_answers() {
    let node = node().start().await;
    let client = node.client();
    let gate = node.folder().join("gate");
    fs::create_dir(&gate).expect("a folder can be made");
    let wait = format!("until [ -e {0}/open ]; do sleep 0.2; done", gate.display());
    define(&client, "crowd", &["/bin/sh", "-c", &wait], CROWD, json!({"read": [gate]})).await;
    let mut batch = Vec::new();
    for _ in 0..CROWD {
        batch.push(start(&client, "crowd").await);
    }
    wait_for("all of them run", BATCH_DEADLINE, async || {
        let running = client.get(&format!("{API}/executions?status=running&limit=200")).await.expect(200);
        let count = running.json["items"].as_array().map_or(0, Vec::len);
        let shells = programs(node.pid(), &wait);
        if count == CROWD && shells == CROWD {
            Ok(())
        } else {
            Err(format!("{count} executions, {shells} programs"))
        }
    })
    .await;
    let mut took = Vec::new();
    for n in 0..REQUESTS {
        let began = Instant::now();
        let path = if n % 2 == 0 {
            format!("{API}/executions/{}", batch[n % CROWD])
        } else {
            format!("{API}/status")
        };
        client.get(&path).await.expect(200);
        took.push(began.elapsed());
    }
    took.sort();
    let bytes = proportional_bytes(node.pid());
    eprintln!(
        "{CROWD} plugins and their node: {} MiB; {REQUESTS} requests, p50 {:?}, p95 {:?}",
        bytes >> 20,
        took[REQUESTS / 2],
        took[REQUESTS * 95 / 100]
    );
    assert!(bytes < CROWD_BYTES, "{bytes} bytes");
    fs::write(gate.join("open"), "").expect("the gate can be opened");
    completed(&client, &batch).await;
}

/// How many shells below the node run this script.
fn programs(node: u32, script: &str) -> usize {
    let root = Pid::from_raw(i32::try_from(node).expect("a process id fits in its own type"));
    let lines =
        descendants(root).into_iter().filter_map(|one| fs::read(format!("/proc/{}/cmdline", one.pid)).ok());
    lines
        .filter(|line| {
            line.starts_with(b"/bin/sh\0") && memchr::memmem::find(line, script.as_bytes()).is_some()
        })
        .count()
}

/// Memory of the node and everything below it; pages that several share are divided among them.
fn proportional_bytes(node: u32) -> u64 {
    let root = Pid::from_raw(i32::try_from(node).expect("a process id fits in its own type"));
    let all = descendants(root).into_iter().map(|one| one.pid).chain([root]);
    let kib = |pid: Pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("Pss:"))?
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    };
    all.filter_map(kib).sum::<u64>() * 1024
}
