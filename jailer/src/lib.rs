//! Jailer
