-- Entries are found by their meter, or by a request to it, and in the order in which
-- they were received: housekeeping begins with the oldest.
CREATE INDEX suppression_meter ON suppression (esme, seq);
CREATE INDEX suppression_received ON suppression (received_at, seq);

-- Whether rows that the import has replaced may be left.
ALTER TABLE import ADD COLUMN untidy INTEGER NOT NULL DEFAULT 0;
