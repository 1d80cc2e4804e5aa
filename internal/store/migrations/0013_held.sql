-- Suppressed alerts as they came: internal/held/doc.go says what a row has. id is when the last of
-- them was received, in microseconds since 1970, or more.
CREATE TABLE held (
    id       INTEGER PRIMARY KEY,
    messages BLOB    NOT NULL
);

-- Suppressed alerts that are to be delivered after all: internal/release/doc.go has the states.
-- message is the alert as it came, until it is delivered.
CREATE TABLE released (
    id           INTEGER PRIMARY KEY,
    alert_id     TEXT    NOT NULL,
    chf          INTEGER NOT NULL,
    outage_start INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    asked_at     INTEGER NOT NULL,
    who          TEXT    NOT NULL,
    why          TEXT    NOT NULL,
    claim        TEXT    NOT NULL,
    due_at       INTEGER NOT NULL,
    tries        INTEGER NOT NULL,
    error        TEXT    NOT NULL,
    ended_at     INTEGER NOT NULL,
    message      BLOB    NOT NULL
);
CREATE UNIQUE INDEX released_alert ON released (alert_id, chf, outage_start);
CREATE INDEX released_state ON released (state);
