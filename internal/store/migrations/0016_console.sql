-- What imports changed, counted when they came into force. Of a device list also some of the devices,
-- as JSON arrays of their numbers: its rows are deleted when the next list comes into force. An import
-- of an earlier version has no row here, and one that nothing was compared for.
CREATE TABLE import_change (
    import_no INTEGER NOT NULL PRIMARY KEY,
    had       INTEGER NOT NULL, -- devices that were in force before; of a list only
    has       INTEGER NOT NULL, -- devices in the import
    added     INTEGER NOT NULL,
    removed   INTEGER NOT NULL, -- of a list only
    changed   INTEGER NOT NULL, -- of an inventory only
    additions TEXT    NOT NULL, -- some of those that were added
    removals  TEXT    NOT NULL
) WITHOUT ROWID;

-- The console lists entries with evidence by their level. Most entries have none.
CREATE INDEX evidence_level ON evidence (level, seq) WHERE level <> 'none';

-- The windows of a campaign are listed in order of their ends; many end at the same time. SQLite's indexes
-- have the id at their end by themselves.
-- for postgres
DROP INDEX activation_ends;
CREATE INDEX activation_ends ON activation (ends_at, starts_at, id);
