-- AD1s on their way through quell, by minute of receipt: see internal/flow/doc.go. Minutes are those
-- since 1970.
CREATE TABLE flow (
    minute INTEGER NOT NULL,
    run    INTEGER NOT NULL,
    counts BLOB    NOT NULL,
    PRIMARY KEY (minute, run)
) WITHOUT ROWID;

-- The entries of the suppression log, counted in the transactions that wrote them, with the sum of
-- their numbers; and how many of those received in that minute this run has released.
CREATE TABLE flow_entry (
    minute      INTEGER NOT NULL,
    run         INTEGER NOT NULL,
    distributor TEXT    NOT NULL,
    entries     INTEGER NOT NULL,
    numbers     INTEGER NOT NULL,
    lowest      INTEGER NOT NULL,
    highest     INTEGER NOT NULL,
    released    INTEGER NOT NULL,
    PRIMARY KEY (minute, run, distributor)
) WITHOUT ROWID;

-- The processes that count. All that one counted before seen_at is written. lost is how many minutes
-- it has dropped before that.
CREATE TABLE flow_run (
    id         INTEGER NOT NULL PRIMARY KEY,
    node       TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    stopped    INTEGER NOT NULL,
    lost       INTEGER NOT NULL
) WITHOUT ROWID;

-- The minute from which on all is counted. One row.
CREATE TABLE flow_since (
    minute INTEGER NOT NULL PRIMARY KEY
) WITHOUT ROWID;
