-- What was seen pass: see internal/sighting/doc.go. A row has the sightings of about a second of
-- one node. minute is when the latest of them was received, in minutes since 1970.
CREATE TABLE sighting (
    id     INTEGER PRIMARY KEY,
    minute INTEGER NOT NULL,
    seen   BLOB    NOT NULL
);
CREATE INDEX sighting_minute ON sighting (minute);

-- How probably the alert of an entry was genuine, as it was assessed last. facts is the whole
-- assessment as JSON.
CREATE TABLE evidence (
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    level    TEXT    NOT NULL,
    restored INTEGER NOT NULL, -- a restoration alert matches
    facts    TEXT    NOT NULL
);
-- The changes of the level, in order, each with the assessment that it comes from. An entry
-- begins at "none", which is no change.
CREATE TABLE evidence_change (
    id          INTEGER PRIMARY KEY,
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    was         TEXT    NOT NULL,
    level       TEXT    NOT NULL,
    distributor TEXT    NOT NULL, -- of the entry, as it was reported
    facts       TEXT    NOT NULL,
    text        TEXT    NOT NULL  -- the facts in words, as reports have them
);
CREATE INDEX evidence_change_seq ON evidence_change (seq);
CREATE INDEX evidence_change_at ON evidence_change (at);

-- What was learned of each model, as JSON, from the sightings and entries up to these numbers, at
-- that time.
CREATE TABLE learned (
    name     TEXT    PRIMARY KEY,
    sighting INTEGER NOT NULL,
    entry    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    value    TEXT    NOT NULL
);

-- Where a device is: keyed hashes of its postcode or group, and of its postcode sector; 0 if that
-- is not known. The texts are '' unless privacy.postcode is plain.
ALTER TABLE inventory ADD COLUMN area INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inventory ADD COLUMN sector INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inventory ADD COLUMN postcode TEXT NOT NULL DEFAULT '';
ALTER TABLE inventory ADD COLUMN feeder TEXT NOT NULL DEFAULT '';
-- An index of the inventory by hub, and of its meters by area and sector, as a table that an
-- import can fill in its own order.
CREATE TABLE inventory_place (
    place     INTEGER NOT NULL,
    import_no INTEGER NOT NULL,
    device_id INTEGER NOT NULL,
    PRIMARY KEY (place, import_no, device_id)
) WITHOUT ROWID;

-- The last change of a level that the report has. 0: the report is of a version without them.
ALTER TABLE report ADD COLUMN last_evidence INTEGER NOT NULL DEFAULT 0;
