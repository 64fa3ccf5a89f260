//! Reads the sealed tree: whatever hash of it is asked for, from the tile it lies in or, at the tree's right edge, from the
//! level below. Nothing here writes, and nothing is believed: whoever asks compares roots.

use std::collections::HashMap;

use crate::domain::integrity::merkle::{
    Hash, MAX_LEVELS, ProofPlan, Subtree, TILE_HEIGHT, TILE_WIDTH, Tile, TreeBuilder, WrongTail, cover, join,
};
use crate::ports::IntegrityStore;
use crate::ports::event_store::StoreError;

/// Why a hash of the tree cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Events that the log must have are not there.
    #[error(
        "of the events at positions {from} to {to} only {found} are there: the log was cut, or its store is damaged"
    )]
    LeavesMissing {
        /// The first position.
        from: u64,
        /// The last position.
        to: u64,
        /// How many are there.
        found: usize,
    },
    /// Tiles that were sealed are not there.
    #[error(
        "tiles {first} to {last} of level {level} of the sealed tree are not all there: its store is damaged"
    )]
    TilesMissing {
        /// The level.
        level: u8,
        /// The first tile.
        first: u64,
        /// The last tile.
        last: u64,
    },
    /// The store's own figures contradict each other.
    #[error(transparent)]
    Tail(#[from] WrongTail),
}

/// A tree that was sealed at a size.
pub struct SealedTree<'a> {
    store: &'a dyn IntegrityStore,
    size: u64,
    /// The tile that was read last for each level: neighbours in a proof share it.
    tiles: HashMap<u8, Tile>,
}

impl<'a> SealedTree<'a> {
    /// The tree that the checkpoint of this size sealed.
    #[must_use]
    pub fn new(store: &'a dyn IntegrityStore, size: u64) -> Self {
        Self { store, size, tiles: HashMap::new() }
    }

    /// The hashes of a proof.
    ///
    /// # Errors
    /// When the store does not answer or lacks a part of the tree.
    pub async fn prove(&mut self, plan: &ProofPlan) -> Result<Vec<Hash>, TreeError> {
        let mut hashes = HashMap::new();
        for subtree in plan.subtrees() {
            hashes.insert(subtree, self.hash_of(subtree).await?);
        }
        Ok(plan.assemble(|subtree| hashes.get(&subtree).copied().ok_or(())).unwrap_or_default())
    }

    /// The hash of one leaf.
    ///
    /// # Errors
    /// When the store does not answer or lacks a part of the tree.
    pub async fn leaf(&mut self, index: u64) -> Result<Hash, TreeError> {
        self.hash_of(Subtree { height: 0, index }).await
    }

    /// The root that the tree had at a smaller or the same size.
    ///
    /// # Errors
    /// When the store does not answer or lacks a part of the tree.
    pub async fn root_at(&mut self, size: u64) -> Result<Hash, TreeError> {
        Ok(join(&self.parts_at(size).await?))
    }

    /// The hashes of the complete subtrees that it had at a smaller or the same size, from left to right.
    ///
    /// # Errors
    /// When the store does not answer or lacks a part of the tree.
    pub async fn parts_at(&mut self, size: u64) -> Result<Vec<Hash>, TreeError> {
        let mut parts = Vec::new();
        for subtree in cover(0..size) {
            parts.push(self.hash_of(subtree).await?);
        }
        Ok(parts)
    }

    /// What the tree goes on from.
    ///
    /// # Errors
    /// When the store does not answer or lacks a part of the tree.
    pub async fn builder(&mut self) -> Result<TreeBuilder, TreeError> {
        let mut tails = Vec::new();
        for level in 0..MAX_LEVELS {
            let len = TreeBuilder::tail_len(self.size, level);
            let first = (self.size >> (level * TILE_HEIGHT)) - len;
            tails.push(if len == 0 { Vec::new() } else { self.edge(level, first, len).await? });
        }
        Ok(TreeBuilder::resume(self.size, tails)?)
    }

    async fn hash_of(&mut self, subtree: Subtree) -> Result<Hash, TreeError> {
        let (level, within) = (subtree.height / TILE_HEIGHT, subtree.height % TILE_HEIGHT);
        let (first, count) = (subtree.index << within, 1_u64 << within);
        let index = first >> TILE_HEIGHT;
        let complete = Tile { level, index, hashes: Vec::new() }.leaves() <= self.size;
        let hashes = if complete {
            let at = usize::try_from(first % TILE_WIDTH as u64).expect("below 256");
            let tile = self.tile(level, index).await?;
            tile.hashes[at..at + (1 << within)].to_vec()
        } else {
            self.edge(level, first, count).await?
        };
        let mut tree = TreeBuilder::default();
        hashes.into_iter().for_each(|hash| tree.append(hash, drop));
        Ok(tree.root())
    }

    async fn tile(&mut self, level: u8, index: u64) -> Result<&Tile, TreeError> {
        if self.tiles.get(&level).is_none_or(|tile| tile.index != index) {
            let missing = TreeError::TilesMissing { level, first: index, last: index };
            let found = self.store.tiles(level, index, 1).await?.pop();
            let whole = |tile: &Tile| tile.index == index && tile.hashes.len() == TILE_WIDTH;
            self.tiles.insert(level, found.filter(whole).ok_or(missing)?);
        }
        Ok(&self.tiles[&level])
    }

    /// Hashes of a level that are in no complete tile of it.
    async fn edge(&self, level: u8, first: u64, count: u64) -> Result<Vec<Hash>, TreeError> {
        let Some(below) = level.checked_sub(1) else { return leaves(self.store, first, count).await };
        let limit = usize::try_from(count).expect("at most 256");
        let roots = self.store.tile_roots(below, first, limit).await?;
        if roots.len() == limit {
            return Ok(roots);
        }
        Err(TreeError::TilesMissing { level: below, first, last: first + count - 1 })
    }
}

/// The leaf hashes of events that must be there.
///
/// # Errors
/// When the store does not answer or events are missing.
pub async fn leaves(store: &dyn IntegrityStore, first: u64, count: u64) -> Result<Vec<Hash>, TreeError> {
    let hashes = store.leaves(first..first + count).await?;
    if hashes.len() as u64 == count {
        return Ok(hashes);
    }
    Err(TreeError::LeavesMissing { from: first + 1, to: first + count, found: hashes.len() })
}
