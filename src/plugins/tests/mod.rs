//! The plugin host with real programs under the real launcher.

mod attacks;
mod command;
mod environment;
mod faults;
mod flexcore;
mod network;
mod secrets;
mod singer;
mod warm;
