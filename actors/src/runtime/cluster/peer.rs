//! What nodes ask each other: to carry out a command on an aggregate that the other owns, for its state, and for what runs
//! there and what it said, and to look at a plugin; conversations are about programs that the other is to run ([`super::remote`]). MessagePack
//! with named fields, so that nodes of two versions understand each other as far as they know the same names. Whoever is
//! asked serves only what it owns and never asks a third: who asks looks where the shard has gone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Cluster;
use super::hosting::run_for_another;
use crate::domain::aggregate::Aggregate;
use crate::domain::codec::{from_bytes, to_bytes};
use crate::domain::ids::{Category, CorrelationId, ExecutionId, Name, StreamId};
use crate::domain::pipeline::PipelineCommand;
use crate::domain::plugin::{Manifest, PluginCommand};
use crate::limits::{MAX_PEER_LINES, MAX_PEER_MESSAGE, PEER_PATIENCE, ROOM_PATIENCE};
use crate::ports::cluster::{Member, PeerError};
use crate::ports::log_store::LogLine;
use crate::ports::plugin_host::Examination;
use crate::ports::{BoxFuture, PeerService};
use crate::runtime::aggregate::{Directory, Submission, SubmitError, Submitted};
use crate::runtime::live::Seen;
use crate::runtime::runner;
use crate::runtime::services::Services;
use crate::runtime::supervisor::SupervisorHandle;

/// What a node asks another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Question {
    /// Carry out a command.
    Submit {
        stream: StreamId,
        /// A [`Submission`] of the stream's kind.
        submission: Bytes,
    },
    /// The state of an aggregate, as of every acknowledged command.
    State { stream: StreamId },
    /// What runs of an execution on the node that is asked.
    Live { execution: ExecutionId },
    /// Log lines of an execution that the node that is asked has.
    Logs { execution: ExecutionId, after: u64, limit: usize },
    /// The last log lines of a plugin's programs in an execution.
    Tail { execution: ExecutionId, plugin: Name, last: usize },
    /// The memory that programs there can still be promised.
    Room,
    /// Whether nothing of an attempt runs there any more, nor will.
    Gone { execution: ExecutionId, step: Name, attempt: u32 },
    /// Whether a plugin could run there.
    Examine { manifest: Box<Manifest> },
}

/// What it is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Reply {
    /// The command was carried out.
    Submitted { submitted: Submitted },
    /// The state.
    State { state: Bytes },
    /// What runs of the execution.
    Live { seen: Vec<Seen> },
    /// Lines, and the number to go on from.
    Logs { lines: Vec<LogLine>, next: u64 },
    /// Bytes of memory.
    Room { bytes: u64 },
    /// Whether it is gone.
    Gone { gone: bool },
    /// What was found of the plugin.
    Examined { examination: Examination },
    /// It was not.
    Refused { error: SubmitError },
    /// The aggregate is not served here now; nothing was done.
    Moved,
    /// The question is not understood here: the asker is of another version.
    Unknown,
}

/// What became of a question.
pub(in crate::runtime) enum Asked<T> {
    /// It was answered.
    Answered(Result<T, SubmitError>),
    /// Nothing was done: the other does not own the shard, or was not reached.
    Moved,
    /// Perhaps something was done: the answer was lost.
    Lost,
}

impl Cluster {
    /// Has another node carry out a command.
    pub(in crate::runtime) async fn submit_to<C: Serialize>(
        &self,
        to: &Member,
        stream: &StreamId,
        submission: &Submission<C>,
    ) -> Asked<Submitted> {
        let question = Question::Submit { stream: stream.clone(), submission: to_bytes(submission) };
        match self.ask(to, &question).await {
            Asked::Answered(Ok(Reply::Submitted { submitted })) => Asked::Answered(Ok(submitted)),
            other => other.without_result(to),
        }
    }

    /// Asks another node for the state of an aggregate.
    pub(in crate::runtime) async fn read_from<A: Aggregate>(
        &self,
        to: &Member,
        stream: &StreamId,
    ) -> Asked<A> {
        match self.ask(to, &Question::State { stream: stream.clone() }).await {
            Asked::Answered(Ok(Reply::State { state })) => {
                Asked::Answered(from_bytes(&state).map_err(|_| another_version(to)))
            }
            other => other.without_result(to),
        }
    }

    /// What runs of an execution on another node; nothing when that does not say so.
    pub(in crate::runtime) async fn live_at(&self, to: &Member, execution: ExecutionId) -> Vec<Seen> {
        match self.ask(to, &Question::Live { execution }).await {
            Asked::Answered(Ok(Reply::Live { seen })) => seen,
            _ => Vec::new(),
        }
    }

    /// Log lines that another node has.
    pub(in crate::runtime) async fn logs_at(
        &self,
        to: &Member,
        execution: ExecutionId,
        after: u64,
        limit: usize,
    ) -> Asked<(Vec<LogLine>, u64)> {
        match self.ask(to, &Question::Logs { execution, after, limit }).await {
            Asked::Answered(Ok(Reply::Logs { lines, next })) => Asked::Answered(Ok((lines, next))),
            other => other.without_result(to),
        }
    }

    /// The last log lines of a plugin that another node has; none when it does not say.
    pub(in crate::runtime) async fn tail_at(
        &self,
        to: &Member,
        execution: ExecutionId,
        plugin: &Name,
        last: usize,
    ) -> Vec<LogLine> {
        match self.ask(to, &Question::Tail { execution, plugin: plugin.clone(), last }).await {
            Asked::Answered(Ok(Reply::Logs { lines, .. })) => lines,
            _ => Vec::new(),
        }
    }

    /// The memory that another node can still promise to programs, bytes; `None` when it does not say so in time.
    pub(super) async fn room_at(&self, to: &Member) -> Option<u64> {
        match self.ask_within(to, &Question::Room, ROOM_PATIENCE).await {
            Asked::Answered(Ok(Reply::Room { bytes })) => Some(bytes),
            _ => None,
        }
    }

    /// Whether another node says that nothing of an attempt runs there any more, nor will.
    pub(super) async fn is_gone(
        &self,
        at: &Member,
        execution: ExecutionId,
        step: &Name,
        attempt: u32,
    ) -> bool {
        let question = Question::Gone { execution, step: step.clone(), attempt };
        let answer = self.ask_within(at, &question, ROOM_PATIENCE).await;
        matches!(answer, Asked::Answered(Ok(Reply::Gone { gone: true })))
    }

    /// What another node finds of a plugin; `None` when it does not say.
    pub(in crate::runtime) async fn examine_at(
        &self,
        to: &Member,
        manifest: &Manifest,
    ) -> Option<Examination> {
        match self.ask(to, &Question::Examine { manifest: Box::new(manifest.clone()) }).await {
            Asked::Answered(Ok(Reply::Examined { examination })) => Some(examination),
            _ => None,
        }
    }

    async fn ask(&self, to: &Member, question: &Question) -> Asked<Reply> {
        self.ask_within(to, question, PEER_PATIENCE).await
    }

    async fn ask_within(&self, to: &Member, question: &Question, patience: Duration) -> Asked<Reply> {
        let question = to_bytes(question);
        if question.len() > MAX_PEER_MESSAGE {
            let large =
                format!("the request is larger than the {MAX_PEER_MESSAGE} bytes that nodes exchange");
            return Asked::Answered(Err(SubmitError::Unavailable(large)));
        }
        match self.peers.ask(to, question, patience).await {
            Ok(reply) => match from_bytes(&reply) {
                Ok(Reply::Moved) => Asked::Moved,
                Ok(reply) => Asked::Answered(Ok(reply)),
                Err(_) => Asked::Answered(Err(another_version(to))),
            },
            Err(error @ PeerError::Unreachable(_)) => {
                tracing::debug!(%error, "a request goes elsewhere or waits");
                Asked::Moved
            }
            Err(error @ PeerError::Lost(_)) => {
                tracing::warn!(%error, "the answer to a request was lost");
                Asked::Lost
            }
        }
    }
}

impl Asked<Reply> {
    /// Anything but the result that was asked for.
    fn without_result<T>(self, to: &Member) -> Asked<T> {
        match self {
            Self::Answered(Ok(Reply::Refused { error }) | Err(error)) => Asked::Answered(Err(error)),
            Self::Answered(Ok(_)) => Asked::Answered(Err(another_version(to))),
            Self::Moved => Asked::Moved,
            Self::Lost => Asked::Lost,
        }
    }
}

fn another_version(node: &Member) -> SubmitError {
    SubmitError::Unavailable(format!("node {} is of another version, and its answer", node.name))
}

/// Answers what other nodes ask.
#[derive(Clone)]
pub(in crate::runtime) struct PeerAnswers {
    pub(in crate::runtime) services: Arc<Services>,
    pub(in crate::runtime) runners: SupervisorHandle,
}

impl PeerService for PeerAnswers {
    fn answer(&self, question: Bytes) -> BoxFuture<'static, Bytes> {
        let own = self.clone();
        Box::pin(async move {
            let reply = match from_bytes(&question) {
                Ok(question) => own.reply(question).await,
                Err(_) => Reply::Unknown,
            };
            let bytes = to_bytes(&reply);
            if bytes.len() <= MAX_PEER_MESSAGE {
                return bytes;
            }
            let large = format!("the answer is larger than the {MAX_PEER_MESSAGE} bytes that nodes exchange");
            to_bytes(&Reply::Refused { error: SubmitError::Unavailable(large) })
        })
    }

    fn converse(
        &self,
        opening: Bytes,
        heard: mpsc::Receiver<Bytes>,
        says: mpsc::Sender<Bytes>,
    ) -> BoxFuture<'static, ()> {
        let services = Arc::clone(&self.services);
        Box::pin(async move {
            match from_bytes(&opening) {
                Ok(opening) => run_for_another(services, opening, heard, says).await,
                Err(error) => {
                    tracing::warn!(%error, "another node wants to talk about what is not known here")
                }
            }
        })
    }
}

impl PeerAnswers {
    async fn reply(&self, question: Question) -> Reply {
        let services = &self.services;
        match question {
            Question::Submit { stream, submission } => match stream.category() {
                Category::Pipeline => {
                    let begins = |command: &PipelineCommand| match command {
                        PipelineCommand::Start { execution, .. } => Some(*execution),
                        _ => None,
                    };
                    self.submit(&services.pipelines, &stream, &submission, begins).await
                }
                Category::Plugin => {
                    let begins = |command: &PluginCommand| match command {
                        PluginCommand::Execute { execution, .. } => Some(*execution),
                        _ => None,
                    };
                    self.submit(&services.plugins, &stream, &submission, begins).await
                }
                Category::Execution => {
                    self.submit(&services.executions, &stream, &submission, |_| None).await
                }
                Category::External => self.submit(&services.externals, &stream, &submission, |_| None).await,
                Category::Audit => Reply::Unknown,
            },
            Question::State { stream } => match stream.category() {
                Category::Pipeline => state(&services.pipelines, &stream).await,
                Category::Plugin => state(&services.plugins, &stream).await,
                Category::Execution => state(&services.executions, &stream).await,
                Category::External => state(&services.externals, &stream).await,
                Category::Audit => Reply::Unknown,
            },
            Question::Room => Reply::Room { bytes: services.room() },
            Question::Gone { execution, step, attempt } => {
                Reply::Gone { gone: services.hosted.gone(execution, &step, attempt) }
            }
            Question::Examine { manifest } => {
                Reply::Examined { examination: services.host.examine(&manifest).await }
            }
            Question::Live { execution } => Reply::Live { seen: services.live.seen(execution) },
            Question::Logs { execution, after, limit } => {
                logs_of(execution, services.logs.read(execution, after, limit.min(MAX_PEER_LINES)).await)
            }
            Question::Tail { execution, plugin, last } => {
                let lines = services.logs.tail(execution, &plugin, last.min(MAX_PEER_LINES)).await;
                logs_of(execution, lines.map(|lines| (lines, 0)))
            }
        }
    }

    async fn submit<A: Aggregate>(
        &self,
        directory: &Directory<A>,
        stream: &StreamId,
        submission: &[u8],
        begins: impl Fn(&A::Command) -> Option<ExecutionId>,
    ) -> Reply {
        let Ok(submission) = from_bytes::<Submission<A::Command>>(submission) else { return Reply::Unknown };
        let (begun, correlation_id) = (begins(&submission.command), submission.origin.correlation_id);
        match directory.submit_once(stream, submission).await {
            Ok(submitted) => {
                // a repeated command names an older execution, which has its runner
                if let Some(id) = begun.filter(|id| submitted.answer.execution_id == Some(*id)) {
                    self.run(id, correlation_id).await;
                }
                Reply::Submitted { submitted }
            }
            Err(SubmitError::Fenced) => Reply::Moved,
            Err(error) => Reply::Refused { error },
        }
    }

    async fn run(&self, execution: ExecutionId, correlation_id: CorrelationId) {
        if self.services.owns(&StreamId::execution(execution)) {
            runner::start(Arc::clone(&self.services), &self.runners, execution, correlation_id).await;
        }
    }
}

fn logs_of(execution: ExecutionId, read: io::Result<(Vec<LogLine>, u64)>) -> Reply {
    match read {
        Ok((lines, next)) => Reply::Logs { lines, next },
        Err(error) => {
            tracing::error!(%execution, %error, "log cannot be read");
            let unread = format!("the log of execution {execution}");
            Reply::Refused { error: SubmitError::Unavailable(unread) }
        }
    }
}

async fn state<A: Aggregate>(directory: &Directory<A>, stream: &StreamId) -> Reply {
    match directory.read_once(stream).await {
        Ok(state) => Reply::State { state: to_bytes(&*state) },
        Err(SubmitError::Fenced) => Reply::Moved,
        Err(error) => Reply::Refused { error },
    }
}
