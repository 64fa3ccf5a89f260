//! Every bound of the inside in one place, each with its reason. Bounds of the adapters stand with the adapters.

use std::time::Duration;

/// Longest name of a pipeline, plugin, step or node: a DNS label.
pub const MAX_NAME_LEN: usize = 63;
/// Longest duration a definition may name.
pub const MAX_DURATION: Duration = Duration::from_secs(366 * 86_400);
/// Most steps of a pipeline: the whole graph is validated and kept in one event.
pub const MAX_STEPS: usize = 500;
/// Most programs in one pipe.
pub const MAX_PIPE: usize = 16;
/// Largest encoded payload of one event; a bookmark is the largest thing a program can put there.
pub const MAX_EVENT_BYTES: usize = 4 << 20;
/// Most entries of one list of a manifest's capabilities: each becomes a mount, a rule or a listener.
pub const MAX_GRANTS: usize = 128;
/// Longest path of a capability, bytes: the kernel's own bound.
pub const MAX_PATH: usize = 4_096;
/// Most rules of an operator's policy: all of them are asked before each start.
pub const MAX_POLICY_RULES: usize = 1_000;
/// Most attempts a retry policy may name.
pub const MAX_ATTEMPTS: u32 = 100;
/// Most attempts that may end as `lost_node` before the step fails: those use up no attempt of the policy.
pub const MAX_LOST_ATTEMPTS: u32 = 10;
/// Longest name of a secret, which is also that of a file and of a variable.
pub const MAX_SECRET_NAME: usize = 128;
/// Fewest characters of a secret: shorter ones stand in every log by accident.
pub const MIN_SECRET_CHARS: usize = 4;
/// Largest value of a secret, bytes: room for a chain of certificates, and half of what a variable can hold.
pub const MAX_SECRET_BYTES: usize = 64 << 10;
/// Secrets that are read from the store in one go when all of them are.
pub const SECRETS_PAGE: usize = 100;
/// Most executions a pipeline keeps waiting beyond those it admits; the next is refused as overload.
pub const MAX_QUEUED_EXECUTIONS: usize = 1_000;

/// Most appends in one group commit.
pub const COMMIT_BATCH: usize = 2_000;
/// Group commits on their way at once: one at the store, the next one behind it on the wire.
pub const COMMITS_IN_FLIGHT: usize = 2;
/// Appends that must wait before they are sent beside a commit that is on its way.
pub const COMMIT_BESIDE: usize = 64;
/// Appends that may wait for the committer; the next caller waits for a place.
pub const COMMIT_QUEUE: usize = 8_192;
/// How long an append waits for its turn and for a store that is away, while it is certainly not stored: then its caller
/// is told, and may try again. Internal callers do.
pub const COMMIT_PATIENCE: Duration = Duration::from_secs(4);
/// For how long a batch is tried at least, also when what is in it has waited for long.
pub const COMMIT_TRY: Duration = Duration::from_secs(1);
/// How often a batch whose outcome is unknown is sent again before its callers are told so.
pub const COMMIT_RESENDS: u32 = 20;
/// The first pause before sending again; doubled up to [`COMMIT_RESEND_MAX`].
pub const COMMIT_RESEND_INITIAL: Duration = Duration::from_millis(50);
/// The longest pause before sending again.
pub const COMMIT_RESEND_MAX: Duration = Duration::from_secs(2);

/// Outside requests one aggregate keeps waiting; the next is refused as overload.
pub const MAILBOX: usize = 256;
/// How long an outside request waits for its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Events read from the store in one go while an aggregate recovers.
pub const RECOVERY_PAGE: usize = 1_000;
/// A stream with fewer events is folded as fast as a snapshot of it is read: none is taken or looked for.
pub const SNAPSHOT_MIN_EVENTS: usize = 20;
/// Events after which an aggregate's next snapshot is taken.
pub const SNAPSHOT_EVERY: usize = 100;
/// A recovery that takes longer is followed by a snapshot, however few events the last one is behind.
pub const SNAPSHOT_SLOW_RECOVERY: Duration = Duration::from_millis(50);
/// Largest encoded state that is kept; a larger one is folded from its stream.
pub const MAX_SNAPSHOT_BYTES: usize = 32 << 20;
/// Snapshots that may wait to be saved: each keeps a state in memory. Further ones are left out until their next turn.
pub const SNAPSHOTS_WAITING: usize = 1_000;
/// Snapshots that are saved at the same time: more would only take the store's time from appends and reads.
pub const SNAPSHOTS_SAVING: usize = 2;
/// Streams that are folded up to a moment of the past at the same time; each may read millions of events.
pub const REPLAYS: usize = 2;
/// How often an aggregate reloads and decides again after losing a race for its version.
pub const CONFLICT_RETRIES: u32 = 5;
/// The pause before an aggregate loads a state that it had to drop and that others follow.
pub const RELOAD_PAUSE: Duration = Duration::from_millis(500);
/// Aggregates of one kind in memory: about 7 KB each beside their state.
pub const MAX_RESIDENT: usize = 20_000;
/// An aggregate that nobody spoke to for this long leaves memory.
pub const PASSIVATE_AFTER: Duration = Duration::from_secs(120);
/// How often idle aggregates, and open executions that nobody runs, are looked for.
pub const PASSIVATE_SWEEP: Duration = Duration::from_secs(10);

/// Events of a follower's first page: few, for it is not yet known how large they are.
pub const FOLLOW_PAGE_FIRST: usize = 64;
/// Events of a follower's page at most.
pub const FOLLOW_PAGE: usize = 1_000;
/// Payload bytes of a follower's page, roughly: longer ones make the next page shorter.
pub const FOLLOW_PAGE_BYTES: usize = 4 << 20;
/// Between two reads of those who follow a log that grows all the time: their pages grow instead.
pub const FOLLOW_PACE: Duration = Duration::from_millis(20);
/// The pause before a follower reads again after the store was away; doubled up to [`FOLLOW_RETRY_MAX`].
pub const FOLLOW_RETRY: Duration = Duration::from_millis(100);
/// The longest pause before a follower reads again.
pub const FOLLOW_RETRY_MAX: Duration = Duration::from_secs(2);

/// How long a subscription's lease runs unless it is renewed: the wait after its node has died.
pub const LEASE: Duration = Duration::from_secs(6);
/// How often it is renewed.
pub const LEASE_RENEW: Duration = Duration::from_secs(2);
/// How long after the last renewal its owner goes on: shorter than [`LEASE`], so that two never work at once.
pub const LEASE_GUARD: Duration = Duration::from_secs(4);
/// How often a node asks for a lease that another has.
pub const LEASE_CLAIM: Duration = Duration::from_secs(1);
/// How often a checkpoint is saved while there is something to save.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Events handled until the checkpoint is saved at the latest: as many may come again after a crash.
pub const CHECKPOINT_EVENTS: usize = 1_000;
/// How long saving it may take.
pub const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(2);
/// Events of a subscription that are in hand together.
pub const HANDLE_BATCH: usize = 256;
/// Streams whose events are handled at the same time.
pub const HANDLE_LANES: usize = 32;
/// Failed attempts after which an event is parked.
pub const HANDLE_ATTEMPTS: u32 = 5;
/// The pause after an event's first failed attempt; doubled up to [`HANDLE_RETRY_MAX`].
pub const HANDLE_RETRY: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
pub const HANDLE_RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a subscription that is stopped goes on with what is stored by then.
pub const LAST_PAGES: Duration = Duration::from_secs(5);
/// Parked events handled again by one request.
pub const REPLAY_PAGE: usize = 100;
/// Requests to handle parked events again that may wait.
pub const REPLAY_REQUESTS: usize = 4;
/// How long a replay is waited for; it goes on all the same.
pub const REPLAY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a node counts as alive without a renewal of its lease.
pub const NODE_LEASE: Duration = Duration::from_secs(5);
/// How often a node renews it.
pub const NODE_RENEW: Duration = Duration::from_secs(1);
/// How long after the sending of its last renewal a node serves: shorter than [`NODE_LEASE`], so that two never do.
pub const NODE_GUARD: Duration = Duration::from_secs(4);
/// How long a node's own renewals must have gone well before it marks another one dead: after an outage of the store
/// all of them are late.
pub const NODE_UNBROKEN: Duration = Duration::from_secs(10);
/// How often a node looks at the members and owners though it heard of no change.
pub const VIEW_EVERY: Duration = Duration::from_secs(10);
/// How long a node that starts waits for a name whose last holder has ended without a word.
pub const NAME_PATIENCE: Duration = Duration::from_secs(7);
/// Shards that a node gives away at the same time.
pub const HANDOFFS: usize = 8;
/// How long the giving away of a shard may take before the node keeps it.
pub const HANDOFF_PATIENCE: Duration = Duration::from_secs(5);
/// How much more than its even share of the shards a node may get, as a percentage.
pub const PLACEMENT_SLACK: usize = 25;
/// Until when a shard that could not be given away is kept.
pub const HANDOFF_AGAIN: Duration = Duration::from_secs(60);
/// How long a node that ends waits for its shards to be given back.
pub const LEAVE_PATIENCE: Duration = Duration::from_secs(3);
/// How long a request waits for its shard to have an owner that answers.
pub const ROUTE_PATIENCE: Duration = Duration::from_secs(5);
/// How long another node may take for an answer.
pub const PEER_PATIENCE: Duration = Duration::from_secs(10);
/// Log lines that a node answers another at most: a line is cut at 16 KiB or before.
pub const MAX_PEER_LINES: usize = 256;
/// How often who follows an aggregate of another node asks for its state.
pub const REMOTE_POLL: Duration = Duration::from_millis(500);

/// Failures of one child within [`RESTART_WINDOW`] that quarantine it.
pub const RESTARTS: u32 = 5;
/// The window in which a child's failures are counted.
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// The first pause before a child is started again; doubled up to [`RESTART_BACKOFF_MAX`].
pub const RESTART_BACKOFF: Duration = Duration::from_millis(200);
/// The longest pause before a child is started again.
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A supervisor escalates only when at least this many children fail within [`ESCALATION_WINDOW`] …
pub const ESCALATION_CHILDREN: usize = 10;
/// … and they are more than this share of its children (one in …).
pub const ESCALATION_SHARE: usize = 5;
/// The window in which failing children are counted for escalation.
pub const ESCALATION_WINDOW: Duration = Duration::from_secs(30);

/// Signals, protocol errors and start failures within [`CIRCUIT_WINDOW`] that open a plugin's circuit.
pub const CIRCUIT_FAILURES: usize = 5;
/// The window in which a plugin's failures are counted.
pub const CIRCUIT_WINDOW: Duration = Duration::from_secs(60);
/// Lines of a crashed program's log that are kept with its plugin's quarantine.
pub const LOG_TAIL_LINES: usize = 20;
/// Characters of each of them.
pub const LOG_TAIL_CHARS: usize = 500;
/// Bookmarks stored at most once in this time, and always the last.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a worker that waits for a permit or a held bookmark waits before it asks again unprompted.
pub const WAIT_POLL: Duration = Duration::from_millis(500);
/// How long a program has to end by itself after it was asked to.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// How often the log is sealed while it grows: what an intruder could still rewrite unseen is at most this young.
pub const SEAL_INTERVAL: Duration = Duration::from_secs(1);
/// Leaf hashes read from the store in one go while the log is sealed.
pub const SEAL_PAGE: u64 = 8_192;
/// Most leaf hashes that are read again to compare what another node sealed; from there on the tiles are.
pub const WITNESS_LEAVES: u64 = 256;
/// Most events between two checkpoints: their tiles are stored in one transaction (8 MiB of hashes). What is beyond
/// follows at once.
pub const SEAL_EVENTS: u64 = 1 << 18;

/// Events of a verification's page at most.
pub const VERIFY_PAGE: usize = 1_000;
/// Payload bytes of a verification's page, roughly: longer ones make the next page shorter.
pub const VERIFY_PAGE_BYTES: usize = 4 << 20;
/// Checkpoints that a verification reads in one go.
pub const VERIFY_CHECKPOINTS: usize = 1_000;
/// Records of streams that a verification reads in one go.
pub const VERIFY_STREAMS: usize = 1_000;
/// Events that an import stores in one transaction, and the rest of their commit.
pub const IMPORT_PAGE: usize = 1_000;
/// How often a verification reads again while the store is away.
pub const VERIFY_RETRIES: u32 = 6;
/// The first pause before it reads again; doubled after each.
pub const VERIFY_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Events that a projector folds and stores in one transaction.
pub const PROJECTION_PAGE: usize = 1_000;
/// How often an idle projector asks its store what others have done to it.
pub const PROJECTION_POLL: Duration = Duration::from_secs(5);
/// How often a node that does not project looks how far the one that does has come.
pub const PROJECTION_FOLLOW: Duration = Duration::from_secs(1);
/// The same, while somebody waits for a position.
pub const PROJECTION_AWAITED: Duration = Duration::from_millis(20);
/// The pause of a projector whose store is away.
pub const PROJECTION_PAUSE: Duration = Duration::from_millis(500);
/// How long a projector builds beside the live rows before it looks after those again.
pub const REBUILD_SLICE: Duration = Duration::from_millis(200);
/// Rows of a replaced generation that are removed in one transaction.
pub const SWEEP_ROWS: usize = 5_000;

/// Kinds of requests without events of their own (by address, status, who asked and what) that are told apart within
/// [`AUDIT_EVERY`].
pub const AUDIT_KINDS: usize = 256;
/// For how long requests of one kind are gathered into one event.
pub const AUDIT_EVERY: Duration = Duration::from_secs(1);

/// Bytes of a question to another node, and of its answer: more than the largest event and the largest page of a log.
pub const MAX_PEER_MESSAGE: usize = 8 << 20;

/// Labels of a node, and of what a plugin asks of one.
pub const MAX_LABELS: usize = 16;
/// Bytes of a label, and of its value: as long as Kubernetes' values.
pub const MAX_LABEL_LEN: usize = 63;
/// How often a node tells another how far a program has come that it runs for it.
pub const REMOTE_PROGRESS: Duration = Duration::from_millis(250);
/// How long another node may take to say whether it has room.
pub const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// Nodes that are asked for room at once.
pub const ROOM_ASKS: usize = 16;
/// The pause before a node is asked again whether what it ran is gone.
pub const GONE_AGAIN: Duration = Duration::from_millis(200);
