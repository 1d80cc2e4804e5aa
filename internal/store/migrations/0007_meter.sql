-- Each index costs every suppression a twentieth of its time, so there are as few, of
-- as few columns, as will do. One finds the entries of a meter and those of one of its
-- windows. Only AD1s are decided, so an alert's code need not tell it from others.
DROP INDEX suppression_activation;
DROP INDEX suppression_meter;
DROP INDEX suppression_received;
DROP INDEX suppression_alert;
CREATE UNIQUE INDEX suppression_alert ON suppression (alert_id, chf, outage_start);

-- for sqlite
-- In whose indexes seq, which is the row's own number, comes last by itself.
CREATE INDEX suppression_meter ON suppression (esme, activation_id);
CREATE INDEX suppression_received ON suppression (received_at);

-- for postgres
CREATE INDEX suppression_meter ON suppression (esme, activation_id, seq);
CREATE INDEX suppression_received ON suppression (received_at, seq);
