//! Attends one program that stands alone: hears of its end, and brings it about when it is out of time, not wanted any
//! more, or broken.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::launch::{Ended, Launched};
use super::pipe::{out_of_time, until};
use super::program::Prepared;
use super::verdict::{Fate, Reason};

/// How a program is brought to its end.
#[derive(Debug)]
pub struct Manners<'a> {
    /// Cancelled when the attempt is not wanted any more.
    pub stop: &'a CancellationToken,
    /// Cancelled when the program has said its last word: it has half of the grace to end by itself.
    pub done: &'a CancellationToken,
    /// Cancelled when the program broke its protocol: it is ended at once.
    pub broken: &'a CancellationToken,
    /// How long it has to end when stopped, in all.
    pub grace: Duration,
    /// The part of the grace before it is sent a signal, for programs that were told otherwise.
    pub before_signal: Duration,
}

/// Waits for the end; cancels `gone` then. The fate has no verdict on the protocol yet.
pub async fn attend(
    program: &Prepared,
    launched: Launched,
    gone: &CancellationToken,
    manners: Manners<'_>,
) -> Fate {
    let Launched { control, mut ended, .. } = launched;
    let mut fate = Fate { plugin: program.plugin.clone(), ended: None, broken: None, ending: None };
    let mut deadline = program.limits.wall_time.map(|time| Instant::now() + time);
    // when the signal is due, and how long the program has after it
    let mut signal: Option<(Instant, Duration)> = None;
    let ended: Ended = loop {
        let signal_at = signal.map(|(at, _)| at);
        tokio::select! {
            ended = &mut ended => break ended,
            () = manners.stop.cancelled(), if fate.ending.is_none() => {
                let now = Instant::now();
                fate.ending = Some((Reason::Stopped, now));
                deadline = None;
                signal = Some((now + manners.before_signal, manners.grace.saturating_sub(manners.before_signal)));
            }
            () = manners.done.cancelled(), if signal.is_none() => {
                signal = Some((Instant::now() + manners.grace / 2, manners.grace / 2));
                deadline = None;
            }
            () = manners.broken.cancelled(), if fate.ending.is_none() => {
                fate.ending = Some((Reason::Other(program.plugin.clone()), Instant::now()));
                deadline = None;
                signal = Some((Instant::now(), manners.grace));
            }
            () = until(deadline), if deadline.is_some() => {
                deadline = None;
                fate.broken = Some((out_of_time(program), Instant::now()));
                control.stop(manners.grace);
            }
            () = until(signal_at), if signal_at.is_some() => {
                let grace = signal.map_or(manners.grace, |(_, grace)| grace);
                control.stop(grace);
                fate.ending.get_or_insert((Reason::Other(program.plugin.clone()), Instant::now()));
                // asked once; the launcher keeps the rest of the time
                signal = Some((Instant::now() + manners.grace + grace, Duration::ZERO));
            }
        }
    };
    gone.cancel();
    fate.ended = Some((ended, Instant::now()));
    fate
}
