-- An alert is a retry of another if ResponseID, hub, code and outage start are the
-- same: a ResponseID alone may be used again.

-- for sqlite
CREATE TABLE suppression_new (
    seq                INTEGER PRIMARY KEY,
    alert_id           TEXT    NOT NULL,
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
INSERT INTO suppression_new SELECT * FROM suppression;
DROP TABLE suppression;
ALTER TABLE suppression_new RENAME TO suppression;
CREATE INDEX suppression_activation ON suppression (activation_id, seq);
CREATE INDEX suppression_chf ON suppression (chf);
CREATE INDEX suppression_mpxn ON suppression (mpxn);
CREATE TABLE forwarded_new (
    alert_id     TEXT    NOT NULL,
    chf          INTEGER NOT NULL,
    outage_start INTEGER NOT NULL DEFAULT -9223372036854775807, -- that: not known, as of a note that an earlier version wrote; any start is the same
    received_at  INTEGER NOT NULL,
    reason       TEXT    NOT NULL,
    PRIMARY KEY (alert_id, chf, outage_start)
) WITHOUT ROWID;
INSERT INTO forwarded_new (alert_id, chf, received_at, reason) SELECT alert_id, chf, received_at, reason FROM forwarded;
DROP TABLE forwarded;
ALTER TABLE forwarded_new RENAME TO forwarded;
CREATE INDEX forwarded_received ON forwarded (received_at);
CREATE INDEX forwarded_chf ON forwarded (chf);

-- for postgres
ALTER TABLE suppression DROP CONSTRAINT suppression_alert_id_key;
DROP INDEX suppression_activation;
CREATE INDEX suppression_activation ON suppression (activation_id, seq);
ALTER TABLE forwarded ADD COLUMN outage_start INTEGER NOT NULL DEFAULT -9223372036854775807;
ALTER TABLE forwarded DROP CONSTRAINT forwarded_pkey;
ALTER TABLE forwarded ADD PRIMARY KEY (alert_id, chf, outage_start);

-- for both
CREATE UNIQUE INDEX suppression_alert ON suppression (alert_id, chf, outage_start, alert_code);

-- Until when a request is kept: as long as any earlier one of its meter, so that
-- nothing that it has closed can open again. 0 is of a row that an earlier version
-- wrote.
ALTER TABLE activation ADD COLUMN keep_until INTEGER NOT NULL DEFAULT 0;
-- The import that moved the window to another hub last; 0 if none did.
ALTER TABLE activation ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;
-- Why it failed, in a few words.
ALTER TABLE activation ADD COLUMN why TEXT NOT NULL DEFAULT '';

-- A time far beyond what is possible opens nothing.
UPDATE activation SET standing = 0, starts_at = 0, ends_at = 0 WHERE ends_at - received_at > 34646400000000;
-- Any request replaces what its meter has pending, not only one with a time.
UPDATE activation AS b SET standing = 0 WHERE standing = 1 AND starts_at > received_at AND EXISTS (SELECT 1 FROM activation c
    WHERE c.esme = b.esme AND c.received_at > b.received_at AND c.received_at < b.starts_at AND c.state <> 'withdrawn'
    AND NOT (c.form = 'service-request' AND b.form = 'signed-pre-command'));

-- The same message is one activation, unless it was withdrawn or failed and was
-- sent again.
DROP INDEX activation_message;
CREATE UNIQUE INDEX activation_message ON activation (request_id, form, kind, execute_at) WHERE state IN ('unanswered', 'accepted');
DROP INDEX activation_chf;
CREATE INDEX activation_chf ON activation (chf, received_at);
CREATE INDEX activation_open ON activation (chf, standing, ends_at);
CREATE INDEX activation_meter ON activation (esme, ends_at);
CREATE INDEX activation_standing ON activation (esme, standing, ends_at);
DROP INDEX activation_esme;
CREATE INDEX activation_live ON activation (esme, received_at, id) WHERE state <> 'withdrawn';
CREATE INDEX activation_superseded ON activation (superseded_by) WHERE superseded_by <> 0;
CREATE INDEX activation_keep ON activation (keep_until);
CREATE INDEX activation_moved ON activation (moved) WHERE moved <> 0;
