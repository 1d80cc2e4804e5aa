-- Instants are microseconds since 1970 in UTC, device ids the 64 bits of the
-- EUI-64 as a signed integer, truth values 0 and 1.

CREATE TABLE activation (
    id            INTEGER PRIMARY KEY,
    request_id    TEXT    NOT NULL,
    form          TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    execute_at    INTEGER NOT NULL, -- 0: the request names no time
    mode          TEXT    NOT NULL,
    esme          INTEGER NOT NULL,
    chf           INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    starts_at     INTEGER NOT NULL, -- 0 for a cancellation
    ends_at       INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    standing      INTEGER NOT NULL,
    superseded_by INTEGER NOT NULL DEFAULT 0
);
-- The same message is one activation, unless it was withdrawn and sent again.
CREATE UNIQUE INDEX activation_message ON activation (request_id, form, kind, execute_at) WHERE state <> 'withdrawn';
CREATE INDEX activation_attempt ON activation (request_id, received_at);
CREATE INDEX activation_chf ON activation (chf, starts_at);
CREATE INDEX activation_esme ON activation (esme, received_at);
CREATE INDEX activation_ends ON activation (ends_at, starts_at);

CREATE TABLE suppression (
    seq                INTEGER PRIMARY KEY,
    alert_id           TEXT    NOT NULL UNIQUE,
    alert_code         TEXT    NOT NULL,
    chf                INTEGER NOT NULL,
    esme               INTEGER NOT NULL,
    mpxn               TEXT    NOT NULL,
    mpxn_valid         INTEGER NOT NULL,
    distributor        TEXT    NOT NULL,
    outage_start       INTEGER NOT NULL,
    received_at        INTEGER NOT NULL,
    activation_id      INTEGER NOT NULL,
    request_id         TEXT    NOT NULL,
    mode               TEXT    NOT NULL,
    window_start       INTEGER NOT NULL,
    window_end         INTEGER NOT NULL,
    throttled_sequence INTEGER,
    throttled_count    INTEGER,
    outcome            TEXT    NOT NULL,
    started_before     INTEGER NOT NULL,
    repeated           INTEGER NOT NULL
);
CREATE INDEX suppression_activation ON suppression (activation_id);
CREATE INDEX suppression_chf ON suppression (chf);
CREATE INDEX suppression_mpxn ON suppression (mpxn);

-- Alerts that were forwarded, so that a retry is not decided anew.
CREATE TABLE forwarded (
    alert_id    TEXT    PRIMARY KEY,
    chf         INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    reason      TEXT    NOT NULL
) WITHOUT ROWID;
CREATE INDEX forwarded_received ON forwarded (received_at);
CREATE INDEX forwarded_chf ON forwarded (chf);

-- The last sequence number given out. A row, not a sequence of the engine:
-- it moves with the transaction of the entries that it numbers.
CREATE TABLE counter (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
);
INSERT INTO counter (name, value) VALUES ('suppression', 0);

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- What operators changed: who, when, what and why.
CREATE TABLE event (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    who       TEXT    NOT NULL,
    what      TEXT    NOT NULL,
    old_value TEXT    NOT NULL,
    new_value TEXT    NOT NULL,
    why       TEXT    NOT NULL
);

-- Imports of inventory and device list. Rows carry the number of their import
-- and count once that is done: an import of millions of rows is written in
-- small transactions, and comes into force in one.
CREATE TABLE import (
    no     INTEGER PRIMARY KEY,
    kind   TEXT    NOT NULL,
    source TEXT    NOT NULL,
    sha256 TEXT    NOT NULL,
    rows   INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    state  TEXT    NOT NULL -- running, done, dropping or dropped
);

CREATE TABLE inventory (
    device_id     INTEGER NOT NULL,
    import_no     INTEGER NOT NULL,
    device_type   TEXT    NOT NULL,
    smets_version TEXT    NOT NULL,
    manufacturer  TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    chf           INTEGER NOT NULL,
    mpxn          TEXT    NOT NULL,
    PRIMARY KEY (device_id, import_no)
) WITHOUT ROWID;
-- An index of the inventory by MPxN, as a table that an import can fill in its
-- own order: an index of the engine would be written at random.
CREATE TABLE supply_point (
    mpxn      TEXT    NOT NULL,
    import_no INTEGER NOT NULL,
    device_id INTEGER NOT NULL,
    PRIMARY KEY (mpxn, import_no, device_id)
) WITHOUT ROWID;

CREATE TABLE device_list (
    import_no INTEGER NOT NULL,
    device_id INTEGER NOT NULL,
    PRIMARY KEY (import_no, device_id)
) WITHOUT ROWID;
