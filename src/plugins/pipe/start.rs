//! Starts the programs of a pipe and joins them by relays.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use flexcore_actors::domain::outcome::Cause;
use flexcore_actors::domain::plugin::PluginType;
use flexcore_actors::ports::plugin_host::HostEvent;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{Happening, Pipe, Relay, Running};
use crate::plugins::host::Host;
use crate::plugins::launch::Launched;
use crate::plugins::log::Stream;
use crate::plugins::output::Output;
use crate::plugins::program::start_failed;
use crate::plugins::relay::{self, Feeds, Link, Sink, pipe};
use crate::plugins::states;

/// Our ends of the pipes of a program.
struct Ends {
    input: Option<OwnedFd>,
    output: OwnedFd,
    gone: CancellationToken,
}

impl Pipe<'_> {
    /// Starts the last program first, so that a tap never touches its source when its target is missing.
    pub(super) async fn start(&mut self, host: &Host) -> Result<(), (usize, Cause)> {
        let mut ends = Vec::with_capacity(self.programs.len());
        for n in (0..self.programs.len()).rev() {
            if self.attempt.stop.is_cancelled() {
                return Ok(());
            }
            ends.push(self.start_program(host, n).await.map_err(|cause| (n, cause))?);
        }
        ends.reverse();
        self.connect(ends)
    }

    async fn start_program(&mut self, host: &Host, n: usize) -> Result<Ends, Cause> {
        let program = &self.programs[n];
        let failed =
            |e: io::Error| start_failed(&program.plugin, format!("its pipes could not be made: {e}"));
        let input = if n > 0 { Some(pipe::large().map_err(failed)?) } else { None };
        let (stdin, input) = input.map_or((None, None), |(read, write)| (Some(read), Some(write)));
        let (output, stdout) = pipe::large().map_err(failed)?;
        let (errors, stderr) = pipe::small().map_err(failed)?;
        let gone = CancellationToken::new();
        let errors = Output::new(errors, gone.clone()).map_err(failed)?;
        let launched = host.warm.launch(program, stdin, stdout, stderr).await;
        let Launched { pid, control, ended } = launched.map_err(|e| start_failed(&program.plugin, e))?;
        self.readers.spawn(errors.log_to(program.log.clone(), Stream::Stderr));
        let deadline = program.limits.wall_time.map(|time| Instant::now() + time);
        self.happenings.push(async move { Happening::Ended(n, ended.await) }.boxed());
        self.running[n] = Some(Running { control, deadline, gone: gone.clone() });
        self.pids[n] = Some(pid);
        // nobody listens when the attempt is being given up
        let _ = self.attempt.events.send(HostEvent::Started { program: n, pid }).await;
        Ok(Ends { input, output, gone })
    }

    /// Joins the programs by relays and reads what the last one prints.
    fn connect(&mut self, ends: Vec<Ends>) -> Result<(), (usize, Cause)> {
        let last = ends.len() - 1;
        let mut inputs: Vec<Option<OwnedFd>> = Vec::with_capacity(ends.len());
        let mut outputs = Vec::with_capacity(ends.len());
        for Ends { input, output, gone } in ends {
            inputs.push(input);
            outputs.push((output, gone));
        }
        for (n, (upstream, gone)) in outputs.into_iter().enumerate() {
            let failed = |e: io::Error| (n, start_failed(&self.programs[n].plugin, e));
            let sink = match inputs.get_mut(n + 1).and_then(Option::take) {
                Some(input) => Sink::Program(input),
                None if speaks_singer(self.programs[last].kind) => Sink::States(self.attempt.events.clone()),
                None => {
                    let output = Output::new(upstream, gone).map_err(failed)?;
                    let reading =
                        states::read(output, self.programs[n].log.clone(), self.attempt.events.clone());
                    self.happenings.push(reading.map(Happening::Output).boxed());
                    return Ok(());
                }
            };
            let feeds = Feeds { upstream: n == 0, downstream: n == last.saturating_sub(1) };
            let line_limit = usize::try_from(self.programs[n].limits.line.0).unwrap_or(usize::MAX);
            let progress = self.attempt.progress.clone();
            let control = relay::Control::new().map_err(failed)?;
            let link = Link { upstream, sink, line_limit, progress, feeds };
            let end = relay::spawn(link, control.clone()).map_err(failed)?;
            self.relays[n] = Some(Relay(control));
            self.happenings.push(async move { Happening::Link(n, end.await.ok()) }.boxed());
        }
        Ok(())
    }
}

/// Whether a program's output is Singer messages, rather than a target's bookmarks and remarks.
const fn speaks_singer(kind: PluginType) -> bool {
    matches!(kind, PluginType::Extractor | PluginType::Mapper)
}
