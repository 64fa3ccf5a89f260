-- API tokens: a hash of each, never itself. A node makes and revokes them by functions alone; nobody takes one away.

create table api_token (
    id         uuid        primary key,
    hash       bytea       not null unique check (length(hash) = 32),
    role       text        not null check (role in ('viewer', 'operator', 'developer', 'admin')),
    created_by text        not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);
comment on table api_token is 'API tokens, valid, expired and revoked.';
comment on column api_token.hash is 'SHA-256 of the token, which has 256 random bits.';
comment on column api_token.created_by is 'The actor who made it.';
comment on column api_token.revoked_at is 'Since when it is worth nothing; never put back.';

create function flexcore_token_create(
    p_id uuid, p_hash bytea, p_role text, p_created_by text, p_created_at timestamptz, p_expires_at timestamptz
) returns void language sql as $$
    insert into api_token (id, hash, role, created_by, created_at, expires_at)
    values (p_id, p_hash, p_role, p_created_by, p_created_at, p_expires_at)
$$;
comment on function flexcore_token_create is 'Keeps a new token.';

create function flexcore_token_revoke(p_id uuid, p_at timestamptz) returns boolean language sql as $$
    with revoked as (
        update api_token set revoked_at = coalesce(revoked_at, p_at) where id = p_id returning 1
    )
    select exists (select from revoked)
$$;
comment on function flexcore_token_revoke is 'Revokes a token; whether there is one of this id.';
