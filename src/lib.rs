//! FlexCore

pub mod sandbox;
