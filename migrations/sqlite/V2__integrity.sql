-- The Merkle tree over the log and its checkpoints. All of it can be computed again from the leaf hashes of the events.

-- Complete tiles of the RFC 6962 tree over the leaf hashes (leaf index = position - 1). Never changed.
create table merkle_tile (
    level      integer not null,                -- 0 holds leaves; an entry of level n + 1 is the root of a tile of level n
    tile_index integer not null,                -- 0, 1, 2 … within the level
    root       blob    not null,                -- the hash of the subtree over the tile
    hashes     blob    not null,                -- 256 hashes of 32 bytes, one after the other
    primary key (level, tile_index)
) strict;

-- What was sealed, and signed. Never changed.
create table checkpoint (
    size      integer primary key,              -- how many events the log had: the position of the last one
    root      blob    not null,                 -- the root of the tree over their leaf hashes
    note      text    not null,                 -- the signed note: c2sp.org/tlog-checkpoint
    sealed_at integer not null                  -- when, by the clock of the node that sealed
) strict;
