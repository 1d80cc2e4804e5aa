-- Requests (11.3) that were not tracked, and why: "why was this alert not suppressed?"
-- is asked days later. What is kept of one decides nothing.
CREATE TABLE untracked (
    esme        INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    request_id  TEXT    NOT NULL,
    form        TEXT    NOT NULL,
    chf         INTEGER NOT NULL, -- as the inventory said then; 0 if it did not
    reason      TEXT    NOT NULL,
    PRIMARY KEY (esme, received_at, request_id, form)
) WITHOUT ROWID;
CREATE INDEX untracked_chf ON untracked (chf, received_at);
CREATE INDEX untracked_received ON untracked (received_at);
