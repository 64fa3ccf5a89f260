//! The plugin aggregate: lifecycle, admission and circuit of a program FlexCore may run.
//!
//! Registered → Enabled ⇄ Disabled → Retired. The plugin's state holds who runs it, cluster-wide: an attempt is
//! admitted here before anything is started, and given back when everything it started is gone.

mod calls;
mod capabilities;
mod decide;
mod events;
mod manifest;
mod policy;
mod read;
mod state;
#[cfg(test)]
mod tests;

pub use calls::{API_CALLS, Call, known_call};
pub use capabilities::{Capabilities, WORKDIR, host_port};
pub use decide::PluginCommand;
pub use events::{
    AttemptId, PluginDisabled, PluginEnabled, PluginEvent, PluginExecutionCompleted, PluginExecutionStarted,
    PluginQuarantined, PluginRegistered, PluginReleased, PluginRetired, PluginRevised,
};
pub use manifest::{
    DEFAULT_CONCURRENCY, Environment, Limits, Manifest, PluginType, Protocol, PythonEnvironment,
};
pub use policy::{
    Allowance, Bounds, Granted, HostPattern, Judgement, Leads, Pattern, Policy, Rule, read_policy,
};
pub use read::read_manifest;
pub use state::{Permit, Plugin, Quarantine, Status};
