//! Python programs that are started ahead. Importing a Singer SDK takes longer than everything else in a start, so after an
//! execution an interpreter of the plugin's environment is started again, in the jail that the next execution would get, imports
//! what the program depends on ([`waiting`]), and waits. The next execution that would get the very same jail gets this one; any
//! other starts cold.
//!
//! **Invariants.** An interpreter is used once, so nothing of one execution reaches another. It is sealed before it imports
//! anything, by the launcher's one order of operations. Nothing fails because of it: whatever is wrong with one, the program
//! starts cold.

mod waiting;

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flexcore_actors::domain::ids::Name;
use futures::FutureExt;

use super::launch::{Launch, LaunchFailure, Launched};
use super::limits::WARM_IDLE;
use super::program::Prepared;
pub(super) use waiting::{Fixed, Waiting, interpreter};

/// The interpreters that wait on this node.
pub(super) struct Warm {
    launcher: Arc<dyn Launch>,
    data_dir: PathBuf,
    most: usize,
    room: Mutex<Room>,
}

#[derive(Default)]
struct Room {
    /// The one that waits longest comes first; one a plugin.
    waiting: Vec<(Name, Waiting)>,
    /// Plugins for which one is being started.
    starting: HashSet<Name>,
    /// Programs that cannot be started ahead, such as one that prints while it is imported; not tried again in this
    /// life of the node, which has few environments.
    unfit: HashSet<PathBuf>,
}

impl Warm {
    /// At most so many; none at all where programs share the host's files, because each needs a directory of its own then.
    pub(super) fn new(launcher: Arc<dyn Launch>, data_dir: PathBuf, most: usize) -> Self {
        let most = if launcher.has_own_root() { most } else { 0 };
        Self { launcher, data_dir, most, room: Mutex::default() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.room().waiting.len()
    }

    #[cfg(test)]
    pub(super) fn pids(&self) -> Vec<u32> {
        self.room().waiting.iter().map(|(_, waiting)| waiting.pid()).collect()
    }

    /// The one that waits for this plugin, if it was started with exactly this.
    pub(super) fn take(&self, plugin: &Name, fixed: &Fixed) -> Option<Waiting> {
        let mut room = self.room();
        let place = room.waiting.iter().position(|(of, _)| of == plugin)?;
        let (_, waiting) = room.waiting.remove(place);
        if waiting.is_quiet() {
            return Some(waiting).filter(|waiting| waiting.fits(fixed));
        }
        room.unfit.insert(fixed.program.clone());
        None
    }

    /// Starts a program, in the interpreter that was taken for it if there is one, and sees to the next.
    ///
    /// # Errors
    /// As [`Launch::start`].
    pub(super) async fn launch(
        self: &Arc<Self>,
        program: &Prepared,
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Launched, LaunchFailure> {
        let start = program.start(stdin, stdout, stderr);
        let waiting = program.warm.lock().unwrap_or_else(PoisonError::into_inner).take();
        let became = match waiting {
            Some(waiting) => waiting.become_program(start).await,
            None => Err(start),
        };
        let launched = match became {
            Ok(launched) => launched,
            Err(start) => self.launcher.start(start).await?,
        };
        let Some(fixed) = program.fixed.clone().filter(|_| self.most > 0) else { return Ok(launched) };
        let (warm, plugin) = (self.clone(), program.plugin.clone());
        let ended = launched.ended.map(move |ended| {
            warm.start_ahead(plugin, fixed);
            ended
        });
        Ok(Launched { ended: ended.boxed(), ..launched })
    }

    /// Starts the next one beside whatever runs; a plugin has one, and as many are started at once as may wait.
    fn start_ahead(self: Arc<Self>, plugin: Name, fixed: Fixed) {
        {
            let mut room = self.room();
            let there = room.waiting.iter().any(|(of, _)| *of == plugin);
            if there || room.starting.len() >= self.most || room.unfit.contains(&fixed.program) {
                return;
            }
            if !room.starting.insert(plugin.clone()) {
                return;
            }
        }
        tokio::spawn(async move {
            let program = fixed.program.clone();
            let started = Waiting::start(&*self.launcher, &self.data_dir, fixed).await;
            let since = match started {
                Ok(waiting) => self.put(plugin.clone(), waiting),
                Err(why) => {
                    tracing::debug!(%plugin, why, "its interpreter is not started ahead");
                    let mut room = self.room();
                    room.starting.remove(&plugin);
                    room.unfit.insert(program);
                    return;
                }
            };
            tokio::time::sleep(WARM_IDLE).await;
            let old = |(of, waiting): &mut (Name, Waiting)| *of == plugin && waiting.since() == since;
            drop(self.room().waiting.extract_if(.., old).collect::<Vec<_>>());
        });
    }

    fn put(&self, plugin: Name, waiting: Waiting) -> std::time::Instant {
        let since = waiting.since();
        let mut room = self.room();
        room.starting.remove(&plugin);
        room.waiting.push((plugin, waiting));
        let surplus = room.waiting.len().saturating_sub(self.most);
        drop(room.waiting.drain(..surplus));
        since
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
