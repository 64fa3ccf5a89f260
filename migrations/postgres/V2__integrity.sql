-- The Merkle tree over the log and its checkpoints. All of it can be computed again from the leaf hashes of the events.

create table merkle_tile (
    level      smallint not null,
    tile_index bigint   not null,
    root       bytea    not null,
    hashes     bytea    not null,
    primary key (level, tile_index)
);
-- hashes cannot be compressed, and a root is read without the hashes it stands for
alter table merkle_tile alter column hashes set storage external;
comment on table merkle_tile is 'Complete tiles of the RFC 6962 tree over the leaf hashes (leaf index = position - 1), 256 hashes each. Never changed.';
comment on column merkle_tile.level is '0 holds leaves; an entry of level n + 1 is the root of a tile of level n.';
comment on column merkle_tile.tile_index is '0, 1, 2 … within the level.';
comment on column merkle_tile.root is 'The hash of the subtree over the tile.';
comment on column merkle_tile.hashes is '256 hashes of 32 bytes, one after the other.';

create table checkpoint (
    size      bigint      primary key,
    root      bytea       not null,
    note      text        not null,
    sealed_at timestamptz not null
);
comment on table checkpoint is 'What was sealed, and signed. Never changed.';
comment on column checkpoint.size is 'How many events the log had: the position of the last one.';
comment on column checkpoint.root is 'The root of the tree over their leaf hashes.';
comment on column checkpoint.note is 'The signed note: c2sp.org/tlog-checkpoint.';
comment on column checkpoint.sealed_at is 'When, by the clock of the node that sealed.';

-- Stores a checkpoint and the tiles that became complete, if the latest checkpoint is the one on which it was made
-- (p_previous, 0 for the first); false when it is not. One statement of its own transaction; nodes that seal at the same
-- time take turns, and appends wait for neither.
create function flexcore_seal(
    p_previous bigint, p_size bigint, p_root bytea, p_note text, p_sealed_at timestamptz,
    t_level smallint[], t_index bigint[], t_root bytea[], t_hashes bytea[]
) returns boolean language plpgsql as $$
begin
    perform pg_advisory_xact_lock(112577323819372); -- "fcseal" in ASCII
    if coalesce((select max(size) from checkpoint), 0) <> p_previous then
        return false;
    end if;
    insert into merkle_tile (level, tile_index, root, hashes)
    select * from unnest(t_level, t_index, t_root, t_hashes);
    insert into checkpoint (size, root, note, sealed_at) values (p_size, p_root, p_note, p_sealed_at);
    return true;
end
$$;
comment on function flexcore_seal is 'Stores a checkpoint with its tiles on top of the one before; false when another is the latest.';
