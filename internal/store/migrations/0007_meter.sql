-- One index finds the entries of a meter and those of one of its windows: each costs
-- every suppression a twentieth of its time.
DROP INDEX suppression_activation;
DROP INDEX suppression_meter;
CREATE INDEX suppression_meter ON suppression (esme, activation_id, seq);
