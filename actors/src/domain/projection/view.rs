//! The views there are: what each is found by and in which order it is read. The names are those of the tables and
//! columns of every store; a new tag or path is a migration too.

/// A read model; the projection that fills it has the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// Pipelines by name.
    Pipelines,
    /// Plugins by name.
    Plugins,
    /// Executions, newest first.
    Executions,
    /// Counters by hour and day, newest first.
    Metrics,
    /// Who asked for what, newest first.
    Audit,
}

/// In which order a view is read; its cursors follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By key, ascending.
    ByKey,
    /// By time, then by key, both descending.
    NewestFirst,
}

/// What rows can be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The column.
    pub name: &'static str,
    /// The values it may have; empty when any text may stand there (or nothing).
    pub words: &'static [&'static str],
}

const fn open(name: &'static str) -> Tag {
    Tag { name, words: &[] }
}

const fn closed(name: &'static str, words: &'static [&'static str]) -> Tag {
    Tag { name, words }
}

const STATUSES: &[&str] = &["queued", "running", "paused", "completed", "failed", "cancelled"];

impl View {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::Pipelines, Self::Plugins, Self::Executions, Self::Metrics, Self::Audit];

    /// Its name, and its projection's.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pipelines => "pipelines",
            Self::Plugins => "plugins",
            Self::Executions => "executions",
            Self::Metrics => "metrics",
            Self::Audit => "audit",
        }
    }

    /// The view of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|view| view.as_str() == name)
    }

    /// What its rows can be filtered by.
    #[must_use]
    pub const fn tags(self) -> &'static [Tag] {
        const PIPELINES: &[Tag] = &[closed("status", &["draft", "active", "paused", "archived"])];
        const PLUGINS: &[Tag] = &[closed("status", &["registered", "enabled", "disabled", "retired"])];
        const EXECUTIONS: &[Tag] = &[
            open("pipeline"),
            open("plugin"),
            closed("kind", &["pipeline", "plugin"]),
            closed("status", STATUSES),
        ];
        const METRICS: &[Tag] = &[closed("period", &["hour", "day", "open"])];
        const AUDIT: &[Tag] = &[open("actor"), closed("outcome", super::audit::OUTCOMES)];
        match self {
            Self::Pipelines => PIPELINES,
            Self::Plugins => PLUGINS,
            Self::Executions => EXECUTIONS,
            Self::Metrics => METRICS,
            Self::Audit => AUDIT,
        }
    }

    /// The tags that each index begins with. A closed tag that a query leaves open is asked for word by word, so that
    /// every combination of filters walks an index in the view's order and stops at the limit.
    #[must_use]
    pub const fn paths(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Pipelines | Self::Plugins => &[&["status"]],
            Self::Executions => &[&["pipeline", "status"], &["plugin", "status"], &["kind", "status"]],
            Self::Metrics => &[&["period"]],
            Self::Audit => &[&["actor", "outcome"], &["outcome"]],
        }
    }

    /// In which order it is read.
    #[must_use]
    pub const fn order(self) -> Order {
        match self {
            Self::Pipelines | Self::Plugins => Order::ByKey,
            Self::Executions | Self::Metrics | Self::Audit => Order::NewestFirst,
        }
    }
}
