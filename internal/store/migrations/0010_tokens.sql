-- Tokens of machines for the console. The secret of a token is in nobody's hands but its
-- holder's: the table has what Argon2id makes of it.
CREATE TABLE token (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    role       TEXT    NOT NULL,
    hash       TEXT    NOT NULL, -- $argon2id$v=19$m=...,t=...,p=...$salt$hash
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
