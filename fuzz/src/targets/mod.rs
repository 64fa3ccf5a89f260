//! What is done with the bytes of a fuzzer or of a file in `tests/corpus`: they go into a reader of foreign bytes, and
//! what must hold for every input is asserted. Compiled twice: into the fuzz targets and into the replay of the corpus.
//! Never in here: anything but pure code, and an assertion that holds for some inputs only.
//!
//! Each answers whether the input was accepted as a whole.

mod definitions;
mod frames;
mod lines;
mod secrets;

pub use definitions::{manifest, pipeline, policy};
pub use frames::{flexcore_frames, launcher_frames, launcher_policy};
pub use lines::singer_lines;
pub use secrets::secret_references;

/// One of the functions above.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is also that of its binary and of its directory in `tests/corpus`.
pub const ALL: [(&str, Target); 8] = [
    ("flexcore_frames", flexcore_frames),
    ("launcher_frames", launcher_frames),
    ("launcher_policy", launcher_policy),
    ("manifest", manifest),
    ("pipeline", pipeline),
    ("policy", policy),
    ("secret_references", secret_references),
    ("singer_lines", singer_lines),
];

/// Cuts a stream into chunks whose sizes its own first bytes choose, so that a fuzzer finds places to cut.
fn chunks(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sizes: Vec<usize> = stream.iter().take(8).map(|byte| usize::from(byte % 23) + 1).collect();
    let mut sizes = sizes.into_iter().cycle();
    let mut rest = stream;
    std::iter::from_fn(move || {
        let size = sizes.next()?.min(rest.len());
        let (chunk, after) = rest.split_at(size);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}
