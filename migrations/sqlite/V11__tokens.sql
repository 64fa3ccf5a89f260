-- API tokens: a hash of each, never itself.

create table api_token (
    id         blob    primary key check (length(id) = 16),
    hash       blob    not null unique check (length(hash) = 32),  -- SHA-256 of the token, which has 256 random bits
    role       text    not null check (role in ('viewer', 'operator', 'developer', 'admin')),
    created_by text    not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer                                             -- never put back
) strict, without rowid;
