//! Tamper evidence: what is hashed of every event, and how hashes are joined. Pure computation; no keys, no storage.

pub mod checkpoint;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod verify;
