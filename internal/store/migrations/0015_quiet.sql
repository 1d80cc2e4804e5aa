-- The latest assessments of entries of which nothing has spoken for a genuine outage so far: those of
-- 128 entries in a row, as internal/assess/quiet.go writes them. Other entries have a row in evidence.
CREATE TABLE quiet (
    block   INTEGER PRIMARY KEY,
    entries BLOB    NOT NULL
);
