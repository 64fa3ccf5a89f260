//! The runtime: supervised actors around the pure domain, and the one way in and out for gateways ([`api`]).

pub mod api;
pub mod views;
