-- Entries whose outcome was suppressed and has become forwarded, in order. A
-- report shows the outcomes as they stood when it was cut.
CREATE TABLE correction (
    id  INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    at  INTEGER NOT NULL
);
CREATE INDEX correction_seq ON correction (seq);

-- Reports: which entries, events and corrections each has, fixed when it is
-- cut. Each begins behind what the report before it has.
CREATE TABLE report (
    no              INTEGER PRIMARY KEY,
    system_id       TEXT    NOT NULL,
    cause           TEXT    NOT NULL, -- time, size or asked
    period_start    INTEGER NOT NULL,
    period_end      INTEGER NOT NULL,
    cut_at          INTEGER NOT NULL,
    first_seq       INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL, -- first_seq - 1 if it has no entries
    last_event      INTEGER NOT NULL,
    last_correction INTEGER NOT NULL,
    switch          TEXT    NOT NULL,
    device_list     TEXT    NOT NULL, -- SHA-256
    window_us       INTEGER NOT NULL
);

-- The files of a report. A stream is "consolidated", a distributor's id, or
-- "unknown"; the files of a stream form a chain.
CREATE TABLE report_file (
    stream       TEXT    NOT NULL,
    report_no    INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    period_start INTEGER NOT NULL,
    previous     INTEGER NOT NULL, -- the stream's report before it; 0 if there is none
    records      INTEGER NOT NULL DEFAULT 0,
    size         INTEGER NOT NULL DEFAULT 0,
    sha256       TEXT    NOT NULL DEFAULT '', -- '' until the file is written
    local        INTEGER NOT NULL DEFAULT 0, -- whether it is in the data folder
    PRIMARY KEY (stream, report_no)
) WITHOUT ROWID;
CREATE INDEX report_file_no ON report_file (report_no);
CREATE INDEX report_file_unwritten ON report_file (report_no) WHERE sha256 = '';
CREATE INDEX report_file_local ON report_file (report_no) WHERE local = 1;

CREATE TABLE delivery (
    remote    TEXT    NOT NULL,
    report_no INTEGER NOT NULL,
    stream    TEXT    NOT NULL,
    state     TEXT    NOT NULL, -- cut, written, sent or confirmed
    at        INTEGER NOT NULL, -- of the state, or of the last try
    tries     INTEGER NOT NULL DEFAULT 0,
    error     TEXT    NOT NULL DEFAULT '', -- of the last try
    PRIMARY KEY (remote, report_no, stream)
) WITHOUT ROWID;
CREATE INDEX delivery_no ON delivery (report_no);
CREATE INDEX delivery_open ON delivery (remote, report_no) WHERE state <> 'confirmed';
