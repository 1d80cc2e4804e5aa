-- Alerts that passed since their hubs had no window: see internal/passed/doc.go. A row has the
-- notes of several alerts, 12 bytes each. minute is when the latest of them was
-- received, in minutes since 1970: a row that has one note must not be long.
CREATE TABLE passed (
    id     INTEGER PRIMARY KEY,
    minute INTEGER NOT NULL,
    notes  BLOB    NOT NULL
);
