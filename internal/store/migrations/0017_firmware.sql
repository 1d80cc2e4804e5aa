-- Which meters have new firmware on its way: see internal/updates/doc.go. state is 1 for ordered by an
-- 11.1, 2 for an image that is at the hub, 3 for one that did not arrive. begins_at is when its
-- activation began; 0 if it is not known to have begun.
CREATE TABLE firmware (
    esme      INTEGER PRIMARY KEY,
    supplier  INTEGER NOT NULL,
    state     INTEGER NOT NULL,
    known_at  INTEGER NOT NULL,
    begins_at INTEGER NOT NULL
);
CREATE INDEX firmware_known ON firmware (known_at);
