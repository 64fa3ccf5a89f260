//! The session of the flexcore protocol: hello, execute, then whatever the plugin says until its result or error.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use flexcore_actors::domain::outcome::{Cause, CauseKind, Denial, Denied, StreamCounts, add_denial};
use flexcore_actors::ports::plugin_host::{Asked, AttemptEnd, CallRefusal, HostEvent, Progress};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio_util::sync::CancellationToken;

use super::attend::{Manners, attend};
use super::frames::{FrameReader, PROTOCOL, Said, Says, encode};
use super::host::{Attempt, Host};
use super::launch::{Ended, Launched, Status};
use super::limits::{CALL_CHARS, CALL_INTERVAL, EXCERPT_CHARS, HELLO_TIMEOUT, LOG_READ, MAX_CALL_BYTES};
use super::log::Stream;
use super::output::{Line, Output};
use super::program::{Prepared, config_of, start_failed};
use super::relay::{Tally, pipe};
use super::verdict::{Fate, Reason, protocol_error};
use super::{report, secrets};

/// Characters of a plugin's own error message that are recorded.
const ERROR_CHARS: usize = 10 * EXCERPT_CHARS;

/// Runs one program of the flexcore protocol.
pub async fn run(host: &Host, attempt: &Attempt<'_>, program: Prepared) -> AttemptEnd {
    let gone = CancellationToken::new();
    let started = match start(host, &program, &gone).await {
        Ok(started) => started,
        Err(why) => {
            let broken = Some((start_failed(&program.plugin, why), Instant::now()));
            let fate = Fate { plugin: program.plugin.clone(), ended: None, broken, ending: None };
            return report::of_one(fate, None, BTreeMap::new(), Value::Null);
        }
    };
    let Started { launched, input, output, errors } = started;
    let pid = launched.pid;
    // nobody listens when the attempt is being given up
    let _ = attempt.events.send(HostEvent::Started { program: 0, pid }).await;
    let (done, broken) = (CancellationToken::new(), CancellationToken::new());
    let grace = attempt.spec.grace;
    let manners =
        Manners { stop: &attempt.stop, done: &done, broken: &broken, grace, before_signal: grace / 2 };
    let mut talk = Talk {
        attempt,
        program: &program,
        input: Some(input),
        output,
        frames: FrameReader::default(),
        tally: Tally::default(),
        progress: attempt.progress.clone(),
        cancelled: false,
        next_call: tokio::time::Instant::now(),
        denials: Vec::new(),
    };
    let talking = async {
        let end = talk.converse().await;
        talk.input = None;
        if matches!(end, TalkEnd::Broken(_)) {
            broken.cancel()
        } else {
            done.cancel()
        }
        talk.drain().await;
        (end, Instant::now())
    };
    let (mut fate, (end, at), ()) = tokio::join!(
        attend(&program, launched, &gone, manners),
        talking,
        errors.log_to(program.log.clone(), Stream::Stderr),
    );
    if let Some((ended, _)) = &mut fate.ended {
        ended.denials.append(&mut talk.denials);
    }
    report::remark_on_end(&fate, &program.log);
    program.log.close();
    let streams = talk.tally.streams().iter();
    let streams = streams
        .map(|s| (s.name.clone(), StreamCounts { read: s.checked, written: 0, rejected: 0 }))
        .collect();
    let (fate, result) = conclude(&program, fate, end, at);
    report::of_one(fate, Some(pid), streams, result)
}

/// How the conversation ended.
#[derive(Debug, PartialEq)]
enum TalkEnd {
    /// The plugin gave a result.
    Result(Value),
    /// The plugin reported an error.
    Error(String),
    /// The plugin broke the protocol.
    Broken(String),
    /// The output ended without a last word, or within a frame.
    Silent(String),
}

fn silent() -> TalkEnd {
    TalkEnd::Silent("it ended without a result".to_owned())
}

struct Started {
    launched: Launched,
    input: Sender,
    output: Output,
    errors: Output,
}

async fn start(host: &Host, program: &Prepared, gone: &CancellationToken) -> Result<Started, String> {
    let pipes = |e: io::Error| format!("its pipes could not be made: {e}");
    let (stdin, input): (OwnedFd, OwnedFd) = pipe::small().map_err(pipes)?;
    let (output, stdout) = pipe::large().map_err(pipes)?;
    let (errors, stderr) = pipe::small().map_err(pipes)?;
    let input = Sender::from_owned_fd(input).map_err(pipes)?;
    let output = Output::new(output, gone.clone()).map_err(pipes)?;
    let errors = Output::new(errors, gone.clone()).map_err(pipes)?;
    let launched = host.warm.launch(program, Some(stdin), stdout, stderr).await.map_err(|e| e.to_string())?;
    Ok(Started { launched, input, output, errors })
}

struct Talk<'a> {
    attempt: &'a Attempt<'a>,
    program: &'a Prepared,
    /// Closed after the last word, which tells the plugin that nothing more comes.
    input: Option<Sender>,
    output: Output,
    frames: FrameReader,
    tally: Tally,
    progress: Arc<Progress>,
    cancelled: bool,
    /// When the next call may be carried out.
    next_call: tokio::time::Instant,
    denials: Vec<Denial>,
}

impl Talk<'_> {
    async fn converse(&mut self) -> TalkEnd {
        match tokio::time::timeout(HELLO_TIMEOUT, self.next()).await {
            Err(_) => {
                return TalkEnd::Broken(format!("it did not say hello within {} s", HELLO_TIMEOUT.as_secs()));
            }
            Ok(Ok(Some(Said::Hello { protocol: PROTOCOL }))) => {}
            Ok(Ok(Some(Said::Hello { protocol }))) => {
                return TalkEnd::Broken(format!(
                    "it speaks version {protocol} of the protocol, not {PROTOCOL}"
                ));
            }
            Ok(Ok(Some(_))) => return TalkEnd::Broken("its first message is not hello".to_owned()),
            Ok(Ok(None)) => return silent(),
            Ok(Err(end)) => return end,
        }
        let spec = &self.attempt.spec.programs[0];
        let (config, none) = (config_of(spec), json!({}));
        let execute = Says::Execute {
            execution_id: self.attempt.spec.execution.to_string(),
            operation: spec.operation.as_deref().unwrap_or_default(),
            config: &config,
            parameters: if spec.parameters.is_null() { &none } else { &spec.parameters },
        };
        if let Err(end) = self.say(&execute).await {
            return end;
        }
        loop {
            match self.next().await {
                Ok(Some(said)) => {
                    if let Some(end) = self.hear(said).await {
                        return end;
                    }
                }
                Ok(None) => return silent(),
                Err(end) => return end,
            }
        }
    }

    async fn hear(&mut self, said: Said) -> Option<TalkEnd> {
        match said {
            Said::Hello { .. } => return Some(TalkEnd::Broken("it said hello twice".to_owned())),
            Said::Record { stream } => {
                self.tally.record(&stream);
                self.progress.records.fetch_add(1, Ordering::Relaxed);
            }
            Said::Progress { records, message } => {
                if let Some(records) = records {
                    self.progress.records.fetch_max(records, Ordering::Relaxed);
                }
                if let Some(message) = message {
                    self.log(message);
                }
            }
            Said::Log { level, message } => {
                self.log(level.map_or_else(|| message.clone(), |level| format!("{level}: {message}")));
            }
            Said::Call { id, api, arguments } => return self.call(id, &api, arguments).await.err(),
            Said::Result { result } => return Some(self.last_word(TalkEnd::Result(result)).await),
            Said::Error { message } => return Some(self.last_word(TalkEnd::Error(message)).await),
        }
        None
    }

    /// Carries out a call and answers it, before anything else is heard: what a program asks for in a hurry waits in
    /// its own pipe.
    async fn call(&mut self, id: u64, api: &str, arguments: Option<Value>) -> Result<(), TalkEnd> {
        let answer = match arguments {
            Some(arguments) => self.answer_of(id, api, arguments).await?,
            None => Err(CallRefusal::Failed(format!("a call is at most {} MiB", MAX_CALL_BYTES >> 20))),
        };
        let refusal = match answer {
            Ok(result) => match self.say(&Says::Result { id, result: &result }).await {
                Err(TalkEnd::Broken(_)) => {
                    CallRefusal::Failed("its answer is larger than a frame".to_owned())
                }
                said => return said,
            },
            Err(refusal) => refusal,
        };
        let api: String = api.chars().take(CALL_CHARS).collect();
        let message = format!("{api}: {refusal}");
        if refusal == CallRefusal::NotGranted {
            add_denial(&mut self.denials, Denied::Call(api), "not granted", 1);
        }
        self.say(&Says::Error { id, message: &message }).await
    }

    /// What the runtime answers; passes on a cancellation while it waits for that.
    async fn answer_of(
        &mut self,
        id: u64,
        api: &str,
        mut arguments: Value,
    ) -> Result<Result<Value, CallRefusal>, TalkEnd> {
        secrets::scrub_value(&mut arguments, self.attempt.hides);
        let (calls, earliest) = (&self.attempt.spec.calls, self.next_call);
        let asked = Asked { program: 0, id, api: api.to_owned(), arguments };
        let answer = async move {
            tokio::time::sleep_until(earliest).await;
            calls.answer(asked).await
        };
        tokio::pin!(answer);
        let stop = self.attempt.stop.clone();
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                () = stop.cancelled(), if !self.cancelled => {
                    self.cancelled = true;
                    self.say(&Says::Cancel {}).await?;
                }
            }
        };
        self.next_call = tokio::time::Instant::now() + CALL_INTERVAL;
        Ok(answer)
    }

    /// After its last word a plugin may only end.
    async fn last_word(&mut self, end: TalkEnd) -> TalkEnd {
        if let TalkEnd::Result(result) = &end
            && !result.is_null()
            && !result.is_object()
        {
            return TalkEnd::Broken("its result is not an object".to_owned());
        }
        self.input = None;
        let after = tokio::time::timeout(self.attempt.spec.grace, self.next()).await;
        match after {
            Ok(Ok(None)) => end,
            Ok(Ok(Some(Said::Result { .. } | Said::Error { .. }))) => {
                TalkEnd::Broken("it gave a second result".to_owned())
            }
            Ok(Ok(Some(_)) | Err(_)) => TalkEnd::Broken("it wrote on after its result".to_owned()),
            // it keeps its output open; it is asked to end
            Err(_) => end,
        }
    }

    /// The next message; passes on a cancellation while it waits.
    async fn next(&mut self) -> Result<Option<Said>, TalkEnd> {
        let mut buffer = vec![0; LOG_READ];
        loop {
            if let Some(said) = self.frames.next_message().map_err(|e| TalkEnd::Broken(e.to_string()))? {
                return Ok(Some(said));
            }
            let stop = self.attempt.stop.clone();
            let count = tokio::select! {
                count = self.output.read(&mut buffer) => {
                    count.map_err(|e| TalkEnd::Broken(format!("its output could not be read: {e}")))?
                }
                () = stop.cancelled(), if !self.cancelled => {
                    self.cancelled = true;
                    self.say(&Says::Cancel {}).await?;
                    continue;
                }
            };
            if count == 0 {
                return self.frames.finish().map(|()| None).map_err(|e| TalkEnd::Silent(e.to_string()));
            }
            self.progress.bytes.fetch_add(count as u64, Ordering::Relaxed);
            self.frames.push(&buffer[..count]);
        }
    }

    /// Sends a message. One that no longer listens is no error here: what it says or how it ends tells why.
    async fn say(&mut self, message: &Says<'_>) -> Result<(), TalkEnd> {
        let unsayable = |e| TalkEnd::Broken(format!("what it is to do cannot be sent: {e}"));
        let frame = encode(message).map_err(unsayable)?;
        if let Some(input) = &mut self.input
            && input.write_all(&frame).await.is_err()
        {
            self.input = None;
        }
        Ok(())
    }

    /// Reads on so that the plugin does not hang on a full pipe while it ends.
    async fn drain(&mut self) {
        let mut buffer = vec![0; LOG_READ];
        while self.output.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    }

    fn log(&self, text: String) {
        self.program.log.lines(Stream::Stdout, &[Line { bytes: text.into_bytes(), cut: false }]);
    }
}

/// What the conversation and the end of the program mean together.
fn conclude(program: &Prepared, mut fate: Fate, end: TalkEnd, at: Instant) -> (Fate, Value) {
    let plugin = &program.plugin;
    let stopped_before = matches!(fate.ending, Some((Reason::Stopped, since)) if since <= at);
    let helped = matches!(fate.ending, Some((Reason::Other(_), _)));
    let status = fate.ended.as_ref().map(|(ended, _)| ended.status);
    let crashed = !helped && status != Some(Status::Exit(0));
    let cause = match end {
        TalkEnd::Result(result) => {
            if helped && fate.broken.is_none() {
                // it did what it had to do and was only helped to end
                fate.ending = None;
                fate.ended = fate.ended.map(|(ended, at)| (Ended { status: Status::Exit(0), ..ended }, at));
            }
            return (fate, result);
        }
        TalkEnd::Broken(why) => Some(protocol_error(plugin, &why, None)),
        // how it crashed says more than that it did not finish its sentence
        TalkEnd::Silent(why) => (!crashed).then(|| protocol_error(plugin, &why, None)),
        TalkEnd::Error(message) => {
            let message: String = program.redactor.redact(&message).chars().take(ERROR_CHARS).collect();
            let exit_code = match status {
                Some(Status::Exit(code)) => Some(code),
                _ => None,
            };
            let detail = json!({"plugin": plugin, "exit_code": exit_code, "error": message});
            Some(
                Cause::new(CauseKind::Exit, format!("{plugin} reported an error: {message}"))
                    .with_detail(detail),
            )
        }
    };
    if let Some(cause) = cause.filter(|_| !stopped_before) {
        fate.broken.get_or_insert((cause, at));
    }
    (fate, Value::Null)
}
