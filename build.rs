//! Compiles the messages of gRPC, and tells Cargo that the crate embeds `migrations/`: without it a new file there would be
//! left out until some source changes. Never in here: anything else that is generated.

const PROTOCOLS: [&str; 1] = ["proto/flexcore/internal/v1/peers.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in ["build.rs", "migrations/postgres", "migrations/sqlite", "proto"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let compiled = protox::compile(PROTOCOLS, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(compiled)?;
    Ok(())
}
