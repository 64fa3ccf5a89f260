//! How nodes of one cluster speak with each other: gRPC over TLS 1.3, where both sides show that they know the cluster's
//! secret. Never in here: what they say.

mod client;
mod identity;
mod limits;
mod server;
#[cfg(test)]
mod tests;

pub use client::GrpcPeers;
pub use identity::{Identity, MIN_SECRET};
pub use server::serve;

/// What `proto/flexcore/internal/v1/peers.proto` says, as code.
mod wire {
    #![expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        unused_qualifications,
        reason = "generated"
    )]
    tonic::include_proto!("flexcore.internal.v1");
}
