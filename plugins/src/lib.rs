//! Plugins
