//! What the model's world consists of: the store that nodes share, what each node believes, and what is under way
//! between them. Never in here: which steps the world may take.

/// The two streams of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// The execution: its attempts and whether it is cancelled.
    Execution,
    /// Its pipeline: the definition and the bookmark.
    Pipeline,
}

/// What an event says. Attempts and positions of the bookmark count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    Started { attempt: u8 },
    Cancelled,
    Revised,
    Acquired { attempt: u8 },
    Moved { attempt: u8, to: u8 },
}

impl Fact {
    pub fn stream(self) -> Stream {
        match self {
            Self::Started { .. } | Self::Cancelled => Stream::Execution,
            Self::Revised | Self::Acquired { .. } | Self::Moved { .. } => Stream::Pipeline,
        }
    }

    /// The id of the client's command that leads to it; what the runtime records by itself has none.
    pub fn command(self) -> Option<u8> {
        match self {
            Self::Revised => Some(1),
            Self::Cancelled => Some(2),
            _ => None,
        }
    }

    /// Whether it may only happen while the execution is not cancelled, though it is another stream's event.
    pub fn is_guarded(self) -> bool {
        matches!(self, Self::Acquired { .. } | Self::Moved { .. })
    }
}

/// A request to the store, on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Append {
    pub node: usize,
    /// The epoch that the node believes to hold.
    pub epoch: u8,
    pub fact: Fact,
    /// The version of the stream that the decision was made at.
    pub expected: u8,
    /// The version at which the node saw the execution.
    pub execution: u8,
}

/// A committed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    pub fact: Fact,
    pub version: u8,
    /// The epoch that the append carried.
    pub epoch: u8,
    /// The shard's epoch when it was committed.
    pub under: u8,
}

/// What a node believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Node {
    /// The epoch of its claim; `None` before the first one.
    pub epoch: Option<u8>,
    /// How many events of each stream it has folded.
    pub execution: u8,
    pub pipeline: u8,
    /// Recorded as dead.
    pub dead: bool,
    /// Was ever recorded as dead; only the invariants look at it.
    pub buried: bool,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    pub epoch: u8,
    /// The epoch that each claim was given, in their order; only the invariants look at it.
    pub claims: Vec<u8>,
    pub log: Vec<Event>,
    pub nodes: [Node; 2],
    /// Sorted, so that states which differ only in its order are one.
    pub under_way: Vec<Append>,
    /// Commands that a client was told are done.
    pub answered: Vec<u8>,
    /// Appends whose answer was lost and that were sent again.
    pub sent_again: u8,
}

impl State {
    /// Where the exploration begins: the first node owns the shard and runs an attempt, which holds the bookmark. What
    /// leads there has one order only; which of the nodes it is makes no difference.
    pub fn begun() -> Self {
        let first = |fact| Event { fact, version: 1, epoch: 1, under: 1 };
        let log = vec![first(Fact::Started { attempt: 1 }), first(Fact::Acquired { attempt: 1 })];
        let mut state = Self { epoch: 1, claims: vec![1], log, ..Self::default() };
        state.nodes[0].epoch = Some(1);
        state.reload(0);
        state
    }

    /// How many events a stream has.
    pub fn version(&self, stream: Stream) -> u8 {
        let events = self.log.iter().filter(|event| event.fact.stream() == stream).count();
        u8::try_from(events).expect("the model's log is bounded")
    }

    /// The facts of a stream as a node that folded `version` of its events knows them.
    pub fn known(&self, stream: Stream, version: u8) -> impl Iterator<Item = Fact> {
        let facts = self.log.iter().map(|event| event.fact);
        facts.filter(move |fact| fact.stream() == stream).take(version.into())
    }

    /// Whether the command has its event.
    pub fn is_stored(&self, command: u8) -> bool {
        self.log.iter().any(|event| event.fact.command() == Some(command))
    }

    /// Tells a client, once.
    pub fn answer(&mut self, command: u8) {
        if !self.answered.contains(&command) {
            self.answered.push(command);
            self.answered.sort_unstable();
        }
    }

    /// The node folds what is stored now.
    pub fn reload(&mut self, node: usize) {
        self.nodes[node].execution = self.version(Stream::Execution);
        self.nodes[node].pipeline = self.version(Stream::Pipeline);
    }
}
