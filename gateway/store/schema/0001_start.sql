-- One table per lane: append-only, sequence = rowid. `data` is the event as JSON; it begins with {"id":"<26 characters>".
CREATE TABLE alarm (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE state (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE telemetry (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL);

-- How far each uplink has been served: JSON list of [first, last] ranges that are not yet delivered, and the next new sequence.
CREATE TABLE cursor (uplink TEXT NOT NULL, lane TEXT NOT NULL, next INTEGER NOT NULL, missing TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (uplink, lane)) WITHOUT ROWID;

-- Frames that were refused, and the messages of a platform that were.
CREATE TABLE quarantine (n INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, driver TEXT NOT NULL, device TEXT, peer TEXT, topic TEXT,
    reason TEXT NOT NULL, detail TEXT NOT NULL, frame BLOB NOT NULL);

-- Devices that spoke and are not in the inventory.
CREATE TABLE discovered (device TEXT PRIMARY KEY, driver TEXT NOT NULL, peer TEXT, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    count INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE driver_state (device TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rule_state (rule TEXT NOT NULL, key TEXT NOT NULL, state BLOB NOT NULL, PRIMARY KEY (rule, key)) WITHOUT ROWID;

-- Commands of platforms: stored before they are carried out, results remembered for duplicates.
CREATE TABLE command (id TEXT PRIMARY KEY, uplink TEXT NOT NULL, verb TEXT NOT NULL, device TEXT NOT NULL, args TEXT NOT NULL,
    received_ms INTEGER NOT NULL, expires_ms INTEGER, status TEXT NOT NULL, detail TEXT, updated_ms INTEGER NOT NULL) WITHOUT ROWID;
