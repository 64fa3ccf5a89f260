//! The plugin aggregate: lifecycle, admission and circuit of a program FlexCore may run.

mod manifest;

pub use manifest::{
    Capabilities, DEFAULT_CONCURRENCY, Environment, Limits, Manifest, PluginType, Protocol, PythonEnvironment,
};
