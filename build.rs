//! Tells Cargo that the crate embeds `migrations/`: without it a new file there would be left out until some source
//! changes. Never in here: anything that is generated.

fn main() {
    for path in ["build.rs", "migrations/postgres", "migrations/sqlite"] {
        println!("cargo::rerun-if-changed={path}");
    }
}
