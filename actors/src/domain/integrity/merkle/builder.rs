//! A tree that is built leaf by leaf in little memory: it keeps what is not yet in a complete tile, at most 255 hashes a
//! level, and gives the root of any size it passes. Where tiles go is not known here.

use super::hash::{Hash, node_hash};
use super::subtree::{cover, join};

/// Height of a tile, in levels of the tree (C2SP tlog-tiles).
pub const TILE_HEIGHT: u8 = 8;
/// Hashes in a tile.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// Levels of tiles that a tree of 2^64 leaves has.
pub const MAX_LEVELS: u8 = 64 / TILE_HEIGHT;

/// A complete tile: 256 hashes that lie side by side at height 8 · `level` of the tree. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// 0 holds leaves, 1 the roots of tiles of level 0, and so on.
    pub level: u8,
    /// Its place in its level, from 0.
    pub index: u64,
    /// The hashes; [`TILE_WIDTH`] of them.
    pub hashes: Vec<Hash>,
}

impl Tile {
    /// The hash of the subtree over the tile: an entry of the tile above it.
    #[must_use]
    pub fn root(&self) -> Hash {
        complete_root(&self.hashes)
    }

    /// How many leaves a tree must have for this tile to be complete.
    #[must_use]
    pub const fn leaves(&self) -> u64 {
        // the one tile of the highest level would need more leaves than can be counted
        match self.index.saturating_add(1).checked_shl((self.level as u32 + 1) * TILE_HEIGHT as u32) {
            Some(leaves) => leaves,
            None => u64::MAX,
        }
    }
}

/// What a level holds beyond its last complete tile.
pub type Tail = Vec<Hash>;

/// The tails do not belong to the size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tree of {size} leaves has {expected} hashes beyond the complete tiles of level {level}, not {found}"
)]
pub struct WrongTail {
    size: u64,
    level: u8,
    expected: u64,
    found: usize,
}

/// Builds a tree from left to right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeBuilder {
    size: u64,
    tails: Vec<Tail>,
}

impl TreeBuilder {
    /// Goes on with a tree of `size` leaves, by the hashes of each level that are in no complete tile: see
    /// [`TreeBuilder::tail_len`].
    ///
    /// # Errors
    /// When they are not as many as they must be.
    pub fn resume(size: u64, mut tails: Vec<Tail>) -> Result<Self, WrongTail> {
        for level in 0..MAX_LEVELS {
            let expected = Self::tail_len(size, level);
            let found = tails.get(usize::from(level)).map_or(0, Vec::len);
            if found as u64 != expected {
                return Err(WrongTail { size, level, expected, found });
            }
        }
        tails.truncate(usize::from(MAX_LEVELS));
        Ok(Self { size, tails })
    }

    /// How many hashes of a level are in no complete tile when the tree has `size` leaves.
    #[must_use]
    pub const fn tail_len(size: u64, level: u8) -> u64 {
        (size >> (level * TILE_HEIGHT)) % TILE_WIDTH as u64
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash; every tile that it completes goes to `completed`.
    pub fn append(&mut self, leaf: Hash, mut completed: impl FnMut(Tile)) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0..MAX_LEVELS {
            let n = usize::from(level);
            if self.tails.len() == n {
                self.tails.push(Vec::with_capacity(TILE_WIDTH));
            }
            self.tails[n].push(hash);
            if self.tails[n].len() < TILE_WIDTH {
                return;
            }
            let hashes = std::mem::replace(&mut self.tails[n], Vec::with_capacity(TILE_WIDTH));
            let index = (self.size >> ((level + 1) * TILE_HEIGHT)) - 1;
            let tile = Tile { level, index, hashes };
            hash = tile.root();
            completed(tile);
        }
    }

    /// The root of the tree as it is.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut parts: Vec<Hash> = Vec::new();
        for tail in self.tails.iter().rev() {
            let mut from = 0;
            for subtree in cover(0..tail.len() as u64) {
                let width = 1_usize << subtree.height;
                parts.push(complete_root(&tail[from..from + width]));
                from += width;
            }
        }
        join(&parts)
    }
}

/// The root over a power of two of hashes.
pub(super) fn complete_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}
