//! Inside
