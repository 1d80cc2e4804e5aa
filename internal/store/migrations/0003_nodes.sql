-- The nodes that use this database, each as it last said of itself. Instants are
-- by the database's clock.
CREATE TABLE node (
    id       TEXT    PRIMARY KEY, -- of the process
    name     TEXT    NOT NULL,
    version  TEXT    NOT NULL,
    seen_at  INTEGER NOT NULL,
    settings TEXT    NOT NULL -- those that must be equal on all nodes, JSON
);

-- What one node at a time does. A term is one node's time of doing it.
CREATE TABLE lead (
    what  TEXT    PRIMARY KEY,
    term  INTEGER NOT NULL,
    node  TEXT    NOT NULL,
    until INTEGER NOT NULL
);
INSERT INTO lead (what, term, node, until) VALUES ('reports', 0, '', 0);

-- When an import that runs last wrote, by the database's clock: one that is not
-- heard of any more is dropped by the next.
ALTER TABLE import ADD COLUMN touched INTEGER NOT NULL DEFAULT 0;

-- Which files are in a data folder, the folder knows.
DROP INDEX report_file_local;
ALTER TABLE report_file DROP COLUMN local;
