//! The architecture's rules, kept by tests: what each crate may link, which rooms may know each other, and what every
//! file owes its reader.
//!
//! Nothing here runs the product; whoever breaks a rule reads here which one and why.
#![cfg(test)]

mod deployment;
mod links;
mod migrations;
mod repository;
mod rooms;
mod tidy;
