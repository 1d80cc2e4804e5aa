-- The audit log: changes, look-ups and refused attempts, as a chain. internal/audit/doc.go
-- says what the hash of a record is of.
CREATE TABLE audit (
    no      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    who     TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    origin  TEXT    NOT NULL, -- an address, "socket" or "quell"
    what    TEXT    NOT NULL,
    object  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    why     TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    count   INTEGER NOT NULL,
    hash    TEXT    NOT NULL
);

-- The ends of the chain: head is its last record, anchor the last that was deleted as too
-- old. Then there is sent, up to where the records were sent to syslog.
CREATE TABLE audit_chain (
    which TEXT    PRIMARY KEY,
    no    INTEGER NOT NULL,
    hash  TEXT    NOT NULL
);
INSERT INTO audit_chain (which, no, hash) VALUES ('head', 0, ''), ('anchor', 0, '');

-- A record never changes, and none is deleted before the anchor is past it. This is
-- against mistakes: who owns the database can take the triggers away.
-- for sqlite
CREATE TRIGGER audit_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit records never change');
END;
CREATE TRIGGER audit_deleted BEFORE DELETE ON audit WHEN OLD.no > (SELECT no FROM audit_chain WHERE which = 'anchor') BEGIN
    SELECT RAISE(ABORT, 'audit records are only deleted from the front, up to the anchor');
END;

-- for postgres
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- Or while a store is copied into this database, and nothing is audited here yet.
        IF OLD.no <= (SELECT no FROM audit_chain WHERE which = 'anchor') OR EXISTS (SELECT 1 FROM lead WHERE what = 'copy') THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'audit records are only deleted from the front, up to the anchor';
    END IF;
    RAISE EXCEPTION 'audit records never change';
END $$;
CREATE TRIGGER audit_row BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_all BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- for both
-- The head of the audit log when the report was cut. 0: the report is older than the log.
ALTER TABLE report ADD COLUMN audit_no INTEGER NOT NULL DEFAULT 0;
ALTER TABLE report ADD COLUMN audit_hash TEXT NOT NULL DEFAULT '';
