-- Who supplies a meter, if the inventory says so; 0 if it does not.
ALTER TABLE inventory ADD COLUMN supplier INTEGER NOT NULL DEFAULT 0;

-- The highest counter of the verified 11.3s of an originator for a meter, so that an old one
-- that is sent again opens no window. A Signed Pre-Command has the counter of its Service
-- Request, so each form counts by itself. Rows are never deleted: an old 11.3 stays old. There
-- are at most two for each meter and supplier.
CREATE TABLE last_counter (
    originator INTEGER NOT NULL,
    target     INTEGER NOT NULL,
    form       TEXT    NOT NULL,
    counter    INTEGER NOT NULL, -- less 2^63, so that the order of the signed numbers is right
    PRIMARY KEY (target, originator, form)
) WITHOUT ROWID;
