//! The steps the world may take, and the guards that forbid some of them. Never in here: what must hold (`invariants`).

use stateright::{Model, Property};

use crate::invariants;
use crate::state::{Append, Event, Fact, State, Stream};

/// Claims explored: enough for a node to lose the shard and to get it back.
const MAX_CLAIMS: usize = 3;
/// Events explored, the first two included: enough for a second attempt that moves the bookmark, beside nothing else.
const MAX_EVENTS: usize = 5;
/// Appends under way at once: two nodes, or one node that decided again.
const MAX_UNDER_WAY: usize = 2;
/// Answers lost.
const MAX_SENT_AGAIN: u8 = 1;
/// Attempts, and positions of the bookmark.
const SECOND: u8 = 2;

/// What forbids a step. Each is one line of the product; the tests take away one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// An append is refused unless its epoch is the shard's.
    Fence,
    /// An append is refused unless its stream is at the version it was decided at.
    ExpectedVersion,
    /// An append is refused if its command is stored; the first outcome is the answer.
    Dedupe,
    /// A claim takes a higher epoch.
    Rise,
    /// A renewal of a node that is recorded as dead is refused.
    Burial,
    /// A client is answered when the store has answered.
    AnswerAfterCommit,
    /// What a worker records in the pipeline commits only while the execution is at the version it was seen at.
    ExecutionVersion,
    /// A cancelled execution decides no start.
    CancelIsFinal,
    /// A bookmark is moved by the attempt that holds it.
    Holder,
    /// A bookmark moves forward.
    Forward,
}

/// The world with all guards, or without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shard {
    pub without: Option<Guard>,
}

/// A step. Nodes are named by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Claim(usize),
    MarkDead(usize),
    Renew(usize),
    /// The node reads what is stored.
    Reload(usize),
    /// The node decides and sends the append; a client's command may come any number of times, to any node.
    Decide(usize, Fact),
    /// The store handles an append and the node hears of it.
    Handle(Append),
    /// The store handles an append, the answer is lost, and the node sends it again as it was.
    HandleUnheard(Append),
}

impl Shard {
    fn keeps(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    fn claim(&self, state: &mut State, node: usize) -> Option<()> {
        let known = state.nodes[node];
        if known.dead || state.claims.len() == MAX_CLAIMS || known.epoch == Some(state.epoch) {
            return None;
        }
        if self.keeps(Guard::Rise) {
            state.epoch += 1;
        }
        state.claims.push(state.epoch);
        state.nodes[node].epoch = Some(state.epoch);
        state.reload(node);
        Some(())
    }

    fn renew(&self, state: &mut State, node: usize) -> Option<()> {
        let node = &mut state.nodes[node];
        if !node.dead || self.keeps(Guard::Burial) {
            return None; // nothing changes: a lease that goes on, or a refusal
        }
        node.dead = false;
        Some(())
    }

    /// Whether a node that knows so much of the streams decides `fact`.
    fn decides(&self, state: &State, node: usize, fact: Fact) -> bool {
        let node = state.nodes[node];
        let execution = || state.known(Stream::Execution, node.execution);
        let pipeline = || state.known(Stream::Pipeline, node.pipeline);
        let cancelled = execution().any(|known| known == Fact::Cancelled);
        let attempts = execution().filter(|known| matches!(known, Fact::Started { .. })).count();
        let holder = pipeline().filter_map(|known| match known {
            Fact::Acquired { attempt } => Some(attempt),
            _ => None,
        });
        let holder = holder.last().unwrap_or(0);
        let position = pipeline().filter_map(|known| match known {
            Fact::Moved { to, .. } => Some(to),
            _ => None,
        });
        let position = position.last().unwrap_or(0);
        match fact {
            Fact::Revised => true,
            Fact::Cancelled => !cancelled,
            Fact::Started { attempt } => {
                usize::from(attempt) == attempts + 1 && !(cancelled && self.keeps(Guard::CancelIsFinal))
            }
            Fact::Acquired { attempt } => !cancelled && usize::from(attempt) <= attempts && attempt > holder,
            Fact::Moved { attempt, to } => {
                let held = holder == attempt || (!self.keeps(Guard::Holder) && attempt < holder);
                let forward = to == position + 1 || (!self.keeps(Guard::Forward) && to <= position);
                !cancelled && held && forward
            }
        }
    }

    fn decide(&self, state: &mut State, node: usize, fact: Fact) -> Option<()> {
        let known = state.nodes[node];
        let epoch = known.epoch?;
        if state.under_way.len() == MAX_UNDER_WAY || !self.decides(state, node, fact) {
            return None;
        }
        let expected = match fact.stream() {
            Stream::Execution => known.execution,
            Stream::Pipeline => known.pipeline,
        };
        state.under_way.push(Append { node, epoch, fact, expected, execution: known.execution });
        state.under_way.sort_unstable();
        if let Some(command) = fact.command().filter(|_| !self.keeps(Guard::AnswerAfterCommit)) {
            state.answer(command);
        }
        Some(())
    }

    /// One transaction of the store.
    fn commit(&self, state: &mut State, append: &Append) {
        let stored = append.fact.command().is_some_and(|command| state.is_stored(command));
        let refused = (self.keeps(Guard::Fence) && append.epoch != state.epoch)
            || (self.keeps(Guard::Dedupe) && stored)
            || (self.keeps(Guard::ExpectedVersion) && append.expected != state.version(append.fact.stream()))
            || (self.keeps(Guard::ExecutionVersion)
                && append.fact.is_guarded()
                && append.execution != state.version(Stream::Execution));
        if !refused {
            let (version, under) = (append.expected + 1, state.epoch);
            state.log.push(Event { fact: append.fact, version, epoch: append.epoch, under });
        }
    }

    fn handle(&self, state: &mut State, append: &Append, heard: bool) -> Option<()> {
        if !heard {
            if state.sent_again == MAX_SENT_AGAIN {
                return None;
            }
            state.sent_again += 1;
            self.commit(state, append);
            return Some(());
        }
        let at = state.under_way.iter().position(|other| other == append)?;
        state.under_way.remove(at);
        self.commit(state, append);
        if let Some(command) = append.fact.command().filter(|command| state.is_stored(*command)) {
            state.answer(command);
        }
        if state.nodes[append.node].epoch == Some(append.epoch) {
            state.reload(append.node);
        }
        Some(())
    }
}

fn facts() -> impl Iterator<Item = Fact> {
    let moves = (1..=SECOND).flat_map(|attempt| (1..=SECOND).map(move |to| Fact::Moved { attempt, to }));
    let attempts = (1..=SECOND).flat_map(|attempt| [Fact::Started { attempt }, Fact::Acquired { attempt }]);
    [Fact::Cancelled, Fact::Revised].into_iter().chain(attempts).chain(moves)
}

impl Model for Shard {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::begun()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for node in 0..state.nodes.len() {
            steps.extend([Step::Claim(node), Step::MarkDead(node), Step::Renew(node), Step::Reload(node)]);
            steps.extend(facts().map(|fact| Step::Decide(node, fact)));
        }
        steps.extend(state.under_way.iter().flat_map(|a| [Step::Handle(*a), Step::HandleUnheard(*a)]));
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Claim(node) => self.claim(&mut state, node)?,
            Step::Renew(node) => self.renew(&mut state, node)?,
            Step::Reload(node) => state.nodes[node].epoch.map(|_| state.reload(node))?,
            Step::Decide(node, fact) => self.decide(&mut state, node, fact)?,
            Step::Handle(append) => self.handle(&mut state, &append, true)?,
            Step::HandleUnheard(append) => self.handle(&mut state, &append, false)?,
            Step::MarkDead(node) => {
                if state.nodes[1 - node].dead {
                    return None; // only a node that lives records another's death
                }
                state.nodes[node].dead = true;
                state.nodes[node].buried = true;
            }
        }
        (state != *last).then_some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.log.len() <= MAX_EVENTS
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::all()
    }
}
