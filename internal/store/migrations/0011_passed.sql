-- Alerts that passed since their hubs had no window: see internal/passed/doc.go. A row has the
-- notes of several alerts, 12 bytes each. at is when the latest of them was received.
CREATE TABLE passed (
    id    INTEGER PRIMARY KEY,
    at    INTEGER NOT NULL,
    notes BLOB    NOT NULL
);
