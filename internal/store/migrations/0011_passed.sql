-- Alerts that passed because their hubs had no window: see internal/passed/doc.go. A row has the
-- notes of several alerts, 12 bytes each. minute is when the latest of them was received, in
-- minutes since 1970, which is short: a row may have one note only.
CREATE TABLE passed (
    id     INTEGER PRIMARY KEY,
    minute INTEGER NOT NULL,
    notes  BLOB    NOT NULL
);
