-- Secrets, encrypted before they come here. No events: a value that was replaced or deleted is gone. A node only reads
-- them; who sets them is the owner of the tables.

create table secret (
    name       text        collate "C" primary key,
    key_id     bytea       not null check (length(key_id) = 8),
    nonce      bytea       not null check (length(nonce) = 24),
    ciphertext bytea       not null,
    set_at     timestamptz not null
);
comment on table secret is 'Secrets by name, encrypted with a key that is not in the database.';
comment on column secret.key_id is 'Tells the key: the beginning of a hash of it.';
comment on column secret.nonce is 'Another one at each encryption.';
comment on column secret.ciphertext is 'XChaCha20-Poly1305 of the value, bound to the name.';
comment on column secret.set_at is 'When the value was set.';
