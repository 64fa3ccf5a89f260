//! FlexCore

pub mod http;
