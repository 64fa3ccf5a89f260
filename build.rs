//! Tells Cargo that the crate embeds `migrations/`: without it a new file there would be left out until some source
//! changes. Never in here: anything that is generated.

fn main() {
    for path in ["build.rs", "migrations/postgres", "migrations/sqlite"] {
        // Cargo reads what a build script prints
        #[expect(clippy::print_stdout, reason = "this is how a build script answers")]
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}
