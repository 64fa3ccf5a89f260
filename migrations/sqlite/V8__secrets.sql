-- Secrets, encrypted before they come here. No events: a value that was replaced or deleted is gone.

create table secret (
    name       text    primary key,
    key_id     blob    not null check (length(key_id) = 8),   -- the beginning of a hash of the key
    nonce      blob    not null check (length(nonce) = 24),   -- another one at each encryption
    ciphertext blob    not null,                              -- XChaCha20-Poly1305 of the value, bound to the name
    set_at     integer not null
) strict, without rowid;
